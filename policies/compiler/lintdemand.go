// What is asked of a value? That it be true or there, that it pass a comparison, or only that it be much or little.
package main

import (
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// way says what lets through: more of it, less of it, or either.
type way int

const (
	more way = iota
	less
	either
	there // it must be there, whatever it is
)

// demand is nothing by itself but that the value be true, or much. Where it is compared, `with` is on the right, nil
// if it is not a constant. Where it is a key, `then` is asked of what stands there.
type demand struct {
	way  way
	op   string
	with ast.Value
	then *demand
}

var opposite = map[string]string{"eq": "neq", "equal": "neq", "neq": "eq", "lt": "gte", "gte": "lt", "gt": "lte", "lte": "gt"}
var flipped = map[string]string{"eq": "eq", "equal": "eq", "neq": "neq", "lt": "gt", "gt": "lt", "lte": "gte", "gte": "lte"}

// ways is what more of an operand does to what a built-in gives: `+` more, `-` less. What is not here may do either.
var ways = map[string]string{
	"and": "++", "array.concat": "++", "array.reverse": "+", "array.slice": "+**", "ceil": "+", "count": "+", "div": "+-",
	"floor": "+", "graph.reachable": "++", "intersection": "+", "json.filter": "++", "json.remove": "+-", "max": "+", "min": "-",
	"minus": "+-", "mul": "++", "object.filter": "++", "object.keys": "+", "object.remove": "+-", "object.subset": "+-",
	"object.union": "+*", "or": "++", "plus": "++", "product": "+", "round": "+", "sort": "+", "strings.any_prefix_match": "++",
	"strings.any_suffix_match": "++", "sum": "+", "union": "+", "walk": "+",
}

func (w way) through(builtin string, operand int) way {
	switch sign := ways[builtin]; {
	case w == there || strings.HasPrefix(builtin, "is_") || builtin == "type_name":
		return there
	case operand >= len(sign) || sign[operand] == '*':
		return either
	case sign[operand] == '-' && w != either:
		return more + less - w
	}
	return w
}

func (w way) unlessMore() way {
	if w == less {
		return either
	}
	return w
}

// unlessLess is asked of a collection one of whose members is asked something.
func (w way) unlessLess() way {
	if w == there {
		return there
	}
	return more
}

// comparedBy: equal to another variable thing is asked of what should be all there; to a constant, of exactly that.
func comparedBy(op string, with ast.Value) demand {
	d := demand{op: op, with: with}
	switch op {
	case "lt", "lte":
		d.way = less
	case "eq", "equal":
		switch {
		case with != nil && isBottom(with):
			d.way = less
		case with != nil && with.Compare(ast.Boolean(true)) != 0:
			d.way = either
		}
	case "neq":
		switch {
		case with == nil:
			d.way = either
		case with.Compare(ast.Boolean(true)) == 0:
			d.way = less
		case !isBottom(with):
			d.way = either
		}
	}
	return d
}

func (d demand) equal(other demand) bool {
	same := d.way == other.way && d.op == other.op && (d.with == nil) == (other.with == nil) && (d.then == nil) == (other.then == nil)
	return same && (d.with == nil || d.with.Compare(other.with) == 0) && (d.then == nil || d.then.equal(*other.then))
}

// question is a demand of what stands at a path.
type question struct {
	path ast.Ref
	how  demand
}

func (q question) equal(other question) bool {
	return q.path.Equal(other.path) && q.how.equal(other.how)
}

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
	if value == nil || d.op != "" && d.with == nil {
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
	is := func(t *ast.Term) bool { return t.Value.Compare(value) == 0 }
	switch c := collection.(type) {
	case ast.Set:
		return c.Contains(ast.NewTerm(value))
	case *ast.Array:
		return slices.ContainsFunc(elements(ast.NewTerm(c)), is)
	case ast.Object:
		return c.Until(func(_, one *ast.Term) bool { return is(one) })
	}
	return false
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
