// Of what type is it, and is it always there? By the schema of the input, which every question keeps to, and by what
// stands beside it.
package main

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// known says what is there, and what of it is a string, until it is called off.
func (l *linter) known(refs []ast.Ref, texts []ast.Value) func() {
	there, before := l.there, l.texts
	l.there, l.texts = refs, texts
	return func() { l.there, l.texts = there, before }
}

// beside says what is there beside what else a body asks for, until it is called off.
func (l *linter) beside(body ast.Body, s *scope) func() {
	return l.known(append(slices.Clone(l.there), present(body)...), append(slices.Clone(l.texts), textsIn(body, s)...))
}

// textsIn is what a body does not hold for but where it is a string. What the compiler named is of one rule.
func textsIn(body ast.Body, s *scope) []ast.Value {
	var texts []ast.Value
	for _, e := range body {
		if !e.IsCall() || e.Negated || len(e.With) > 0 {
			continue
		}
		name := e.Operator().String()
		if name != "is_string" && name != "regex.match" && !slices.Contains(totalOnStrings, name) {
			continue
		}
		for _, operand := range e.Operands()[:min(len(e.Operands()), ast.BuiltinMap[name].Decl.Arity())] {
			if v, ok := operand.Value.(ast.Var); ok && v.IsGenerated() {
				texts = append(texts, v)
			}
			if ref, ok := s.value(operand).Value.(ast.Ref); ok && ref.HasPrefix(ast.InputRootRef) && ref.IsGround() {
				texts = append(texts, ref)
			}
		}
	}
	return texts
}

// present is what of the input a body reads, and so does not hold without.
func present(body ast.Body) []ast.Ref {
	refs := []ast.Ref{}
	for _, e := range body {
		if _, isEvery := e.Terms.(*ast.Every); isEvery || e.IsNegated() || len(e.With) > 0 {
			continue
		}
		ast.NewGenericVisitor(func(x any) bool {
			switch x := x.(type) {
			case *ast.ArrayComprehension, *ast.SetComprehension, *ast.ObjectComprehension, *ast.Not, *ast.LogicalOr:
				return true
			case ast.Ref:
				if x.HasPrefix(ast.InputRootRef) {
					refs = append(refs, x.GroundPrefix())
				}
			}
			return false
		}).Walk(e)
	}
	return refs
}

// typed is the schema of what a reference reads; nil if there is none, or, if asked so, if a question may lack it.
func (l *linter) typed(ref ast.Ref, always bool) map[string]any {
	if !ref.HasPrefix(ast.InputRootRef) {
		return nil
	}
	schema, _ := l.request.Schemas["input"].(map[string]any)
	for i, term := range ref[1:] {
		if schema == nil {
			return nil
		}
		key, isKey := term.Value.(ast.String)
		required, _ := schema["required"].([]any)
		isThere := slices.ContainsFunc(l.there, func(one ast.Ref) bool { return one.HasPrefix(ref[:i+2]) })
		switch {
		case isKey && (!always || isThere || slices.Contains(required, any(string(key)))):
			properties, _ := schema["properties"].(map[string]any)
			if schema, _ = properties[string(key)].(map[string]any); schema == nil && always && isThere {
				schema = map[string]any{}
			}
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

// textsAmong has an `s` for each operand that is a string.
func (l *linter) textsAmong(operands []*ast.Term, s *scope) string {
	texts := make([]byte, len(operands))
	for i, operand := range operands {
		texts[i] = '-'
		if l.isString(operand, s) {
			texts[i] = 's'
		}
	}
	return string(texts)
}

func (l *linter) areStrings(t *ast.Term, s *scope) bool {
	value := s.value(t)
	if ref, ok := value.Value.(ast.Ref); ok {
		if schema := l.typed(ref, false); schema != nil {
			items, _ := schema["items"].(map[string]any)
			return items["type"] == "string"
		}
		known := l.constant(value, s)
		if known == nil {
			return false
		}
		value = ast.NewTerm(known)
	}
	items := elements(value)
	return items != nil && !slices.ContainsFunc(items, func(one *ast.Term) bool { return !l.isString(one, s) })
}

// isString: what stands outside of the negation is there, so its type by the schema is enough.
func (l *linter) isString(t *ast.Term, s *scope) bool {
	for _, known := range []ast.Value{t.Value, s.value(t).Value} {
		if slices.ContainsFunc(l.texts, func(one ast.Value) bool { return one.Compare(known) == 0 }) {
			return true
		}
	}
	if call := s.call(t); call != nil {
		return slices.Contains(givesString, call.Operator().String())
	}
	switch v := s.value(t).Value.(type) {
	case ast.String:
		return true
	case ast.Var:
		return s.texts[v]
	case ast.Ref:
		if schema := l.typed(v, false); schema != nil {
			return schema["type"] == "string"
		}
		all := ast.NewTerm(v[:len(v)-1])
		if len(v) == 2 {
			all = v[0]
		}
		return len(v) > 1 && l.areStrings(all, s) // a member of these
	}
	return false
}
