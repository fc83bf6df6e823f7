// What is only unwise? The clock of the host, a glob that costs three times what a comparison does, and rules about
// arguments that a list, which has none, can never satisfy.
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
