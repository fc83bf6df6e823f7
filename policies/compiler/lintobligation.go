// Which obligations does a decision give, as far as they are written out? Followed from the decision through the rules and
// the variables that they stand in. Whether the gateway takes them is told by the gateway: it alone knows.
package main

import (
	"encoding/json"

	"github.com/open-policy-agent/opa/v1/ast"
)

// spot is a term where it stands.
type spot struct {
	t *ast.Term
	s *scope
}

// followed is what was looked at, for an obligation: two may be given the same list. A name is what it is wherever it
// stands, if it holds no variable of a rule.
type followed struct {
	obligation string
	t          *ast.Term
	ref        string
	rule       *ast.Rule
}

// obligation is a finding with what is written: nothing where that varies.
type obligation struct {
	finding
	Value json.RawMessage `json:"value,omitempty"`
}

var obligationsKey = ast.StringTerm("obligations")

func (l *linter) obligations(decision ast.Ref) []obligation {
	found := []obligation{}
	rules := l.rules(decision)
	if len(rules) == 0 {
		return found
	}
	l.members(spot{ast.NewTerm(decision), newScope(rules[0])}, func(key *ast.Term, all spot) {
		if !key.Equal(obligationsKey) {
			return
		}
		l.follows = "(all)"
		l.members(all, func(name *ast.Term, value spot) {
			if text, ok := name.Value.(ast.String); ok {
				l.follows = string(text)
				found = append(found, l.obligationsOf(string(text), name, value)...)
				l.follows = "(all)"
			}
		})
		l.follows = ""
	})
	return found
}

// obligationsOf is one obligation: as a whole where it is written as a whole, of a list each member that is.
func (l *linter) obligationsOf(name string, key *ast.Term, value spot) []obligation {
	found := []obligation{l.obligationAt(name, spot{key, value.s}, nil)}
	l.items(value, func(one spot, isMember bool) {
		if term := one.s.value(one.t); ast.IsConstant(term.Value) {
			if isMember {
				term = ast.ArrayTerm(term)
			}
			found = append(found, l.obligationAt(name, one, term.Value))
		}
	})
	return found
}

func (l *linter) obligationAt(name string, at spot, value ast.Value) obligation {
	const lint = "invalid_obligation"
	o := obligation{finding: finding{
		Lint: lint, Rule: at.s.rule.Ref().GroundPrefix().String(), Cause: name, Reason: l.switched(lint, at.s.rule),
	}}
	where := at.t.Location
	if where == nil || where.File == "" {
		where = at.s.rule.Head.Location
	}
	if where != nil {
		o.File, o.Row, o.Col, o.Text = where.File, where.Row, where.Col, string(where.Text)
	}
	if value != nil {
		if said, err := ast.JSON(value); err == nil {
			o.Value, _ = json.Marshal(said)
		}
	}
	return o
}

// members goes through the members of an object, as it is written or as rules of their own define them.
func (l *linter) members(p spot, visit func(key *ast.Term, value spot)) {
	l.meant(p, func(q spot) {
		if object, ok := q.s.value(q.t).Value.(ast.Object); ok {
			object.Foreach(func(key, value *ast.Term) { visit(key, spot{value, q.s}) })
		}
	}, func(rule *ast.Rule, ref ast.Ref) {
		if at := rule.Ref(); len(at) > len(ref) && at.HasPrefix(ref) {
			if key := at[len(ref)]; key.IsGround() {
				visit(key, spot{ast.NewTerm(at[:len(ref)+1]), newScope(rule)})
			}
		}
	})
}

// items goes through the members of a list or a set, or takes anything else as a whole.
func (l *linter) items(p spot, visit func(one spot, isMember bool)) {
	l.meant(p, func(q spot) {
		value := q.s.value(q.t)
		switch v := value.Value.(type) {
		case *ast.SetComprehension:
			visit(spot{v.Term, q.s}, true)
		case *ast.ArrayComprehension:
			visit(spot{v.Term, q.s}, true)
		default:
			if all := elements(value); len(all) > 0 {
				for _, one := range all {
					visit(spot{one, q.s}, true)
				}
			} else {
				visit(q, false)
			}
		}
	}, func(rule *ast.Rule, ref ast.Ref) {
		if rule.Head.DocKind() == ast.PartialSetDoc && rule.Ref().Equal(ref) {
			visit(spot{rule.Head.Key, newScope(rule)}, true)
		}
	})
}

// meant visits what a term stands for, each once: what rules give as a whole, both sides of a union; and rules that define
// a part of what it names.
func (l *linter) meant(p spot, visit func(spot), part func(rule *ast.Rule, ref ast.Ref)) {
	value := p.s.value(p.t)
	if call := p.s.call(value); call != nil {
		switch call.Operator().String() {
		case "object.union", "array.concat", "or":
			l.meant(spot{call.Operand(0), p.s}, visit, part)
			l.meant(spot{call.Operand(1), p.s}, visit, part)
		}
		return
	}
	ref, ok := value.Value.(ast.Ref)
	if !ok {
		if l.once(followed{obligation: l.follows, t: value}) {
			visit(spot{value, p.s})
		}
		return
	}
	name := followed{obligation: l.follows, ref: ref.String()}
	if !ref.IsGround() {
		name.rule = p.s.rule
	}
	if !l.once(name) {
		return
	}
	for _, rule := range l.rules(ref) {
		at := rule.Ref()
		if len(rule.Head.Args) > 0 {
			continue
		}
		if rule.Head.DocKind() != ast.CompleteDoc || !ref.HasPrefix(at) {
			part(rule, ref)
			continue
		}
		s := newScope(rule)
		for branch := rule; branch != nil; branch = branch.Else {
			if t := l.at(branch, ref[len(at):], s); t != nil {
				l.meant(spot{t, s}, visit, part)
			}
		}
	}
}

func (l *linter) once(one followed) bool {
	again := l.seen[one]
	l.seen[one] = true
	return !again
}
