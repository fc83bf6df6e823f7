// Can this fail to be true, or this collection lack a member, for want of something? What is always there: constants,
// bound variables, and the input that every question has, by its schema. What never fails: comparison, membership,
// questions of type, and the string built-ins on what is known to be a string.
package main

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

var total = strings.Fields(`eq equal neq lt lte gt gte assign internal.member_2 internal.member_3 internal.print
	is_array is_boolean is_null is_number is_object is_set is_string type_name`)
var totalOnStrings = strings.Fields(`contains endswith indexof lower replace split startswith strings.reverse
	trim trim_left trim_prefix trim_right trim_space trim_suffix upper`)

var givesString = strings.Fields(`concat lower replace strings.reverse trim trim_left trim_prefix trim_right trim_space
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
	if len(e.With) > 0 {
		defer l.known(nil, nil)() // of another input
	}
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
		return l.missingRules(l.compiler.GetRulesExact(e.Operator()), l.textsAmong(e.Operands(), s))
	}
	if slices.Contains(total, name) {
		return nil
	}
	operands := e.Operands()[:min(len(e.Operands()), ast.BuiltinMap[name].Decl.Arity())]
	texts := l.textsAmong(operands, s)
	switch {
	case slices.Contains(totalOnStrings, name) && !strings.Contains(texts, "-"):
		return nil
	case (name == "concat" || name == "sprintf") && texts[0] == 's' && l.areStrings(operands[1], s):
		return nil
	case ofRequestTime(e, s):
		return nil
	case name == "regex.match" && texts[1] == 's' && isPattern(s.value(operands[0])):
		return nil
	}
	return &cause{builtin: true, name: name, at: e.Location}
}

var requestTimeRef = ast.MustParseRef("input.request.time")
var totalOnTime = strings.Fields(`time.clock time.date time.weekday`)

// ofRequestTime: the gateway writes it.
func ofRequestTime(e *ast.Expr, s *scope) bool {
	if e.Operator().String() == "time.parse_rfc3339_ns" {
		ref, ok := s.value(e.Operand(0)).Value.(ast.Ref)
		return ok && ref.Equal(requestTimeRef)
	}
	made := s.call(e.Operand(0))
	return slices.Contains(totalOnTime, e.Operator().String()) && made != nil && made.Operator().String() == "time.parse_rfc3339_ns" && ofRequestTime(made, s)
}

// isPattern: it is written out, small, and has nothing that an older engine does not know.
func isPattern(t *ast.Term) bool {
	text, ok := t.Value.(ast.String)
	if !ok || len(text) > 200 || slices.ContainsFunc([]string{`\p`, `\P`, `(?<`}, func(one string) bool { return strings.Contains(string(text), one) }) {
		return false
	}
	parsed, err := syntax.Parse(string(text), syntax.Perl)
	if err != nil {
		return false
	}
	program, err := syntax.Compile(parsed.Simplify())
	return err == nil && len(program.Inst) <= 1000
}

// absent is what the expression reads: input or data that may not be there, a rule that may not hold, a collection
// that may lack a member.
func (l *linter) absent(e *ast.Expr, s *scope) *cause {
	var found *cause
	visitor := ast.NewGenericVisitor(func(x any) bool {
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
	})
	if !e.IsCall() {
		visitor.Walk(e.Terms)
	}
	for _, operand := range e.Operands() {
		visitor.Walk(operand)
	}
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
	return l.missingRules(l.rules(ref), "")
}

// missingRules asks whether what these rules define may be undefined, or lack a member. Of a function, `texts` says
// which parameters are strings.
func (l *linter) missingRules(rules []*ast.Rule, texts string) *cause {
	var found *cause
	for _, one := range byPath(rules) {
		isProved := func(rule *ast.Rule) bool { // true by default: it is false only where a rule proves it
			return rule.Default && grants(rule.Head.Value.Value) && l.proofs(one)
		}
		if slices.ContainsFunc(one, isProved) {
			continue
		}
		for _, rule := range one {
			found = worse(found, l.missingRule(rule, texts))
		}
	}
	return found
}

// proofs walks the definitions that say false: they let through.
func (l *linter) proofs(rules []*ast.Rule) bool {
	for _, rule := range rules {
		s := newScope(rule)
		for branch := rule; branch != nil; branch = branch.Else {
			if branch.Default || grants(s.valueOf(branch)) {
				continue
			}
			if !refuses(s.valueOf(branch)) {
				return false
			}
			l.proves(rule, branch)
		}
	}
	return true
}

type missable struct {
	rule         *ast.Rule
	texts, there string
}

func (l *linter) missingRule(rule *ast.Rule, texts string) *cause {
	return l.remember(missable{rule, texts, fmt.Sprint(l.there, l.texts)}, func() *cause {
		var found *cause
		s := newScope(rule)
		for i, arg := range rule.Head.Args {
			if v, ok := arg.Value.(ast.Var); ok && i < len(texts) {
				s.texts[v] = texts[i] == 's'
			}
		}
		for branch := rule; branch != nil && !rule.Default; branch = branch.Else {
			found = worse(found, l.missing(branch.Body, s))
			for _, t := range []*ast.Term{branch.Head.Key, branch.Head.Value} {
				if t != nil {
					found = worse(found, l.incomplete(t, s))
				}
			}
		}
		return found
	})
}

// incomplete asks whether a collection, or what is made of it, may lack a member.
func (l *linter) incomplete(t *ast.Term, s *scope) *cause {
	var found *cause
	for _, part := range s.parts(t) {
		if call := s.call(part); call != nil {
			found = worse(found, l.incompleteRules(l.compiler.GetRulesExact(call.Operator()), call.Operator()))
			continue
		}
		switch v := part.Value.(type) {
		case *ast.ArrayComprehension:
			found = worse(found, l.missing(v.Body, s))
		case *ast.SetComprehension:
			found = worse(found, l.missing(v.Body, s))
		case *ast.ObjectComprehension:
			found = worse(found, l.missing(v.Body, s))
		case ast.Ref:
			found = worse(found, l.incompleteRules(l.rules(v), v))
		}
	}
	return found
}

// incompleteRules: a complete rule that is undefined denies, as does a member that is not there; one whose value is a
// collection may lack members.
func (l *linter) incompleteRules(rules []*ast.Rule, ref ast.Ref) *cause {
	var found *cause
	for _, rule := range rules {
		if rule.Head.DocKind() != ast.CompleteDoc && len(ref) <= len(rule.Ref().GroundPrefix()) {
			found = worse(found, l.missingRule(rule, ""))
			continue
		}
		found = worse(found, l.remember(missable{rule, "value", fmt.Sprint(l.there, l.texts)}, func() *cause {
			var value *cause
			for branch := rule; branch != nil && branch.Head.Value != nil; branch = branch.Else {
				value = worse(value, l.incomplete(branch.Head.Value, newScope(rule)))
			}
			return value
		}))
	}
	return found
}

func (l *linter) remember(what missable, ask func() *cause) *cause {
	if _, known := l.missed[what]; !known {
		l.missed[what] = nil
		l.missed[what] = ask()
	}
	return l.missed[what]
}
