// What is a call let through by? Walked from the decision: a body is a conjunction, so each of its expressions must be
// true. What each asks of the things in it is told by lintuse.go.
package main

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// granting walks a rule that must be true, or be there.
func (l *linter) granting(rule *ast.Rule) {
	if l.walked[rule] {
		return
	}
	l.walked[rule] = true
	defer l.known(nil, nil)()
	if rule.Default {
		if grants(rule.Head.Value.Value) {
			l.report("grant_by_absence", newScope(rule), rule.Head.Location, &cause{name: "every other definition of this rule"})
		}
		return
	}
	refused := false
	l.matched(rule, "eq")
	for branch := rule; branch != nil; branch = branch.Else {
		s := newScope(rule)
		if refuses(s.valueOf(branch)) {
			refused = true
			continue
		}
		if branch != rule {
			l.blame(placeOf(branch.Head.Location, s, nil), l.standsIn(nil, rule, branch, nil, demand{}))
		}
		if refused {
			l.report("grant_by_absence", s, branch.Head.Location, &cause{name: "the refusal before this else"})
		}
		skip := s.beside(branch)
		if t := branch.Head.Value; t != nil {
			p := placeOf(s.madeAt(t, branch), s, skip)
			l.allow(t, p)
			l.use(t, demand{way: there}, p)
		}
		l.body(branch.Body, s, skip)
	}
	l.neverListed(rule)
}

// proves walks the body of a definition whose value was asked about by itself.
func (l *linter) proves(rule, branch *ast.Rule) {
	if l.proved[branch] {
		return
	}
	l.proved[branch] = true
	defer l.known(nil, nil)()
	s := newScope(rule)
	skip := map[ast.Var]bool{}
	if branch.Head.Value != nil {
		s.skip(branch.Head.Value, skip)
	}
	l.body(branch.Body, s, skip)
}

// body walks expressions that must be true, the last one first: what uses a value says what is asked of it before
// what makes it is met. What makes only what `skip` names was asked about already, or is not asked about at all.
func (l *linter) body(body ast.Body, s *scope, skip map[ast.Var]bool) {
	defer l.beside(body, s)()
	for _, e := range slices.Backward(body) {
		p := placeOf(e.Location, s, skip)
		for _, with := range e.With {
			l.use(with.Value, demand{way: either}, p)
		}
		switch t := e.Terms.(type) {
		case *ast.Every:
			l.every(t, p)
			continue
		case *ast.Not:
			l.blame(p, l.missing(t.Body, s))
			continue
		case *ast.LogicalAnd:
			l.body(t.Lhs, s, skip)
			l.body(t.Rhs, s, skip)
			continue
		case *ast.LogicalOr:
			l.body(t.Lhs, s, skip)
			l.body(t.Rhs, s, skip)
			continue
		}
		if e.Negated {
			plain := e.Copy()
			plain.Negated = false
			l.blame(p, l.missing(ast.NewBody(plain), s))
			if e.IsCall() {
				l.call(plain, demand{way: less}, p) // its operands stand outside of the negation
			}
		} else if v := s.gives(e); v == "" || !skip[v] {
			l.holds(e, p)
		}
	}
}

// every holds of what is not there: its domain may not lack a member.
func (l *linter) every(t *ast.Every, p place) {
	l.use(t.Domain, demand{way: less, op: "every"}, p)
	l.body(t.Body, p.s, p.skip)
}

// holds is an expression that must be true: a comparison, a call, or what must be there, for nothing else asks of it.
func (l *linter) holds(e *ast.Expr, p place) {
	if t, ok := e.Terms.(*ast.Term); ok {
		l.use(t, demand{}, p)
	} else if e.IsCall() && (p.s.gives(e) == "" || made(e) != "" && isTest(e)) {
		l.call(e, demand{}, p)
	} else {
		for _, operand := range e.Operands() {
			l.use(operand, demand{way: there}, p)
		}
	}
}

// allow asks of what lets through in a decision, or of the value itself.
func (l *linter) allow(t *ast.Term, p place) {
	key := ast.StringTerm("allow")
	if object, ok := p.s.value(t).Value.(ast.Object); ok && object.Get(key) != nil {
		l.use(object.Get(key), demand{}, p)
	} else if call := p.s.call(t); call != nil && strings.HasPrefix(call.Operator().String(), "object.union") {
		l.member(t, ast.Ref{key}, demand{}, p)
	} else {
		l.use(t, demand{}, p)
	}
}

// isTest says whether a call gives true or false by comparing.
func isTest(e *ast.Expr) bool {
	name := e.Operator().String()
	return opposite[name] != "" || strings.HasPrefix(name, "internal.member_")
}
