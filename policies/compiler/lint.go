// Does this bundle grant because something is missing? In wasm a built-in that fails is undefined, so a rule that
// calls one can vanish, and its negation is then true. Walked from the required rule along everything that lets a
// call through, on the compiled rules: what the compiler moved out of a negation can only deny. This file finds
// and names the place; what it means and how to write it otherwise is told by the gateway.
package main

import (
	"github.com/open-policy-agent/opa/v1/ast"
)

type finding struct {
	Lint    string `json:"lint"`
	Rule    string `json:"rule"`
	Text    string `json:"text"`              // as the author wrote it
	Cause   string `json:"cause,omitempty"`   // the built-in that may fail, or what may be missing
	CauseAt string `json:"causeAt,omitempty"` // file:row
	File    string `json:"file"`
	Row     int    `json:"row"`
	Col     int    `json:"col"`
	Reason  string `json:"reason,omitempty"` // of the annotation that switches this off here
}

// cause is why an expression may not be true although it should.
type cause struct {
	builtin bool
	name    string
	at      *ast.Location
}

type linter struct {
	request  *request
	compiler *ast.Compiler
	owner    string
	walked   map[*ast.Rule]bool   // as granting
	asked    map[*ast.Rule]*cause // as missing
	listed   map[*ast.Rule]bool   // the first definition of each rule that was asked whether lists can satisfy it
	found    []finding
}

// scope is one rule with what its variables stand for: the compiler's names are unique in it.
type scope struct {
	rule *ast.Rule
	vars map[ast.Var]*ast.Term // equal to
	made map[ast.Var]*ast.Expr // the call that made it
}

func (r *request) lint(c *ast.Compiler) []finding {
	l := &linter{
		request: r, compiler: c, owner: r.Reserved.Owner,
		walked: map[*ast.Rule]bool{}, asked: map[*ast.Rule]*cause{}, listed: map[*ast.Rule]bool{}, found: []finding{},
	}
	for _, path := range r.Required {
		rules := c.GetRulesExact(dataRef(path, "."))
		l.defaults(rules)
		for _, rule := range rules {
			l.granting(rule)
		}
	}
	for _, p := range sortedKeys(c.Modules) {
		if p != l.owner {
			l.everywhere(c.Modules[p])
		}
	}
	return l.found
}

// defaults asks for a decision that is always defined: by a default, or because it depends on nothing.
func (l *linter) defaults(rules []*ast.Rule) {
	for _, rule := range rules {
		if rule.Default || len(rule.Head.Args) > 0 || isConstant(rule) {
			return
		}
	}
	if len(rules) > 0 {
		l.report("no_default", newScope(rules[0]), rules[0].Head.Location, nil)
	}
}

func isConstant(rule *ast.Rule) bool {
	return rule.Head.Value != nil && ast.IsConstant(rule.Head.Value.Value) && rule.Body.Equal(ast.NewBody(ast.NewExpr(ast.BooleanTerm(true))))
}

// granting walks what a call is let through by.
func (l *linter) granting(rule *ast.Rule) {
	if l.walked[rule] {
		return
	}
	l.walked[rule] = true
	if rule.Default {
		if grants(rule.Head.Value.Value) {
			l.report("grant_by_absence", newScope(rule), rule.Head.Location, &cause{name: "every other definition of this rule"})
		}
		return
	}
	refused := false
	for branch := rule; branch != nil; branch = branch.Else {
		s := newScope(rule)
		if refuses(s.valueOf(branch)) {
			refused = true
			continue
		}
		if refused {
			l.report("grant_by_absence", s, branch.Head.Location, &cause{name: "the refusal before this else"})
		}
		l.body(branch.Body, s, s.beside(branch))
	}
	l.neverListed(rule)
}

// body walks expressions that must be true; those that only make what `skip` names are not walked.
func (l *linter) body(body ast.Body, s *scope, skip map[ast.Var]bool) {
	for _, e := range body {
		s.consumed(e, skip)
	}
	for _, e := range body {
		emptied, denied := s.emptied(e), s.denied(e)
		if v := made(e); v != "" && skip[v] && emptied == nil && denied == nil {
			continue
		}
		switch t := e.Terms.(type) {
		case *ast.Every:
			l.blame(e, s, l.incomplete(t.Domain, s))
			l.body(t.Body, s, skip)
			continue
		case *ast.Not:
			l.negation(t.Body, e, s)
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
			l.negation(ast.NewBody(plain), e, s)
		} else if emptied != nil {
			l.blame(e, s, l.incomplete(emptied, s))
		} else if denied != nil {
			l.blame(e, s, l.denial(denied, s))
		} else {
			l.follow(e, s, skip)
		}
	}
}

// denial asks whether something may be false for want of a proof: its default must not be false. What proves it
// false lets through.
func (l *linter) denial(t *ast.Term, s *scope) *cause {
	rules := l.rulesOf(t, s)
	l.proved(rules)
	for _, rule := range rules {
		if rule.Default && refuses(rule.Head.Value.Value) {
			var found *cause
			for _, other := range rules {
				found = worse(found, l.missingRule(other))
			}
			return found
		}
	}
	return nil
}

func (l *linter) negation(body ast.Body, e *ast.Expr, s *scope) {
	l.blame(e, s, l.missing(body, s))
}

// follow goes on to the rules that an expression uses, and into its comprehensions.
func (l *linter) follow(e *ast.Expr, s *scope, skip map[ast.Var]bool) {
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case *ast.ArrayComprehension:
			l.body(x.Body, s, skip)
			return true
		case *ast.SetComprehension:
			l.body(x.Body, s, skip)
			return true
		case *ast.ObjectComprehension:
			l.body(x.Body, s, skip)
			return true
		case ast.Ref:
			for _, rule := range l.rules(x) {
				l.granting(rule)
			}
		}
		return false
	}).Walk(e)
}

func (l *linter) blame(e *ast.Expr, s *scope, because *cause) {
	if because == nil {
		return
	}
	lint := "grant_by_absence"
	if because.builtin {
		lint = "negated_builtin"
	}
	l.report(lint, s, e.Location, because)
}

func (l *linter) report(lint string, s *scope, at *ast.Location, because *cause) {
	f := finding{Lint: lint, Rule: s.rule.Ref().GroundPrefix().String(), Reason: l.switched(lint, s.rule)}
	if at != nil {
		f.File, f.Row, f.Col, f.Text = at.File, at.Row, at.Col, string(at.Text)
	}
	if f.File == l.owner {
		return
	}
	if because != nil {
		f.Cause = because.name
		if because.at != nil {
			f.CauseAt = because.at.String()
		}
	}
	for _, other := range l.found {
		if other.Lint == f.Lint && other.File == f.File && other.Row == f.Row && other.Col == f.Col {
			return
		}
	}
	l.found = append(l.found, f)
}

// switched is the reason of the nearest annotation that says `custom: {portcullis: {lint: {…}}}` for this lint.
func (l *linter) switched(lint string, rule *ast.Rule) string {
	for _, one := range l.compiler.GetAnnotationSet().Chain(rule) {
		if one.Annotations == nil {
			continue
		}
		ours, _ := one.Annotations.Custom["portcullis"].(map[string]any)
		lints, _ := ours["lint"].(map[string]any)
		if reason, ok := lints[lint].(string); ok {
			return reason
		}
	}
	return ""
}

// rulesOf is what a term refers to or was made by.
func (l *linter) rulesOf(t *ast.Term, s *scope) []*ast.Rule {
	if call := s.call(t); call != nil {
		return l.compiler.GetRulesExact(call.Operator())
	}
	if ref, ok := s.value(t).Value.(ast.Ref); ok {
		return l.rules(ref)
	}
	return nil
}

func (l *linter) rules(ref ast.Ref) []*ast.Rule {
	if !ref.HasPrefix(ast.DefaultRootRef) {
		return nil
	}
	return l.compiler.GetRulesDynamic(ref)
}

// refuses says whether a value can only deny; grants, whether it lets through by itself.
func refuses(value ast.Value) bool {
	allow := allowOf(value)
	return allow != nil && allow.Compare(ast.Boolean(false)) == 0
}

func grants(value ast.Value) bool {
	allow := allowOf(value)
	return allow != nil && allow.Compare(ast.Boolean(true)) == 0
}

func allowOf(value ast.Value) ast.Value {
	if object, ok := value.(ast.Object); ok {
		allow := object.Get(ast.StringTerm("allow"))
		if allow == nil {
			return nil
		}
		return allow.Value
	}
	return value
}
