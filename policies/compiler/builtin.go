// What would OPA itself answer? Runs one of OPA's own Go built-ins: the reference against which a built-in
// written elsewhere is compared. Operands and result are Rego term text, so sets and big numbers survive.
package main

import (
	"context"
	"math/rand"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
	"github.com/open-policy-agent/opa/v1/topdown/builtins"
)

type builtinResult struct {
	Defined bool   `json:"defined"`
	Value   string `json:"value"`
}

func (r *request) builtin() answer {
	f := topdown.GetBuiltin(r.Name)
	if f == nil {
		return fail("bad_request", "no such built-in: "+r.Name)
	}
	operands := make([]*ast.Term, len(r.Args))
	for i, text := range r.Args {
		term, err := ast.ParseTerm(text)
		if err != nil {
			return refuse(diagnose(err))
		}
		operands[i] = term
	}
	var out builtinResult
	err := f(r.builtinContext(), operands, func(t *ast.Term) error {
		out = builtinResult{Defined: true, Value: t.String()}
		return nil
	})
	if err != nil {
		return refuse(diagnose(err))
	}
	return answer{OK: true, Result: out}
}

func (r *request) builtinContext() topdown.BuiltinContext {
	now := ast.NumberTerm("0")
	if r.NowNS != "" {
		now = ast.NewTerm(ast.Number(r.NowNS))
	}
	return topdown.BuiltinContext{
		Context: context.Background(), Seed: rand.New(rand.NewSource(r.Seed)), Time: now, Cancel: topdown.NewCancel(),
		Runtime: ast.ObjectTerm(), Cache: builtins.Cache{}, NDBuiltinCache: builtins.NDBCache{},
		Capabilities: ast.CapabilitiesForThisVersion(), Location: ast.NewLocation(nil, "", 1, 1),
	}
}
