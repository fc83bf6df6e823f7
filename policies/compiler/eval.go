// What does OPA's reference evaluator answer? One entrypoint for each of several inputs, by topdown: what a compiled
// policy is compared with. A step budget ends what has no end, as in test.go.
package main

import (
	"context"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
)

type evalResult struct {
	Defined bool        `json:"defined"`
	Value   string      `json:"value"`           // a Rego term
	Error   *diagnostic `json:"error,omitempty"` // a conflict, say
}

func (r *request) eval() answer {
	if len(r.Entrypoints) != 1 {
		return fail("bad_request", "eval needs one entrypoint")
	}
	c, ds := r.check()
	if len(ds) > 0 {
		return refuse(ds)
	}
	ref := dataRef(r.Entrypoints[0], "/")
	if len(c.GetRules(ref)) == 0 {
		return fail("bad_request", "entrypoint "+r.Entrypoints[0]+" is not a rule")
	}
	body, err := c.QueryCompiler().Compile(ast.NewBody(ast.Equality.Expr(resultVar, ast.NewTerm(ref))))
	if err != nil {
		return refuse(diagnose(err))
	}
	data := r.Data
	if data == nil {
		data = map[string]any{}
	}
	ctx := context.Background()
	store := inmem.NewFromObjectWithOpts(data, inmem.OptRoundTripOnWrite(false))
	txn := storage.NewTransactionOrDie(ctx, store)
	defer store.Abort(ctx, txn)
	results := make([]evalResult, 0, len(r.Inputs))
	for _, text := range r.Inputs {
		input, err := ast.ParseTerm(text)
		if err != nil {
			return refuse(diagnose(err))
		}
		query := topdown.NewQuery(body).WithCompiler(c).WithStore(store).WithTransaction(txn)
		results = append(results, r.evalOne(query, input))
	}
	return answer{OK: true, Result: results}
}

func (r *request) evalOne(query *topdown.Query, input *ast.Term) evalResult {
	tracer := &stepTracer{max: r.StepsMax, cancel: topdown.NewCancel(), rows: reached{}}
	found, err := query.WithInput(input).WithTime(timeOf(input)).WithQueryTracer(tracer).WithCancel(tracer.cancel).
		Run(context.Background())
	if err != nil {
		d := tracer.explain(err)
		return evalResult{Error: &d}
	}
	if len(found) == 0 {
		return evalResult{}
	}
	return evalResult{Defined: true, Value: found[0][resultVar.Value.(ast.Var)].String()}
}

// timeOf is what the engine freezes time.now_ns at: input.request.time.
func timeOf(input *ast.Term) time.Time {
	value, err := input.Value.Find(ast.Ref{ast.StringTerm("request"), ast.StringTerm("time")})
	if err != nil {
		return time.Unix(0, 0)
	}
	at, err := time.Parse(time.RFC3339, strings.Trim(value.String(), `"`))
	if err != nil {
		return time.Unix(0, 0)
	}
	return at
}
