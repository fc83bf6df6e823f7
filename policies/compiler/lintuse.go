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
	key := fmt.Sprintf("%p %s %v", p.s.rule, what, how)
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
		l.comprehension(t, v.Term, v.Body, how, p)
	case *ast.SetComprehension:
		l.comprehension(t, v.Term, v.Body, how, p)
	case *ast.ObjectComprehension:
		l.comprehension(t, v.Value, v.Body, how, p)
	case ast.Object:
		l.object(v, how, p)
	default:
		for _, one := range elements(t) {
			l.use(one, how.ofMember(one, p.s), p)
		}
	}
}

func (l *linter) object(object ast.Object, how demand, p place) {
	if how.op == "over" {
		if one := object.Get(how.path[0]); one != nil {
			l.member(one, how.path[1:], *how.then, p)
		}
		return
	}
	object.Foreach(func(key, value *ast.Term) {
		l.use(key, demand{way: how.ofMember(key, p.s).way}, p)
		l.use(value, how.ofMember(value, p.s), p)
	})
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

func (l *linter) comprehension(t, one *ast.Term, body ast.Body, how demand, p place) {
	if how.way == less || how.way == either {
		l.blame(p, l.incomplete(t, p.s))
	}
	if how.asksMembers() {
		l.use(one, how.ofMember(one, p.s), p)
	} else if _, isSet := t.Value.(*ast.SetComprehension); isSet && how.op == "members" && how.way != more {
		l.use(one, demand{way: either}, p) // as many as there are others
	}
	if how.way == more || how.way == either {
		l.body(body, p.s, p.skip)
	}
}

// ref asks what it reads to be there, and asks the rest of the rules that define it.
func (l *linter) ref(ref ast.Ref, how demand, p place) {
	for i, index := range ref[1:] {
		if _, named := index.Value.(ast.Var); named {
			then := demand{}
			if i+2 == len(ref) {
				then = how
			}
			at := demand{way: either, op: "at", with: l.constant(ast.NewTerm(ref[:i+1]), p.s)}.after(then)
			if how.way == there {
				at = how
			}
			l.use(index, at, p)
		}
	}
	ref = l.settled(ref, p.s)
	if !ref.HasPrefix(ast.DefaultRootRef) && !ref.HasPrefix(ast.InputRootRef) {
		l.member(ref[0], ref[1:], how, p)
		return
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
		if all && how.asksMembers() {
			one, _ := partOf(rule, ref)
			l.use(one, how.ofMember(one, nil), p.in(rule))
		}
		l.keyed(rule, ref, p)
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

// settled is a reference without the names of its rule: what they stand for, or that it is one or any.
func (l *linter) settled(ref ast.Ref, s *scope) ast.Ref {
	ref = slices.Clone(ref)
	for i, key := range ref[1:] {
		if known := l.constant(key, s); known != nil {
			ref[i+1] = ast.NewTerm(known)
		} else if !key.IsGround() && s.isFixed(key) {
			ref[i+1] = oneMember
		} else if !key.IsGround() {
			ref[i+1] = anyMember
		}
	}
	return ref
}

// keyed asks of the keys that a rule of parts names to be those that are read.
func (l *linter) keyed(rule *ast.Rule, ref ast.Ref, p place) {
	keys := rule.Ref()
	if rule.Head.DocKind() == ast.PartialSetDoc {
		keys = append(slices.Clone(keys), rule.Head.Key)
	}
	for i, key := range keys[:min(len(keys), len(ref))] {
		if !key.IsGround() && i > 0 {
			l.is(key, ref[i], p, p.in(rule))
		}
	}
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
		if (name[0] == 'l' || name[0] == 'g') && how.way != there {
			l.untyped(e, p)
		}
		if how.passes(ast.Boolean(true)) != no {
			l.comparison(name, operands, p)
		}
		if how.passes(ast.Boolean(false)) != no {
			l.comparison(opposite[name], operands, p)
		}
	case strings.HasPrefix(name, "internal.member_"):
		l.membership(operands, how, p)
	case name == "object.get":
		l.get(operands, how, p)
	default:
		for i, one := range operands {
			next := how.through(name, i)
			if next.way != there && next.with == nil {
				next.made = &operand{l: l, s: p.s, call: e, hole: one}
				next = next.after(how)
			}
			l.use(one, next, p)
		}
	}
}

func (l *linter) comparison(op string, operands []*ast.Term, p place) {
	a, b := operands[0], operands[1]
	if because := l.incomplete(a, p.s); flipped[op] == "eq" && because != nil && l.incomplete(b, p.s) != nil && !p.s.partOf(a, b) && !p.s.partOf(b, a) {
		l.blame(p, because) // equal where both lack what they differ in
	}
	if flipped[op] == "eq" && (l.part(a, b, p) || l.part(b, a, p) || l.pairs(a, b, p) || l.pairs(b, a, p)) {
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
	one, all := operands[len(operands)-2], operands[len(operands)-1]
	if len(operands) > 2 {
		l.use(operands[0], demand{way: either, op: "at", with: l.constant(all, p.s), then: &demand{way: either}}, p)
	}
	if how.passes(ast.Boolean(true)) != no {
		l.use(one, demand{way: either, op: "in", with: l.constant(all, p.s)}, p)
		l.use(all, demand{op: "has", with: l.constant(one, p.s)}, p)
	}
	if how.passes(ast.Boolean(false)) != no {
		l.use(one, demand{way: either, op: "not in", with: l.constant(all, p.s)}, p)
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
	key := demand{way: either, op: "or else"}
	if all, other := l.constant(from, p.s), l.constant(operands[2], p.s); all != nil && other != nil {
		key.with = ast.NewArray(ast.NewTerm(all), ast.NewTerm(other))
	}
	l.use(operands[1], key.after(how), p)
	l.member(from, path, how, p)
	if how.letsThrough(l.constant(operands[2], p.s), nil) {
		l.blame(p, l.lacking(from, p.s))
	}
}
