// What is only unwise? The clock of the host, a glob that costs three times what a comparison does, rules about
// arguments that a list, which has none, can never satisfy, and an order of arguments that may be of any type.
package main

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

var hostBuiltins = []string{"opa.runtime", "rand.intn", "time.now_ns", "uuid.rfc4122"}
var operationRef = ast.MustParseRef("input.request.operation")
var argumentsRef = ast.MustParseRef("input.arguments")

func (l *linter) everywhere(m *ast.Module) {
	for _, rule := range m.Rules {
		s := newScope(rule)
		ast.WalkExprs(rule, func(e *ast.Expr) bool {
			if !e.IsCall() {
				return false
			}
			name := e.Operator().String()
			if slices.Contains(hostBuiltins, name) {
				l.report("host_clock", s, e.Location, &cause{name: name})
			} else if name == "glob.match" {
				l.glob(e, s)
			}
			return false
		})
		for branch := rule; branch != nil; branch = branch.Else {
			if at := s.asksForList(branch.Body); at != nil && reads(branch.Body, argumentsRef) {
				l.report("list_reads_arguments", s, at, nil)
			}
		}
	}
}

// glob names what a comparison says as well: a pattern without wildcards, or with one at its end that nothing delimits.
func (l *linter) glob(e *ast.Expr, s *scope) {
	pattern, ok := s.value(e.Operand(0)).Value.(ast.String)
	if !ok {
		return
	}
	text := string(pattern)
	prefix, found := strings.CutSuffix(text, "*")
	undelimited := s.value(e.Operand(1)).Equal(ast.NullTerm())
	if found && strings.HasSuffix(prefix, "*") {
		prefix, undelimited = strings.TrimSuffix(prefix, "*"), true
	}
	if strings.ContainsAny(prefix, `*?[]{}\`) || found && !undelimited {
		return
	}
	l.report("costly_glob", s, e.Location, &cause{name: text})
}

func (s *scope) asksForList(body ast.Body) *ast.Location {
	for _, e := range body {
		if !e.IsCall() || e.Negated || len(e.Operands()) != 2 {
			continue
		}
		a, b := s.value(e.Operand(0)), s.value(e.Operand(1))
		if isListOperation(a, b) || isListOperation(b, a) {
			return e.Location
		}
	}
	return nil
}

func isListOperation(a, b *ast.Term) bool {
	ref, ok := a.Value.(ast.Ref)
	return ok && ref.Equal(operationRef) && b.Equal(ast.StringTerm("tools/list"))
}

// untyped finds an argument of any type in an order: null is less than every number, a text is more. What else the rule
// does with it that only one type can is proof of it.
func (l *linter) untyped(e *ast.Expr, p place) {
	for _, operand := range e.Operands()[:2] {
		ref := p.s.read(operand)
		if !ref.HasPrefix(argumentsRef) || l.typed(ref, false)["type"] != nil || p.s.isTyped(ref) || l.hasSchema(p.s.rule) {
			continue
		}
		name := ref.String()
		if operand.Location != nil {
			name = string(operand.Location.Text) // as its author wrote it
		}
		l.report("untyped_order", p.s, e.Location, &cause{name: name})
	}
}

// hasSchema says whether an annotation binds a schema: then its author has said of what type it is.
func (l *linter) hasSchema(rule *ast.Rule) bool {
	return slices.ContainsFunc(l.compiler.GetAnnotationSet().Chain(rule), func(one *ast.AnnotationsRef) bool {
		return one.Annotations != nil && len(one.Annotations.Schemas) > 0
	})
}

// isTyped says whether a rule asks what type it is, or gives it to a built-in that fails for others.
func (s *scope) isTyped(ref ast.Ref) bool {
	found := false
	ast.WalkExprs(s.rule, func(e *ast.Expr) bool {
		if !e.IsCall() || e.Negated || ast.BuiltinMap[e.Operator().String()] == nil {
			return false
		}
		name := e.Operator().String()
		asks := strings.HasPrefix(name, "is_") && name != "is_null"
		is := func(t *ast.Term) bool { return s.read(t).Equal(ref) }
		found = found || (asks || !slices.Contains(total, name)) && slices.ContainsFunc(e.Operands(), is)
		return found
	})
	return found
}

// neverListed: if each definition of what grants reads arguments, no list ever shows the tool, and what no list shows
// cannot be called.
func (l *linter) neverListed(rule *ast.Rule) {
	rules := l.compiler.GetRulesExact(rule.Ref().GroundPrefix())
	if len(rule.Head.Args) > 0 || len(rules) == 0 || l.listed[rules[0]] {
		return
	}
	l.listed[rules[0]] = true
	some := false
	for _, one := range rules {
		if one.Default || refuses(newScope(one).valueOf(one)) {
			continue
		}
		if !reads(one.Body, argumentsRef) || one.Else != nil {
			return
		}
		some = true
	}
	if some {
		l.report("never_listed", newScope(rule), rule.Head.Location, nil)
	}
}

// reads says whether an expression that must be true reads it; what is negated may be missing.
func reads(body ast.Body, what ast.Ref) bool {
	found := false
	for _, e := range body {
		if e.IsNegated() {
			continue
		}
		ast.WalkRefs(e, func(ref ast.Ref) bool {
			found = found || ref.HasPrefix(what)
			return found
		})
	}
	return found
}
