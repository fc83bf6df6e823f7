// Which way is a thing used? A call is let through by a conjunction, and what may be missing may only be used so that
// more of it lets through more. What may be less than it should, and lets through by that, is blamed.
package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// place is the expression that asks, and where it stands.
type place struct {
	at    *ast.Location
	owner *scope // of the rule to blame
	s     *scope // of what is asked about
	skip  map[ast.Var]bool
	seen  map[string]bool
}

func placeOf(at *ast.Location, s *scope, skip map[ast.Var]bool) place {
	return place{at: at, owner: s, s: s, skip: skip, seen: map[string]bool{}}
}

func (p place) in(rule *ast.Rule) place {
	p.s, p.skip = newScope(rule), map[ast.Var]bool{}
	return p
}

// again says whether this was asked here already.
func (p place) again(what string, how demand) bool {
	key := fmt.Sprintf("%p %s %d %s %v %v", p.s.rule, what, how.way, how.op, how.with, how.then)
	known := p.seen[key]
	p.seen[key] = true
	return known
}

// use asks something of what a term stands for.
func (l *linter) use(t *ast.Term, how demand, p place) {
	switch v := t.Value.(type) {
	case ast.Var:
		p.skip[v] = true
		if p.again(string(v), how) {
			return
		}
		if call := p.s.made[v]; call != nil {
			l.call(call, how, p)
		} else if next, known := p.s.vars[v]; known {
			l.use(next, how, p)
		} else {
			l.parameter(v, how, p.s.rule)
		}
	case ast.Ref:
		l.ref(v, how, p)
	case *ast.ArrayComprehension:
		l.comprehension(t, v.Body, how, p)
	case *ast.SetComprehension:
		l.comprehension(t, v.Body, how, p)
	case *ast.ObjectComprehension:
		l.comprehension(t, v.Body, how, p)
	case ast.Object:
		v.Foreach(func(key, value *ast.Term) {
			l.use(key, demand{way: how.way}, p)
			l.use(value, demand{way: how.way}, p)
		})
	default:
		for _, one := range elements(t) {
			l.use(one, demand{way: how.way}, p)
		}
	}
}

func elements(t *ast.Term) []*ast.Term {
	switch v := t.Value.(type) {
	case *ast.Array:
		all := []*ast.Term{}
		v.Foreach(func(one *ast.Term) { all = append(all, one) })
		return all
	case ast.Set:
		return v.Slice()
	}
	return nil
}

func (l *linter) comprehension(t *ast.Term, body ast.Body, how demand, p place) {
	if how.way == less || how.way == either {
		l.blame(p, l.incomplete(t, p.s))
	}
	if how.way == more || how.way == either {
		l.body(body, p.s, p.skip)
	}
}

// ref asks what it reads to be there, and asks the rest of the rules that define it.
func (l *linter) ref(ref ast.Ref, how demand, p place) {
	if items := elements(p.s.value(ref[0])); items != nil && len(ref) == 2 {
		for _, one := range items {
			l.use(one, how, p)
		}
	} else if !ref.HasPrefix(ast.DefaultRootRef) && !ref.HasPrefix(ast.InputRootRef) {
		l.use(ref[0], demand{}, p)
	}
	for i, index := range ref[1:] {
		if _, named := index.Value.(ast.Var); named {
			then := demand{}
			if i+2 == len(ref) {
				then = how
			}
			l.use(index, demand{op: "at", with: l.constant(ast.NewTerm(ref[:i+1]), p.s), then: &then}, p)
		}
	}
	var whole, parts []*ast.Rule
	for _, rule := range l.rules(ref) {
		if rule.Head.DocKind() == ast.CompleteDoc && ref.HasPrefix(rule.Ref()) {
			whole = append(whole, rule)
		} else {
			parts = append(parts, rule)
		}
	}
	if len(whole) > 0 {
		l.valued(whole, ref[len(whole[0].Ref()):], how, p)
	}
	for _, rule := range parts {
		all := len(ref) <= len(rule.Ref().GroundPrefix()) // not a member
		if all && (how.way == less || how.way == either) {
			l.blame(p, l.missingRule(rule, ""))
		}
		if !all && len(rule.Head.Args) == 0 && rule.Head.Value != nil && !how.equal(demand{}) {
			l.proves(rule, rule)
			l.use(rule.Head.Value, how, p.in(rule))
		} else if !all || how.way == more || how.way == either {
			l.granting(rule)
		}
	}
}

// call asks something of what a call gives, and so of its operands.
func (l *linter) call(e *ast.Expr, how demand, p place) {
	name := e.Operator().String()
	builtin := ast.BuiltinMap[name]
	if builtin == nil {
		l.function(e, how, p)
		return
	}
	operands := e.Operands()[:min(len(e.Operands()), builtin.Decl.Arity())]
	switch {
	case name == "is_null":
		name, operands = "eq", append(slices.Clone(operands), ast.NullTerm())
		fallthrough
	case opposite[name] != "":
		if how.passes(ast.Boolean(true)) != no {
			l.comparison(name, operands, p)
		}
		if how.passes(ast.Boolean(false)) != no {
			l.comparison(opposite[name], operands, p)
		}
	case strings.HasPrefix(name, "internal.member_"):
		l.membership(operands[len(operands)-2:], how, p)
	case name == "object.get":
		l.get(operands, how, p)
	default:
		for i, operand := range operands {
			l.use(operand, demand{way: how.way.through(name, i)}, p)
		}
	}
}

func (l *linter) comparison(op string, operands []*ast.Term, p place) {
	a, b := operands[0], operands[1]
	if because := l.incomplete(a, p.s); flipped[op] == "eq" && because != nil && l.incomplete(b, p.s) != nil && !p.s.partOf(a, b) && !p.s.partOf(b, a) {
		l.blame(p, because) // equal where both lack what they differ in
	}
	l.use(a, comparedBy(op, l.constant(b, p.s)), p)
	l.use(b, comparedBy(flipped[op], l.constant(a, p.s)), p)
}

func (l *linter) membership(operands []*ast.Term, how demand, p place) {
	one, all := operands[0], operands[1]
	if how.passes(ast.Boolean(true)) != no {
		l.use(one, demand{op: "in", with: l.constant(all, p.s)}, p)
		l.use(all, demand{op: "has", with: l.constant(one, p.s)}, p)
	}
	if how.passes(ast.Boolean(false)) != no {
		l.use(one, demand{op: "not in", with: l.constant(all, p.s)}, p)
		l.use(all, demand{way: less, op: "has not", with: l.constant(one, p.s)}, p)
	}
}

// get is object.get: its default stands for a member that rules or data may lack. Of input, its author said what
// absence means.
func (l *linter) get(operands []*ast.Term, how demand, p place) {
	from := operands[0]
	l.use(from, demand{}, p)
	l.use(operands[1], demand{}, p)
	if how.letsThrough(l.constant(operands[2], p.s), nil) {
		l.blame(p, l.lacking(from, p.s))
	}
}

// function asks of the definitions, and what these ask of their parameters is asked of the operands. What would make
// it false is not known.
func (l *linter) function(e *ast.Expr, how demand, p place) {
	rules := l.compiler.GetRulesExact(e.Operator())
	l.valued(rules, nil, how, p)
	for i, operand := range e.Operands() {
		l.use(operand, demand{way: how.way.unlessMore()}, p)
		for _, rule := range rules {
			for _, asked := range l.asked[rule][i] {
				l.use(operand, asked, p)
			}
		}
	}
}

func (l *linter) parameter(v ast.Var, how demand, rule *ast.Rule) {
	if how.equal(demand{}) || how.way == there {
		return
	}
	if l.asked[rule] == nil {
		l.asked[rule] = map[int][]demand{}
	}
	for branch := rule; branch != nil; branch = branch.Else {
		for i, arg := range branch.Head.Args {
			if arg.Value.Compare(v) == 0 && !slices.ContainsFunc(l.asked[rule][i], how.equal) {
				l.asked[rule][i] = append(l.asked[rule][i], how)
			}
		}
	}
}
