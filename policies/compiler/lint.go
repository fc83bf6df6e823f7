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
	walked   map[*ast.Rule]bool               // as granting
	proved   map[*ast.Rule]bool               // definitions whose body must hold
	missed   map[missable]*cause              // as missing
	asked    map[*ast.Rule]map[int][]question // by a function, of what is given to it
	there    []ast.Ref                        // what of the input is read besides, in a conjunction, and so is there
	texts    []ast.Value                      // what else is a string, since what must hold is told of it
	listed   map[*ast.Rule]bool               // the first definition of each rule that was asked whether lists can satisfy it
	seen     map[followed]bool
	follows  string // the obligation whose value is followed
	found    []finding
}

func (r *request) lint(c *ast.Compiler) ([]finding, []obligation) {
	l := &linter{
		request: r, compiler: c, owner: r.Reserved.Owner,
		walked: map[*ast.Rule]bool{}, proved: map[*ast.Rule]bool{}, missed: map[missable]*cause{},
		asked: map[*ast.Rule]map[int][]question{}, listed: map[*ast.Rule]bool{}, found: []finding{},
		seen: map[followed]bool{},
	}
	obliged := []obligation{}
	for _, path := range r.Required {
		rules := c.GetRulesExact(dataRef(path, "."))
		l.defaults(rules)
		for _, rule := range rules {
			l.granting(rule)
		}
		obliged = append(obliged, l.obligations(dataRef(path, "."))...)
	}
	for _, p := range sortedKeys(c.Modules) {
		if p != l.owner {
			l.everywhere(c.Modules[p])
		}
	}
	return l.found, obliged
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

func (l *linter) blame(p place, because *cause) {
	if because == nil {
		return
	}
	lint := "grant_by_absence"
	if because.builtin {
		lint = "negated_builtin"
	}
	l.report(lint, p.owner, p.at, because)
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
