// How does checked Rego become a policy.wasm? OPA's internal planner and IR-to-wasm back end, called
// directly: the same bytes as `opa build -t wasm -O0`, without its second compilation, IR pretty-print and
// re-format. Optimisation is not offered: without all data it folds what is missing to undefined.
package main

import (
	"bytes"
	"fmt"

	wasmc "github.com/open-policy-agent/opa/internal/compiler/wasm"
	"github.com/open-policy-agent/opa/internal/planner"
	"github.com/open-policy-agent/opa/internal/wasm/encoding"
	"github.com/open-policy-agent/opa/v1/ast"
)

func (r *request) compile() answer {
	if len(r.Entrypoints) == 0 && r.Query == "" {
		return fail("bad_request", "compile needs an entrypoint")
	}
	c, ds := r.check()
	if len(ds) > 0 {
		return refuse(ds)
	}
	queries := make([]planner.QuerySet, 0, len(r.Entrypoints))
	for _, path := range r.Entrypoints {
		q, err := query(c, path)
		if err != nil {
			return refuse(diagnose(err))
		}
		queries = append(queries, q)
	}
	if r.Query != "" {
		q, err := r.rawQuery(c)
		if err != nil {
			return refuse(diagnose(err))
		}
		queries = append(queries, q)
	}
	wasm, err := r.link(c, queries)
	if err != nil {
		return refuse(diagnose(err))
	}
	return answer{OK: true, wasm: wasm, Result: map[string]any{"entrypoints": r.Entrypoints}}
}

// query asks for one entrypoint, "package/rule".
func query(c *ast.Compiler, path string) (planner.QuerySet, error) {
	ref := dataRef(path, "/")
	if len(c.GetRules(ref)) == 0 {
		return planner.QuerySet{}, fmt.Errorf("entrypoint %q is not a rule", path)
	}
	qc := c.QueryCompiler()
	body, err := qc.Compile(ast.NewBody(ast.Equality.Expr(ast.VarTerm("result"), ast.NewTerm(ref))))
	if err != nil {
		return planner.QuerySet{}, err
	}
	return planner.QuerySet{Name: path, Queries: []ast.Body{body}, RewrittenVars: qc.RewrittenVars()}, nil
}

// rawQuery is any body: its results are bindings, as OPA's own conformance cases ask for.
func (r *request) rawQuery(c *ast.Compiler) (planner.QuerySet, error) {
	body, err := ast.ParseBodyWithOpts(r.Query, ast.ParserOptions{RegoVersion: r.regoVersion(), Capabilities: r.capabilities()})
	if err != nil {
		return planner.QuerySet{}, err
	}
	qc := c.QueryCompiler()
	if body, err = qc.Compile(body); err != nil {
		return planner.QuerySet{}, err
	}
	return planner.QuerySet{Name: "eval", Queries: []ast.Body{body}, RewrittenVars: qc.RewrittenVars()}, nil
}

func (r *request) link(c *ast.Compiler, queries []planner.QuerySet) ([]byte, error) {
	modules := make([]*ast.Module, 0, len(c.Modules))
	for _, p := range sortedKeys(c.Modules) {
		modules = append(modules, c.Modules[p])
	}
	builtins := map[string]*ast.Builtin{}
	for _, b := range r.capabilities().Builtins {
		builtins[b.Name] = b
	}
	policy, err := planner.New().WithQueries(queries).WithModules(modules).WithBuiltinDecls(builtins).Plan()
	if err != nil {
		return nil, err
	}
	module, err := wasmc.New().WithPolicy(policy).Compile()
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = encoding.WriteModule(&out, module)
	return out.Bytes(), err
}
