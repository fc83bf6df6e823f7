// Can this fail to be true, or this collection lack a member, for want of something? What is always there: constants,
// bound variables, and the input that every question has, by its schema. What never fails: comparison, membership,
// questions of type, and the string built-ins on what is known to be a string.
package main

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

var total = strings.Fields(`eq equal neq lt lte gt gte assign internal.member_2 internal.member_3 internal.print
	is_array is_boolean is_null is_number is_object is_set is_string type_name`)
var totalOnStrings = strings.Fields(`contains endswith indexof lower replace split startswith strings.reverse
	trim trim_left trim_prefix trim_right trim_space trim_suffix upper`)

var givesString = strings.Fields(`lower replace strings.reverse trim trim_left trim_prefix trim_right trim_space
	trim_suffix upper`)

// missing prefers a built-in that fails, which an attacker chooses, to what merely is not there.
func (l *linter) missing(body ast.Body, s *scope) *cause {
	var absent *cause
	for _, e := range body {
		because := l.missingOne(e, s)
		if because != nil && because.builtin {
			return because
		}
		if absent == nil {
			absent = because
		}
	}
	return absent
}

func (l *linter) missingOne(e *ast.Expr, s *scope) *cause {
	switch t := e.Terms.(type) {
	case *ast.Every:
		return l.missing(t.Body, s)
	case *ast.Not:
		l.body(t.Body, s, map[ast.Var]bool{}) // twice negated is required
		return nil
	case *ast.LogicalAnd:
		return l.missing(append(slices.Clone(t.Lhs), t.Rhs...), s)
	case *ast.LogicalOr:
		return l.missing(append(slices.Clone(t.Lhs), t.Rhs...), s)
	}
	if e.Negated {
		plain := e.Copy()
		plain.Negated = false
		l.body(ast.NewBody(plain), s, map[ast.Var]bool{})
		return nil
	}
	if because := l.failing(e, s); because != nil {
		return because
	}
	return l.absent(e, s)
}

// failing is the call itself: of a built-in that has no answer to some operands, or of a function.
func (l *linter) failing(e *ast.Expr, s *scope) *cause {
	if !e.IsCall() {
		return nil
	}
	name := e.Operator().String()
	if ast.BuiltinMap[name] == nil {
		return l.missingRules(l.compiler.GetRulesExact(e.Operator()))
	}
	if slices.Contains(total, name) {
		return nil
	}
	operands := e.Operands()[:min(len(e.Operands()), ast.BuiltinMap[name].Decl.Arity())]
	strings := !slices.ContainsFunc(operands, func(t *ast.Term) bool { return !l.isString(t, s) })
	if strings && slices.Contains(totalOnStrings, name) {
		return nil
	}
	return &cause{builtin: true, name: name, at: e.Location}
}

// isString: what stands outside of the negation is there, so its type by the schema is enough.
func (l *linter) isString(t *ast.Term, s *scope) bool {
	if call := s.call(t); call != nil {
		return slices.Contains(givesString, call.Operator().String())
	}
	switch v := s.value(t).Value.(type) {
	case ast.String:
		return true
	case ast.Ref:
		schema := l.typed(v, false)
		return schema != nil && schema["type"] == "string"
	}
	return false
}

// absent is what the expression reads: input or data that may not be there, a rule that may not hold, a collection
// that may lack a member.
func (l *linter) absent(e *ast.Expr, s *scope) *cause {
	var found *cause
	ast.NewGenericVisitor(func(x any) bool {
		if found != nil && found.builtin {
			return true
		}
		var because *cause
		switch x := x.(type) {
		case ast.Ref:
			because = l.absentRef(x, e.Location)
		case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension:
			found = worse(found, l.incomplete(ast.NewTerm(x.(ast.Value)), s))
			return true
		case ast.Var:
			if t := s.value(ast.NewTerm(x)); t.Value.Compare(x) != 0 || s.made[x] != nil {
				because = l.incomplete(t, s)
			}
		}
		found = worse(found, because)
		return false
	}).Walk(e)
	return found
}

func worse(a, b *cause) *cause {
	if a == nil || b != nil && b.builtin && !a.builtin {
		return b
	}
	return a
}

func (l *linter) absentRef(ref ast.Ref, at *ast.Location) *cause {
	if ref.HasPrefix(ast.InputRootRef) && l.typed(ref, true) == nil || ref.HasPrefix(ast.DefaultRootRef) && len(l.rules(ref)) == 0 {
		return &cause{name: ref.GroundPrefix().String(), at: at}
	}
	return l.missingRules(l.rules(ref))
}

// missingRules asks whether what these rules define may be undefined, or lack a member.
func (l *linter) missingRules(rules []*ast.Rule) *cause {
	// true by default: it is false only where a rule proves it
	for _, rule := range rules {
		if rule.Default && grants(rule.Head.Value.Value) && l.proved(rules) {
			return nil
		}
	}
	var found *cause
	for _, rule := range rules {
		found = worse(found, l.missingRule(rule))
	}
	return found
}

// proved walks the definitions that say false: they let through.
func (l *linter) proved(rules []*ast.Rule) bool {
	for _, rule := range rules {
		s := newScope(rule)
		for branch := rule; branch != nil; branch = branch.Else {
			if branch.Default || grants(s.valueOf(branch)) {
				continue
			}
			if !refuses(s.valueOf(branch)) {
				return false
			}
			l.body(branch.Body, s, map[ast.Var]bool{})
		}
	}
	return true
}

func (l *linter) missingRule(rule *ast.Rule) *cause {
	if because, known := l.asked[rule]; known {
		return because
	}
	l.asked[rule] = nil
	var found *cause
	s := newScope(rule)
	for branch := rule; branch != nil && !rule.Default; branch = branch.Else {
		found = worse(found, l.missing(branch.Body, s))
		for _, t := range []*ast.Term{branch.Head.Key, branch.Head.Value} {
			if t != nil {
				found = worse(found, l.incomplete(t, s))
			}
		}
	}
	l.asked[rule] = found
	return found
}

// incomplete asks whether a collection may lack a member.
func (l *linter) incomplete(t *ast.Term, s *scope) *cause {
	t = s.value(t)
	if call := s.call(t); call != nil {
		var found *cause
		for _, operand := range call.Operands()[:len(call.Operands())-1] {
			found = worse(found, l.incomplete(operand, s))
		}
		return found
	}
	switch v := t.Value.(type) {
	case *ast.ArrayComprehension:
		return l.missing(v.Body, s)
	case *ast.SetComprehension:
		return l.missing(v.Body, s)
	case *ast.ObjectComprehension:
		return l.missing(v.Body, s)
	case ast.Ref:
		return l.incompleteRules(l.rules(v))
	}
	return nil
}

// incompleteRules: a complete rule that is undefined denies, one whose value is a collection may lack members.
func (l *linter) incompleteRules(rules []*ast.Rule) *cause {
	var found *cause
	for _, rule := range rules {
		if rule.Head.DocKind() != ast.CompleteDoc {
			found = worse(found, l.missingRule(rule))
		} else if rule.Head.Value != nil {
			found = worse(found, l.incomplete(rule.Head.Value, newScope(rule)))
		}
	}
	return found
}

// typed is the schema of what a reference reads; nil if there is none, or, if asked so, if a question may lack it.
func (l *linter) typed(ref ast.Ref, always bool) map[string]any {
	if !ref.HasPrefix(ast.InputRootRef) {
		return nil
	}
	schema, _ := l.request.Schemas["input"].(map[string]any)
	for _, term := range ref[1:] {
		if schema == nil {
			return nil
		}
		key, isKey := term.Value.(ast.String)
		required, _ := schema["required"].([]any)
		switch {
		case isKey && (!always || slices.Contains(required, any(string(key)))):
			properties, _ := schema["properties"].(map[string]any)
			schema, _ = properties[string(key)].(map[string]any)
		case !isKey && !term.IsGround(): // whichever there are
			if schema, _ = schema["items"].(map[string]any); schema == nil {
				schema = map[string]any{}
			}
		default:
			return nil
		}
	}
	return schema
}
