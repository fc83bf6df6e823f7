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
			l.parameter(v, nil, how, p.s.rule)
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
	if !ref.HasPrefix(ast.DefaultRootRef) && !ref.HasPrefix(ast.InputRootRef) {
		l.member(ref[0], ref[1:], how, p)
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
	for _, rules := range byPath(whole) {
		l.valued(rules, ref[len(rules[0].Ref()):], how, p)
	}
	for _, rule := range parts {
		all := len(ref) <= len(rule.Ref().GroundPrefix()) // not a member
		if all && (how.way == less || how.way == either) {
			l.blame(p, l.missingRule(rule, ""))
		}
		if one, path := partOf(rule, ref); !all && len(rule.Head.Args) == 0 && one != nil && !(how.equal(demand{}) && len(path) == 0) {
			l.proves(rule, rule)
			if q := p.in(rule); !q.again(path.String(), how) {
				l.member(one, path, how, q)
			}
		} else if !all || how.way == more || how.way == either {
			l.granting(rule)
		}
	}
}

// member asks something of what stands at a path in what a term stands for.
func (l *linter) member(t *ast.Term, path ast.Ref, how demand, p place) {
	if len(path) == 0 {
		l.use(t, how, p)
		return
	}
	known := p.s.value(t)
	switch v := known.Value.(type) {
	case ast.Var:
		p.skip[v] = true
		if call := p.s.made[v]; call != nil {
			l.memberOfCall(call, path, how, p)
		} else {
			l.parameter(v, path, how, p.s.rule)
		}
	case ast.Ref:
		l.ref(slices.Concat(v, path), how, p)
	case ast.Object:
		v.Foreach(func(key, value *ast.Term) {
			if key.Equal(path[0]) || !key.IsGround() || !path[0].IsGround() {
				l.member(value, path[1:], how, p)
			}
		})
	case *ast.Array, ast.Set:
		for i, one := range elements(known) {
			if _, isSet := v.(ast.Set); isSet || !path[0].IsGround() || path[0].Equal(ast.IntNumberTerm(i)) {
				l.member(one, path[1:], how, p)
			}
		}
	case *ast.ArrayComprehension:
		if because := l.incomplete(known, p.s); because != nil && because.builtin && !how.equal(demand{}) && how.way != there {
			l.blame(p, because) // another one stands there where one is missing
		}
		l.memberOfEach(known, v.Term, path, how, p)
	case *ast.ObjectComprehension:
		l.memberOfEach(known, v.Value, path, how, p)
	default:
		l.use(known, demand{}, p)
	}
}

func (l *linter) memberOfEach(all, one *ast.Term, path ast.Ref, how demand, p place) {
	if p.again(all.String()+path.String(), how) {
		return
	}
	l.member(one, path[1:], how, p)
	l.use(all, demand{way: how.way.unlessLess()}, p)
}

// memberOfCall: which member stands where depends on those that are not there.
func (l *linter) memberOfCall(e *ast.Expr, path ast.Ref, how demand, p place) {
	if rules := l.compiler.GetRulesExact(e.Operator()); len(rules) > 0 {
		l.function(e, path, how, p)
	} else if how.way == there || how.equal(demand{}) {
		l.call(e, demand{way: how.way}, p)
	} else {
		l.call(e, demand{way: either}, p)
	}
}

// partOf is what a rule of parts makes there, and the path to what is read of it.
func partOf(rule *ast.Rule, ref ast.Ref) (*ast.Term, ast.Ref) {
	one, at := rule.Head.Value, len(rule.Ref())
	if one == nil {
		one, at = rule.Head.Key, len(rule.Ref().GroundPrefix())+1
	}
	return one, ref[min(at, len(ref)):]
}

// call asks something of what a call gives, and so of its operands.
func (l *linter) call(e *ast.Expr, how demand, p place) {
	name := e.Operator().String()
	builtin := ast.BuiltinMap[name]
	if builtin == nil {
		l.function(e, nil, how, p)
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
	if flipped[op] == "eq" && (l.part(a, b, p) || l.part(b, a, p)) {
		return
	}
	l.use(a, comparedBy(op, l.constant(b, p.s)), p)
	l.use(b, comparedBy(flipped[op], l.constant(a, p.s)), p)
}

// part says whether they ask for a part, as `x & y == x` and `y | x == y` do: less of x is one sooner, more of y has it.
func (l *linter) part(made, whole *ast.Term, p place) bool {
	call := p.s.call(made)
	if call == nil || len(call.Operands()) < 2 || call.Operator().String() != "and" && call.Operator().String() != "or" {
		return false
	}
	for i := range 2 {
		same, other := call.Operand(i), call.Operand(1-i)
		if !p.s.value(same).Equal(p.s.value(whole)) {
			continue
		}
		if call.Operator().String() == "or" {
			same, other = other, same
		}
		l.use(same, demand{way: less}, p)
		l.use(other, demand{way: more}, p)
		return true
	}
	return false
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
	path := ast.Ref{operands[1]}
	if keys, ok := p.s.value(operands[1]).Value.(*ast.Array); ok {
		path = ast.Ref(elements(ast.NewTerm(keys)))
	}
	l.use(from, demand{}, p)
	l.use(operands[1], demand{}, p)
	l.member(from, path, how, p)
	if how.letsThrough(l.constant(operands[2], p.s), nil) {
		l.blame(p, l.lacking(from, p.s))
	}
}

// function asks of the definitions, and what these ask of their parameters is asked of the operands. What would make
// it false is not known.
func (l *linter) function(e *ast.Expr, path ast.Ref, how demand, p place) {
	rules := l.compiler.GetRulesExact(e.Operator())
	l.valued(rules, path, how, p)
	for i, operand := range e.Operands() {
		l.use(operand, demand{way: how.way.unlessMore()}, p)
		for _, rule := range rules {
			for _, asked := range l.asked[rule][i] {
				l.member(operand, asked.path, asked.how, p)
			}
		}
	}
}

// anyMember stands for a key that another rule's variables name.
var anyMember = ast.VarTerm("any member")

func (l *linter) parameter(v ast.Var, path ast.Ref, how demand, rule *ast.Rule) {
	if how.equal(demand{}) || how.way == there {
		return
	}
	if l.asked[rule] == nil {
		l.asked[rule] = map[int][]question{}
	}
	for branch := rule; branch != nil; branch = branch.Else {
		for i, arg := range branch.Head.Args {
			within, found := pathTo(arg, v)
			if !found {
				continue
			}
			one := question{path: slices.Concat(within, path), how: how}
			for n, key := range one.path {
				if !key.IsGround() {
					one.path[n] = anyMember
				}
			}
			if !slices.ContainsFunc(l.asked[rule][i], one.equal) {
				l.asked[rule][i] = append(l.asked[rule][i], one)
			}
		}
	}
}

// pathTo is where a variable stands in a parameter that is taken apart.
func pathTo(t *ast.Term, v ast.Var) (path ast.Ref, found bool) {
	try := func(key, one *ast.Term) {
		if rest, ok := pathTo(one, v); ok && !found {
			path, found = append(ast.Ref{key}, rest...), true
		}
	}
	switch value := t.Value.(type) {
	case ast.Var:
		return ast.Ref{}, value == v
	case *ast.Array:
		for i, one := range elements(t) {
			try(ast.IntNumberTerm(i), one)
		}
	case ast.Object:
		value.Foreach(try)
	}
	return path, found
}
