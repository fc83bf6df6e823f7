// What do a rule's variables stand for, and which expressions ask that something be empty?
package main

import (
	"github.com/open-policy-agent/opa/v1/ast"
)

func newScope(rule *ast.Rule) *scope {
	s := &scope{rule: rule, vars: map[ast.Var]*ast.Term{}, made: map[ast.Var]*ast.Expr{}}
	ast.WalkExprs(rule, func(e *ast.Expr) bool {
		if e.IsEquality() && len(e.Operands()) == 2 {
			s.equal(e.Operand(0), e.Operand(1))
			s.equal(e.Operand(1), e.Operand(0))
		} else if v := made(e); v != "" {
			s.made[v] = e
		}
		return false
	})
	return s
}

func (s *scope) equal(a, b *ast.Term) {
	v, ok := a.Value.(ast.Var)
	if before, known := s.vars[v]; ok && (!known || isScalar(before)) {
		s.vars[v] = b // what it was compared with says less
	}
}

func isScalar(t *ast.Term) bool {
	switch t.Value.(type) {
	case ast.Boolean, ast.Number, ast.Null, ast.String:
		return true
	}
	return false
}

// made is the variable that an expression gives its value to.
func made(e *ast.Expr) ast.Var {
	if !e.IsCall() || len(e.Operands()) == 0 || e.Negated {
		return ""
	}
	if e.IsEquality() {
		v, _ := e.Operand(0).Value.(ast.Var)
		return v
	}
	b, ok := ast.BuiltinMap[e.Operator().String()]
	if ok && len(e.Operands()) > b.Decl.Arity() || !ok && e.Generated {
		v, _ := e.Operand(len(e.Operands()) - 1).Value.(ast.Var)
		return v
	}
	return ""
}

// value follows a variable to what it stands for, or to itself.
func (s *scope) value(t *ast.Term) *ast.Term {
	for range 16 {
		v, ok := t.Value.(ast.Var)
		next, known := s.vars[v]
		if !ok || !known || s.made[v] != nil {
			break
		}
		t = next
	}
	return t
}

func (s *scope) call(t *ast.Term) *ast.Expr {
	if v, ok := s.value(t).Value.(ast.Var); ok {
		return s.made[v]
	}
	return nil
}

// beside are the variables that only fill what a decision says beside `allow`: its reasons, its obligations.
func (s *scope) beside(branch *ast.Rule) map[ast.Var]bool {
	skip, allowing := map[ast.Var]bool{}, map[ast.Var]bool{}
	object, ok := s.valueOf(branch).(ast.Object)
	if !ok || object.Get(ast.StringTerm("allow")) == nil {
		return skip
	}
	uses := map[ast.Var]int{}
	ast.WalkVars(branch.Body, func(v ast.Var) bool { uses[v]++; return false })
	allow := object.Get(ast.StringTerm("allow"))
	ast.WalkVars(allow, func(v ast.Var) bool { allowing[v] = true; return false })
	object.Foreach(func(_, value *ast.Term) {
		ast.WalkVars(value, func(v ast.Var) bool {
			if !allowing[v] && uses[v] <= 2 { // where it is made, and here
				s.skip(ast.NewTerm(v), skip)
			}
			return false
		})
	})
	return skip
}

// valueOf is what a definition gives, nil for a member of a set.
func (s *scope) valueOf(branch *ast.Rule) ast.Value {
	if branch.Head.Value == nil {
		return nil
	}
	return s.value(branch.Head.Value).Value
}

// consumed adds the variables whose value counts by being empty or absent: who made them does not grant.
func (s *scope) consumed(e *ast.Expr, skip map[ast.Var]bool) {
	if emptied := s.emptied(e); emptied != nil {
		s.skip(emptied, skip)
	} else if denied := s.denied(e); denied != nil {
		s.skip(denied, skip)
	} else if e.Negated {
		for _, operand := range e.Operands() {
			s.skip(operand, skip)
		}
	} else if every, ok := e.Terms.(*ast.Every); ok {
		s.skip(every.Domain, skip)
	}
}

func (s *scope) skip(t *ast.Term, skip map[ast.Var]bool) {
	v, ok := t.Value.(ast.Var)
	if !ok || skip[v] {
		return
	}
	skip[v] = true
	if call := s.made[v]; call != nil {
		for _, operand := range call.Operands() {
			s.skip(operand, skip)
		}
	} else if next, known := s.vars[v]; known {
		s.skip(next, skip)
	}
}

// emptied is what an expression asks to be empty: count(x) == 0, count(x) < 1, x == set() and their like.
func (s *scope) emptied(e *ast.Expr) *ast.Term {
	if !e.IsCall() || e.Negated || len(e.Operands()) < 2 {
		return nil
	}
	a, b := e.Operand(0), e.Operand(1)
	switch e.Operator().String() {
	case "eq", "equal":
		if x := s.compared(a, b, "0"); x != nil {
			return x
		}
		return s.compared(b, a, "0")
	case "lt":
		return s.compared(a, b, "1")
	case "lte":
		return s.compared(a, b, "0")
	case "gt":
		return s.compared(b, a, "1")
	case "gte":
		return s.compared(b, a, "0")
	}
	return nil
}

// denied is what an expression asks to be false: x == false, x != true.
func (s *scope) denied(e *ast.Expr) *ast.Term {
	if !e.IsCall() || e.Negated || len(e.Operands()) < 2 {
		return nil
	}
	a, b := e.Operand(0), e.Operand(1)
	name := e.Operator().String()
	if name != "eq" && name != "equal" && name != "neq" {
		return nil
	}
	wrong := ast.BooleanTerm(name == "neq")
	if b.Equal(wrong) {
		return a
	}
	if a.Equal(wrong) {
		return b
	}
	return nil
}

func (s *scope) compared(collection, with *ast.Term, number string) *ast.Term {
	if isEmpty(with) {
		return collection
	}
	call := s.call(collection)
	if call == nil || call.Operator().String() != "count" || !with.Equal(ast.NewTerm(ast.Number(number))) {
		return nil
	}
	return call.Operand(0)
}

func isEmpty(t *ast.Term) bool {
	switch v := t.Value.(type) {
	case ast.Set:
		return v.Len() == 0
	case *ast.Array:
		return v.Len() == 0
	case ast.Object:
		return v.Len() == 0
	}
	return false
}
