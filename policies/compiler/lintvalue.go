// What does a rule say where its other definitions are missing? Its default, or a later else: what passes the test that
// its caller makes must be proved, and what would not have passed must not be able to go missing.
package main

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// valued asks something of the value of a complete rule or a function, or of what stands at `rest` in it.
func (l *linter) valued(rules []*ast.Rule, rest ast.Ref, how demand, p place) {
	if how.equal(demand{}) && len(rest) == 0 {
		for _, rule := range rules {
			l.granting(rule)
		}
		return
	}
	if how.way == there && slices.ContainsFunc(rules, l.isTotal) {
		return
	}
	for _, rule := range rules {
		q := p.in(rule)
		if q.again(rest.String(), how) {
			continue
		}
		for branch := rule; branch != nil; branch = branch.Else {
			value := l.valueFor(how, branch, rest, q.s)
			if how.way != there && how.passes(value) == no {
				continue
			}
			if !rule.Default {
				l.matched(rule, "eq")
				l.proves(rule, branch)
				l.given(branch, rest, how, q)
			}
			if rule.Default || branch != rule {
				l.blame(p, l.standsIn(rules, rule, branch, rest, how))
			}
		}
	}
}

// isTotal says whether a definition gives a value whatever the input is: a default, or an else that cannot fail.
func (l *linter) isTotal(rule *ast.Rule) bool {
	last := rule
	for last.Else != nil {
		last = last.Else
	}
	isMatched := func(arg *ast.Term) bool { _, named := arg.Value.(ast.Var); return !named }
	if slices.ContainsFunc(rule.Head.Args, isMatched) {
		return false
	}
	return rule.Default || !slices.ContainsFunc(last.Body, (*ast.Expr).IsNegated) && l.missing(last.Body, newScope(rule)) == nil
}

// byPath keeps the definitions of one rule together, in their order.
func byPath(rules []*ast.Rule) [][]*ast.Rule {
	var paths [][]*ast.Rule
	for _, rule := range rules {
		at := slices.IndexFunc(paths, func(one []*ast.Rule) bool { return one[0].Ref().Equal(rule.Ref()) })
		if at < 0 {
			at, paths = len(paths), append(paths, nil)
		}
		paths[at] = append(paths[at], rule)
	}
	return paths
}

// given asks it of what a definition says there, which is said only where its body holds.
func (l *linter) given(branch *ast.Rule, rest ast.Ref, how demand, p place) {
	defer l.beside(branch.Body, p.s)()
	l.member(branch.Head.Value, rest, how, p)
	l.use(branch.Head.Value, demand{way: there}, p)
}

// standsIn is why what would not have passed may be missing, where this definition would let through instead: for a
// default, any other one; for an else, the branches before it.
func (l *linter) standsIn(rules []*ast.Rule, rule, branch *ast.Rule, rest ast.Ref, how demand) *cause {
	if !rule.Default {
		rules = []*ast.Rule{rule}
		defer l.beside(branch.Body, newScope(rule))()
	}
	var found *cause
	var others []ast.Value
	for _, other := range rules {
		s := newScope(other)
		for one := other; one != nil && one != branch && !one.Default; one = one.Else {
			if value := l.valueFor(how, one, rest, s); how.passes(value) != yes {
				found = worse(found, l.missing(one.Body, s))
				if rule.Default {
					l.matched(other, "neq")
				}
				others = append(others, value)
			}
		}
	}
	value := l.valueFor(how, branch, rest, newScope(rule))
	differs := func(other ast.Value) bool { return other == nil || other.Compare(value) != 0 }
	if how.letsThrough(value, others) || found != nil && found.builtin && how.matches(value) && slices.ContainsFunc(others, differs) {
		return found
	}
	return nil
}

// at is what a definition says there, nil if that is not written there.
func (l *linter) at(branch *ast.Rule, rest ast.Ref, s *scope) *ast.Term {
	t := branch.Head.Value
	for _, key := range rest {
		object, ok := s.value(t).Value.(ast.Object)
		if !ok {
			return nil
		}
		if t = object.Get(key); t == nil {
			return nil
		}
	}
	return t
}

// valueFor is the value of a definition as far as it is asked about, nil if it varies.
func (l *linter) valueFor(how demand, branch *ast.Rule, rest ast.Ref, s *scope) ast.Value {
	t := l.at(branch, rest, s)
	if t == nil {
		return nil
	}
	if how.op == "over" {
		if value, may := l.written(t, how.path, s); !may {
			return ast.NewObject() // overrides nothing of it
		} else if len(how.path) == 1 && value != nil {
			return ast.NewObject([2]*ast.Term{how.path[0], ast.NewTerm(value)})
		}
	}
	return l.constant(t, s)
}

// constant is the value of a term that is always the same, nil of any other.
func (l *linter) constant(t *ast.Term, s *scope) ast.Value {
	t = s.value(t)
	if ref, ok := t.Value.(ast.Ref); ok && len(ref) == 1 {
		t = s.value(ref[0])
	} else if ok {
		rules := l.rules(ref)
		if len(rules) == 1 && isConstant(rules[0]) && rules[0].Ref().Equal(ref) {
			return rules[0].Head.Value.Value
		}
		return nil
	}
	if ast.IsConstant(t.Value) {
		return t.Value
	}
	return nil
}

// lacking is why a collection may not have a member that it should.
func (l *linter) lacking(t *ast.Term, s *scope) *cause {
	if ref, ok := s.value(t).Value.(ast.Ref); ok && ref.HasPrefix(ast.DefaultRootRef) {
		return l.absentRef(ref, t.Location)
	}
	return l.incomplete(t, s)
}

func (l *linter) rules(ref ast.Ref) []*ast.Rule {
	if !ref.HasPrefix(ast.DefaultRootRef) {
		return nil
	}
	return l.compiler.GetRulesDynamic(ref)
}

// refuses says whether a value can only deny; grants, whether it lets through by itself.
func refuses(value ast.Value) bool {
	allow := allowOf(value)
	return allow != nil && allow.Compare(ast.Boolean(false)) == 0
}

func grants(value ast.Value) bool {
	allow := allowOf(value)
	return allow != nil && allow.Compare(ast.Boolean(true)) == 0
}

func allowOf(value ast.Value) ast.Value {
	if object, ok := value.(ast.Object); ok {
		allow := object.Get(ast.StringTerm("allow"))
		if allow == nil {
			return nil
		}
		return allow.Value
	}
	return value
}
