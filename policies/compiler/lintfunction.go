// What does a function ask of what it is given? What its definitions ask of their parameters, and of members of these,
// and that it be the constants that their heads have there.
package main

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// function asks of the definitions, and what these ask of their parameters is asked of the operands. What would make
// it false is not known.
func (l *linter) function(e *ast.Expr, path ast.Ref, how demand, p place) {
	rules := l.compiler.GetRulesExact(e.Operator())
	l.valued(rules, path, how, p)
	given := e.Operands()
	if made(e) != "" {
		given = given[:len(given)-1]
	}
	for i, operand := range given {
		l.use(operand, demand{way: how.way.unlessMore()}, p)
		for _, rule := range rules {
			for _, asked := range l.asked[rule][i] {
				l.member(operand, asked.path, asked.how, p)
			}
		}
	}
}

func (l *linter) parameter(v ast.Var, path ast.Ref, how demand, rule *ast.Rule) {
	if how.equal(demand{}) && len(path) == 0 || how.way == there {
		return
	}
	for branch := rule; branch != nil; branch = branch.Else {
		for i, arg := range branch.Head.Args {
			within, found := pathTo(arg, v)
			if !found {
				continue
			}
			settled := l.settled(slices.Concat(ast.Ref{arg}, within, path), newScope(rule))
			l.ask(rule, i, question{path: settled[1:], how: how})
		}
	}
}

func (l *linter) ask(rule *ast.Rule, operand int, one question) {
	if l.asked[rule] == nil {
		l.asked[rule] = map[int][]question{}
	}
	if !slices.ContainsFunc(l.asked[rule][operand], one.equal) {
		l.asked[rule][operand] = append(l.asked[rule][operand], one)
	}
}

// matched asks of what is given that it be the constants that a head has in its place, or that it be others.
func (l *linter) matched(rule *ast.Rule, op string) {
	for i, arg := range rule.Head.Args {
		constantsIn(arg, nil, func(path ast.Ref, value ast.Value) {
			l.ask(rule, i, question{path: path, how: comparedBy(op, value)})
		})
		ast.WalkVars(arg, func(v ast.Var) bool {
			isOther := func(other *ast.Term) bool {
				_, found := pathTo(other, v)
				return other != arg && found
			}
			if path, found := pathTo(arg, v); found && slices.ContainsFunc(rule.Head.Args, isOther) { // one name twice
				l.ask(rule, i, question{path: path, how: demand{way: either}})
			}
			return false
		})
	}
}

// pathTo is where a variable stands in a parameter that is taken apart.
func pathTo(t *ast.Term, v ast.Var) (path ast.Ref, found bool) {
	try := func(key, one *ast.Term) {
		if rest, ok := pathTo(one, v); ok && !found {
			path, found = append(ast.Ref{key}, rest...), true
		}
	}
	switch value := t.Value.(type) {
	case ast.Var:
		return ast.Ref{}, value == v
	case *ast.Array:
		for i, one := range elements(t) {
			try(ast.IntNumberTerm(i), one)
		}
	case ast.Object:
		value.Foreach(try)
	}
	return path, found
}

// constantsIn finds the constants in a parameter that is taken apart, and where they stand.
func constantsIn(t *ast.Term, path ast.Ref, found func(path ast.Ref, value ast.Value)) {
	if ast.IsConstant(t.Value) {
		found(path, t.Value)
		return
	}
	for _, key := range keysOf(t) {
		constantsIn(memberAt(t, key), append(slices.Clone(path), key), found)
	}
}
