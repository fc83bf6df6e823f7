// Does a value that stands in pass what is asked? The comparison is made with it, where it can be made.
package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

type verdict int

const (
	unknown verdict = iota
	yes
	no
)

func (d demand) passes(value ast.Value) verdict {
	if d.way == there {
		return no
	}
	if value == nil {
		return unknown
	}
	if d.made != nil {
		return d.made.passes(value, *d.then)
	}
	switch d.op {
	case "of":
		found, err := value.Find(d.path)
		if err != nil && d.path.IsGround() {
			return no
		}
		return d.then.passes(found)
	case "over":
		if found, err := value.Find(d.path); err == nil {
			return d.then.passes(found)
		}
		return d.then.passes(d.with)
	}
	if d.op != "" && d.with == nil {
		return unknown
	}
	switch d.op {
	case "":
		if _, ok := value.(ast.Boolean); !ok || d.way == either {
			return unknown
		}
		return verdictOf(value.Compare(ast.Boolean(d.way == more)) == 0)
	case "in", "not in":
		return verdictOf(has(d.with, value) == (d.op == "in"))
	case "has", "has not":
		return verdictOf(has(value, d.with) == (d.op == "has"))
	case "or else": // a key, its object and what stands for it
		all, other := d.with.(*ast.Array).Elem(0), d.with.(*ast.Array).Elem(1)
		if found, err := all.Value.Find(ast.Ref{ast.NewTerm(value)}); err == nil {
			return d.then.passes(found)
		}
		return d.then.passes(other.Value)
	case "at":
		found, err := d.with.Find(ast.Ref{ast.NewTerm(value)})
		if err == nil && !d.then.equal(demand{}) {
			return d.then.passes(found)
		}
		return verdictOf(err == nil && found.Compare(ast.Boolean(false)) != 0)
	}
	order := value.Compare(d.with)
	return verdictOf(strings.Contains(map[string]string{
		"eq": "=", "equal": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=",
	}[d.op], string("<=>"[order+1])))
}

func verdictOf(passes bool) verdict {
	if passes {
		return yes
	}
	return no
}

// letsThrough is asked of what stands for something missing, which would have been one of `others`. Where the
// comparison is not known, it passes if it is further that way than they are, is the least there is, or is a boolean
// and an index: what else a default says, its author meant.
func (d demand) letsThrough(value ast.Value, others []ast.Value) bool {
	switch verdict := d.passes(value); {
	case verdict != unknown || value == nil:
		return verdict == yes
	case d.op == "neq" || d.op == "not in":
		return true
	}
	if d.op == "at" && d.with != nil {
		found, _ := d.with.Find(ast.Ref{ast.NewTerm(value)})
		return d.then.letsThrough(found, nil)
	}
	further := func(other ast.Value) bool {
		return d.way != more && isLess(value, other) || d.way != less && isLess(other, value)
	}
	_, isBoolean := value.(ast.Boolean)
	return d.way == less && isBottom(value) || isBoolean && (d.way == either || d.op == "at") || slices.ContainsFunc(others, further)
}

// matches says that a value decides, and nothing is known of how: it may be what is asked for as well as another one.
// Nothing is equal to what is empty: so is said that there is none.
func (d demand) matches(value ast.Value) bool {
	if value == nil || d.passes(value) != unknown {
		return false
	}
	switch d.op {
	case "eq", "equal", "in":
		return ast.IsScalar(value) && !isBottom(value)
	case "at":
		if d.with != nil {
			found, err := d.with.Find(ast.Ref{ast.NewTerm(value)})
			return err == nil && d.then.matches(found)
		}
	}
	return d.way == either
}

// operand is what a built-in is given, and which part of it is asked about.
type operand struct {
	l    *linter
	s    *scope
	call *ast.Expr
	hole *ast.Term
}

// at is a part of what is given, if it is written out where the built-in is called.
func (o *operand) at(one *ast.Term, s *scope) *operand {
	if o == nil || o.s != s {
		return nil
	}
	return &operand{l: o.l, s: s, call: o.call, hole: one}
}

func (o *operand) String() string {
	if o == nil {
		return ""
	}
	return fmt.Sprintf("%p %s", o.call, o.hole)
}

// endless may make of a few numbers more than there is room for.
var endless = []string{"bits.lsh", "net.cidr_expand", "numbers.range", "numbers.range_step"}

// passes gives the built-in the value, if all else that it is given is known.
func (o *operand) passes(value ast.Value, then demand) verdict {
	name := o.call.Operator().String()
	f, decl := topdown.GetBuiltin(name), ast.BuiltinMap[name]
	if f == nil || decl == nil || decl.Nondeterministic || decl.Relation || slices.Contains(endless, name) {
		return unknown
	}
	operands := []*ast.Term{}
	for _, t := range o.call.Operands()[:min(len(o.call.Operands()), decl.Decl.Arity())] {
		known := o.filled(t, value)
		if known == nil {
			return unknown
		}
		operands = append(operands, known)
	}
	made := no // a built-in that fails lets nothing through
	_ = f(topdown.BuiltinContext{Context: context.Background(), Cancel: topdown.NewCancel(), Location: o.call.Location}, operands, func(t *ast.Term) error {
		made = then.passes(t.Value)
		return nil
	})
	return made
}

// filled is a term with the value in its place, nil if anything else in it is not a constant.
func (o *operand) filled(t *ast.Term, value ast.Value) *ast.Term {
	known := o.l.constant(t, o.s)
	if o.hole != nil && t.Equal(o.hole) {
		known = value
	}
	if number, ok := known.(ast.Number); ok && len(number) > 20 {
		return nil
	} else if known != nil {
		return ast.NewTerm(known)
	}
	items := []*ast.Term{}
	for _, one := range elements(o.s.value(t)) {
		if one = o.filled(one, value); one == nil {
			return nil
		}
		items = append(items, one)
	}
	switch o.s.value(t).Value.(type) {
	case *ast.Array:
		return ast.ArrayTerm(items...)
	case ast.Set:
		return ast.SetTerm(items...)
	}
	return nil
}

// isLess compares numbers and sets; other values are not more or less than each other.
func isLess(a, b ast.Value) bool {
	switch a := a.(type) {
	case ast.Number:
		_, ok := b.(ast.Number)
		return ok && a.Compare(b) < 0
	case ast.Set:
		set, ok := b.(ast.Set)
		return ok && a.Compare(set) != 0 && a.Diff(set).Len() == 0
	}
	return false
}

func has(collection, value ast.Value) bool {
	return slices.ContainsFunc(values(collection), func(t *ast.Term) bool { return t.Value.Compare(value) == 0 })
}

// values are what `in` looks among.
func values(collection ast.Value) []*ast.Term {
	if object, ok := collection.(ast.Object); ok {
		all := []*ast.Term{}
		object.Foreach(func(_, one *ast.Term) { all = append(all, one) })
		return all
	}
	if collection == nil {
		return nil
	}
	return elements(ast.NewTerm(collection))
}

// isBottom: there is nothing less than this.
func isBottom(value ast.Value) bool {
	switch v := value.(type) {
	case ast.Null:
		return true
	case ast.Boolean:
		return !bool(v)
	case ast.Number:
		return v.Compare(ast.Number("0")) <= 0
	case ast.String:
		return v == ""
	case ast.Set:
		return v.Len() == 0
	case *ast.Array:
		return v.Len() == 0
	case ast.Object:
		return v.Len() == 0
	}
	return false
}
