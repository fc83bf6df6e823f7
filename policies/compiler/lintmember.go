// Which member of it is asked about? Of what is written out, the one that stands there; of what is made, whichever may.
package main

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

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
				l.is(key, path[0], p, p)
				l.member(value, path[1:], how, p)
			}
		})
	case *ast.Array:
		for i, one := range elements(known) {
			if !path[0].IsGround() || path[0].Equal(ast.IntNumberTerm(i)) {
				l.member(one, path[1:], how, p)
			}
		}
	case ast.Set:
		for _, one := range elements(known) {
			l.is(one, path[0], p, p)
			l.member(one, path[1:], how, p)
		}
	case *ast.ArrayComprehension:
		if because := l.incomplete(known, p.s); because != nil && because.builtin && p.s.isFixed(path[0]) && how.way != there {
			l.blame(p, because) // another one stands there where one is missing
		}
		l.memberOfEach(known, v.Term, path, how, p)
	case *ast.SetComprehension:
		l.is(v.Term, path[0], p, p)
		l.memberOfEach(known, v.Term, path, how, p)
	case *ast.ObjectComprehension:
		l.is(v.Key, path[0], p, p)
		l.memberOfEach(known, v.Value, path, how, p)
	default:
		l.use(known, demand{}, p)
	}
}

// is asks of a key that it be the one that is read.
func (l *linter) is(key, read *ast.Term, reader, p place) {
	if with := l.constant(read, reader.s); with != nil {
		l.use(key, comparedBy("eq", with), p)
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
	name := e.Operator().String()
	isAny := how.equal(demand{}) && !(slices.Contains(givesArray, name) && p.s.isFixed(path[0]))
	switch {
	case len(l.compiler.GetRulesExact(e.Operator())) > 0:
		l.function(e, path, how, p)
	case how.way != there && path.IsGround() && l.overridden(e, path, how, p):
	case how.way == there:
		l.call(e, how, p)
	case slices.Contains(joins, name) && !p.s.isFixed(path[0]):
		for i, operand := range e.Operands()[:len(ways[name])] {
			if ways[name][i] == '+' {
				l.member(operand, path, how, p)
			}
		}
		l.call(e, demand{}, p)
	case isAny:
		l.call(e, demand{op: "of", path: path}.after(how), p)
	default:
		l.call(e, demand{way: either, op: "of", path: path}.after(how), p)
	}
}

// overridden is a member of a union of objects, of which the later ones override.
func (l *linter) overridden(e *ast.Expr, path ast.Ref, how demand, p place) bool {
	var all []*ast.Term
	switch e.Operator().String() {
	case "object.union":
		all = e.Operands()[:2]
	case "object.union_n":
		if array, ok := p.s.value(e.Operand(0)).Value.(*ast.Array); ok {
			all = elements(ast.NewTerm(array))
		}
	}
	for i, one := range all {
		l.use(one, demand{way: there}, p)
		if i == 0 {
			l.member(one, path, how, p)
			continue
		}
		over := demand{way: either, op: "over", path: path}.after(how)
		for _, before := range all[:i] {
			if value, may := l.written(before, path, p.s); may {
				over.with = value
			}
		}
		l.use(one, over, p)
	}
	return len(all) > 0
}

// written is what always stands there, nil if that varies, and whether anything may.
func (l *linter) written(t *ast.Term, path ast.Ref, s *scope) (ast.Value, bool) {
	object, ok := s.value(t).Value.(ast.Object)
	if known := l.constant(t, s); known != nil && len(path) > 0 {
		object, ok = known.(ast.Object)
	}
	if len(path) == 0 || !ok {
		return l.constant(t, s), true
	}
	if one := object.Get(path[0]); one != nil {
		return l.written(one, path[1:], s)
	}
	return nil, slices.ContainsFunc(object.Keys(), func(key *ast.Term) bool { return !key.IsGround() })
}

// pairs asks of each part of what is taken apart what is asked of the whole. A part that only names a thing asks nothing.
func (l *linter) pairs(pattern, whole *ast.Term, p place) bool {
	keys := keysOf(pattern)
	if keys == nil || pattern.IsGround() {
		return false
	}
	if _, isArray := pattern.Value.(*ast.Array); isArray && keysOf(p.s.value(whole)) == nil {
		l.blame(p, l.incomplete(whole, p.s)) // which has as many as the pattern where one is missing
	}
	l.use(whole, demand{way: there}, p)
	for _, key := range keys {
		one, other := memberAt(pattern, key), memberAt(whole, key)
		if v, named := one.Value.(ast.Var); other == nil || named && p.s.made[v] == nil && p.s.vars[v] != nil && p.s.vars[v].Equal(other) {
			continue
		}
		l.comparison("eq", []*ast.Term{one, other}, p)
	}
	return true
}

// partOf is what a rule of parts makes there, and the path to what is read of it.
func partOf(rule *ast.Rule, ref ast.Ref) (*ast.Term, ast.Ref) {
	one, at := rule.Head.Value, len(rule.Ref())
	if one == nil {
		one, at = rule.Head.Key, len(rule.Ref().GroundPrefix())+1
	}
	return one, ref[min(at, len(ref)):]
}

// keysOf are those of an array or an object that is written out.
func keysOf(t *ast.Term) []*ast.Term {
	switch v := t.Value.(type) {
	case *ast.Array:
		keys := []*ast.Term{}
		for i := range v.Len() {
			keys = append(keys, ast.IntNumberTerm(i))
		}
		return keys
	case ast.Object:
		return v.Keys()
	}
	return nil
}

// memberAt is what stands there, nil if nothing does.
func memberAt(t, key *ast.Term) *ast.Term {
	if ref, ok := t.Value.(ast.Ref); ok {
		return ast.NewTerm(slices.Concat(ref, ast.Ref{key}))
	}
	if keysOf(t) == nil || !key.IsGround() {
		return ast.NewTerm(ast.Ref{t, key})
	}
	one, err := t.Value.Find(ast.Ref{key})
	if err != nil {
		return nil
	}
	return ast.NewTerm(one)
}
