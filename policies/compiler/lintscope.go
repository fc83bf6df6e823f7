// What do a rule's variables stand for?
package main

import (
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// scope is one rule with what its variables stand for: the compiler's names are unique in it.
type scope struct {
	rule  *ast.Rule
	vars  map[ast.Var]*ast.Term // equal to
	made  map[ast.Var]*ast.Expr // the call that made it
	texts map[ast.Var]bool      // parameters that a string is given for
	uses  map[ast.Var]int
}

// What another rule's variables name: whichever there are, or one of them.
var anyMember, oneMember = ast.VarTerm("any member"), ast.VarTerm("one member")

func newScope(rule *ast.Rule) *scope {
	s := &scope{rule: rule, vars: map[ast.Var]*ast.Term{}, made: map[ast.Var]*ast.Expr{}, texts: map[ast.Var]bool{}, uses: map[ast.Var]int{}}
	given := map[ast.Var]bool{} // from outside: an equation only compares them
	for branch := rule; branch != nil; branch = branch.Else {
		for _, arg := range branch.Head.Args {
			ast.WalkVars(arg, func(v ast.Var) bool { given[v] = true; return false })
		}
	}
	s.learn(given, rule)
	return s
}

// learn finds what is equal. What stands within a negation, a comprehension or `every` is so only there.
func (s *scope) learn(given map[ast.Var]bool, parts ...any) {
	var within []any
	known := maps.Clone(given)
	visitor := ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension, *ast.Every, *ast.Not, *ast.LogicalAnd, *ast.LogicalOr:
			within = append(within, x)
			return true
		case ast.Var:
			known[x] = true
			s.uses[x]++
		case *ast.Expr:
			if x.IsEquality() && len(x.Operands()) == 2 && !x.Negated {
				s.equal(x.Operand(0), x.Operand(1), given)
				s.equal(x.Operand(1), x.Operand(0), given)
			} else if v := made(x); v != "" {
				s.made[v] = x
			}
		}
		return false
	})
	for _, part := range parts {
		visitor.Walk(part)
	}
	for _, one := range within {
		switch one := one.(type) {
		case *ast.ArrayComprehension:
			s.learn(known, one.Term, one.Body)
		case *ast.SetComprehension:
			s.learn(known, one.Term, one.Body)
		case *ast.ObjectComprehension:
			s.learn(known, one.Key, one.Value, one.Body)
		case *ast.Every:
			s.each(one, known)
			s.learn(known, one.Domain, one.Body)
		case *ast.Not:
			s.learn(known, one.Body)
		case *ast.LogicalAnd:
			s.learn(known, one.Lhs, one.Rhs)
		case *ast.LogicalOr:
			s.learn(known, one.Lhs, one.Rhs)
		}
	}
}

// each makes what `every` goes through a member of its domain.
func (s *scope) each(every *ast.Every, given map[ast.Var]bool) {
	key := anyMember
	if every.Key != nil {
		key = every.Key
		ast.WalkVars(key, func(v ast.Var) bool { given[v] = true; s.uses[v]++; return false })
	}
	if item, named := every.Value.Value.(ast.Var); named {
		given[item] = true
		s.vars[item] = memberAt(every.Domain, key)
	}
}

func (s *scope) equal(a, b *ast.Term, given map[ast.Var]bool) {
	for _, key := range keysOf(a) {
		if one, other := memberAt(a, key), memberAt(b, key); one != nil && other != nil {
			s.equal(one, other, given)
		}
	}
	v, ok := a.Value.(ast.Var)
	if before, known := s.vars[v]; ok && !given[v] && (!known || isScalar(before)) && !s.reaches(b, v, map[ast.Var]bool{}) {
		s.vars[v] = b // what it was compared with says less
	}
}

// reaches says whether a term stands for something that is made of this variable.
func (s *scope) reaches(t *ast.Term, v ast.Var, seen map[ast.Var]bool) bool {
	found := false
	ast.WalkVars(t, func(one ast.Var) bool {
		if found = found || one == v; found || seen[one] {
			return true
		}
		seen[one] = true
		if next, known := s.vars[one]; known {
			found = s.reaches(next, v, seen)
		}
		if call := s.made[one]; call != nil && !found {
			for _, operand := range call.Operands()[:len(call.Operands())-1] {
				found = found || s.reaches(operand, v, seen)
			}
		}
		return found
	})
	return found
}

func isScalar(t *ast.Term) bool {
	switch t.Value.(type) {
	case ast.Boolean, ast.Number, ast.Null, ast.String:
		return true
	}
	return false
}

// made is the variable that a call gives its value to.
func made(e *ast.Expr) ast.Var {
	if !e.IsCall() || e.IsEquality() || len(e.Operands()) == 0 || e.Negated {
		return ""
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

// read is the reference that a term stands for, from its root, empty of any other.
func (s *scope) read(t *ast.Term) ast.Ref {
	ref, ok := s.value(t).Value.(ast.Ref)
	if ok && len(ref) > 1 && s.value(ref[0]) != ref[0] {
		return slices.Concat(s.read(ref[0]), ref[1:])
	}
	return ref
}

// isFixed says whether a key is one that is known or asked about, rather than whichever there are.
func (s *scope) isFixed(key *ast.Term) bool {
	v, named := s.value(key).Value.(ast.Var)
	return !named || s.uses[v] > 1 || v.Compare(oneMember.Value) == 0
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

// skip marks what a value is made of.
func (s *scope) skip(t *ast.Term, skip map[ast.Var]bool) {
	ast.WalkVars(t, func(v ast.Var) bool {
		if skip[v] {
			return false
		}
		skip[v] = true
		if call := s.made[v]; call != nil {
			for _, operand := range call.Operands() {
				s.skip(operand, skip)
			}
		} else if next, known := s.vars[v]; known {
			s.skip(next, skip)
		}
		return false
	})
}

// gives is the variable that an expression gives a value to, rather than comparing it.
func (s *scope) gives(e *ast.Expr) ast.Var {
	if !e.IsEquality() || e.Negated {
		return made(e)
	}
	v, _ := e.Operand(0).Value.(ast.Var)
	if s.made[v] != nil || s.vars[v] != e.Operand(1) {
		return ""
	}
	return v
}

// parts is a value and all that goes into it by calls, each once.
func (s *scope) parts(t *ast.Term) []*ast.Term {
	parts, seen := []*ast.Term{s.value(t)}, map[ast.Var]bool{}
	for at := 0; at < len(parts); at++ {
		v, named := parts[at].Value.(ast.Var)
		if call := s.made[v]; named && call != nil && !seen[v] {
			seen[v] = true
			for _, operand := range call.Operands()[:len(call.Operands())-1] {
				parts = append(parts, s.value(operand))
			}
		}
	}
	return parts
}

func (s *scope) partOf(one, other *ast.Term) bool {
	return slices.ContainsFunc(s.parts(other), s.value(one).Equal)
}

// madeAt is where the value of a definition is made.
func (s *scope) madeAt(t *ast.Term, branch *ast.Rule) *ast.Location {
	if call := s.call(t); call != nil {
		return call.Location
	}
	return branch.Head.Location
}
