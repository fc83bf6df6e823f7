// What is asked of a value? That it be true or there, that it pass a comparison, or only that it be much or little.
package main

import (
	"fmt"
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
// if it is not a constant. Where it is a key, an operand or what overrides, `then` is asked of what comes of it.
type demand struct {
	way  way
	op   string
	with ast.Value
	then *demand
	path ast.Ref  // over: where it overrides `with`
	made *operand // what else the built-in is given
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

// keepsMembers gives a collection that has no other members than its operands.
var keepsMembers = strings.Fields(`and array.concat array.reverse array.slice intersection minus or sort union`)

// joins: whichever member of it is one of an operand's.
var joins = strings.Fields(`and array.concat array.reverse minus or sort`)

// givesArray: which member stands where depends on all of them.
var givesArray = strings.Fields(`array.concat array.reverse array.slice sort`)

var aggregates = strings.Fields(`max min product sum`)

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

// ofMember is what is asked of a member of what is written out. That each be there asks nothing of it.
func (d demand) ofMember(one *ast.Term, s *scope) demand {
	switch d.op {
	case "has":
		return comparedBy("eq", d.with)
	case "has not":
		return comparedBy("neq", d.with)
	case "every":
		return demand{way: there}
	}
	return demand{way: d.way, then: d.then, made: d.made.at(one, s)}
}

// asksMembers says whether it depends on what the members are, rather than on how many there are.
func (d demand) asksMembers() bool {
	return d.way != there && d.op != "members" && (d.op != "" || d.way == either)
}

// followedMax bounds how far what comes of it is followed.
const followedMax = 3

// after makes this a demand of what something else is made of. Too far from what is asked in the end, only the way counts.
func (d demand) after(how demand) demand {
	depth := 1
	for next := how.then; next != nil; next = next.then {
		depth++
	}
	if depth > followedMax {
		return demand{way: d.way}
	}
	d.then = &how
	return d
}

// through is what is asked of an operand of a built-in.
func (d demand) through(builtin string, operand int) demand {
	way := d.way
	if varies := (d.op == "eq" || d.op == "equal") && d.with == nil; varies && slices.Contains(aggregates, builtin) && way == more {
		way = either // the greatest of what is left is equal to another thing
	}
	next := demand{way: way.through(builtin, operand)}
	switch {
	case next.way == there:
	case builtin == "count":
		next.op = "members"
	case slices.Contains(aggregates, builtin):
		next.op = "values"
	case slices.Contains(keepsMembers, builtin) && operand < len(ways[builtin]) && ways[builtin][operand] == '+':
		if next.op = d.op; d.op == "has" || d.op == "has not" {
			next.with = d.with
		} else if d.op != "every" && d.op != "members" && d.op != "values" {
			next.op = ""
		}
	}
	return next
}

func (d demand) equal(other demand) bool {
	return d.String() == other.String()
}

func (d demand) String() string {
	if d.then == nil {
		return fmt.Sprintf("%d %s %v", d.way, d.op, d.with)
	}
	return fmt.Sprintf("%d %s %v %v %v (%v)", d.way, d.op, d.with, d.path, d.made, *d.then)
}

// question is a demand of what stands at a path.
type question struct {
	path ast.Ref
	how  demand
}

func (q question) equal(other question) bool {
	return q.path.Equal(other.path) && q.how.equal(other.how)
}
