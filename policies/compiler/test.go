// Do the bundle's own tests hold? A small runner straight on topdown, OPA's reference evaluator: rules named
// test_*, the rows they reach, the trace of a failing one. A step budget, counted in trace events, stops an
// endless test the same way every time (Go's wasm has no preemption: a context deadline would never fire).
package main

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
)

const traceBytesMax = 65536
const traceEventsMax = 500

var resultVar = ast.VarTerm("portcullis_result")

type testResult struct {
	Package string      `json:"package"`
	Name    string      `json:"name"`
	File    string      `json:"file"`
	Row     int         `json:"row"`
	Status  string      `json:"status"` // pass, fail, error or skip
	At      *diagnostic `json:"at,omitempty"`
	Output  string      `json:"output,omitempty"` // of print()
	Trace   string      `json:"trace,omitempty"`
	Steps   int         `json:"steps"`
}

type testRun struct {
	request  *request
	compiler *ast.Compiler
	store    storage.Store
	txn      storage.Transaction
	rows     reached
}

func (r *request) test() answer {
	mods, ds := r.parse()
	if len(ds) > 0 {
		return refuse(ds)
	}
	c, ds := r.compiler(r.Strict)
	if len(ds) > 0 {
		return refuse(ds)
	}
	c.WithEnablePrintStatements(true).Compile(mods)
	if c.Failed() {
		return refuse(diagnose(c.Errors))
	}
	data := r.Data
	if data == nil {
		data = map[string]any{}
	}
	ctx := context.Background()
	store := inmem.NewFromObjectWithOpts(data, inmem.OptRoundTripOnWrite(false))
	txn := storage.NewTransactionOrDie(ctx, store)
	defer store.Abort(ctx, txn)
	run := testRun{request: r, compiler: c, store: store, txn: txn, rows: reached{}}
	result := map[string]any{"tests": run.all()}
	if r.Coverage {
		result["coverage"] = run.rows.report(c)
	}
	return answer{OK: true, Result: result}
}

func (t *testRun) all() []testResult {
	out := []testResult{}
	seen := map[string]bool{}
	for _, p := range sortedKeys(t.compiler.Modules) {
		for _, rule := range t.compiler.Modules[p].Rules {
			ref := rule.Ref().GroundPrefix()
			id := strings.TrimPrefix(ref.String(), "data.")
			name := strings.Trim(ref[len(ref)-1].Value.String(), `"`)
			isTest := strings.HasPrefix(name, "test_") || strings.HasPrefix(name, "todo_test_")
			if !isTest || seen[id] || !strings.Contains(id, t.request.Filter) {
				continue
			}
			seen[id] = true
			result := t.one(rule, ref)
			result.Package, result.Name, result.File, result.Row = rule.Module.Package.Path.String(), name, p, rule.Loc().Row
			out = append(out, result)
		}
	}
	return out
}

func (t *testRun) one(rule *ast.Rule, ref ast.Ref) testResult {
	if strings.HasPrefix(ref[len(ref)-1].Value.String(), `"todo_`) {
		return testResult{Status: "skip"}
	}
	if len(ref) != len(rule.Ref()) || rule.Head.DocKind() != ast.CompleteDoc {
		// its object would be defined, and so pass, with every case failing
		d := at(rule.Loc(), "table_test", "a test with cases is not supported: write one rule for each case")
		return testResult{Status: "error", At: &d}
	}
	tracer := &stepTracer{max: t.request.StepsMax, cancel: topdown.NewCancel(), rows: t.rows}
	var output bytes.Buffer
	value, err := t.eval(ref, tracer, tracer.cancel, &output)
	result := testResult{Status: "pass", Output: output.String(), Steps: tracer.steps}
	if err != nil {
		d := tracer.explain(err)
		result.Status, result.At = "error", &d
	} else if value == nil || !value.Equal(ast.BooleanTerm(true)) {
		d := tracer.failedAt()
		result.Status, result.At, result.Trace = "fail", &d, t.trace(ref)
	}
	return result
}

func (t *testRun) eval(ref ast.Ref, tracer topdown.QueryTracer, cancel topdown.Cancel, output *bytes.Buffer) (*ast.Term, error) {
	body, err := t.compiler.QueryCompiler().Compile(ast.NewBody(ast.Equality.Expr(resultVar, ast.NewTerm(ref))))
	if err != nil {
		return nil, err
	}
	results, err := topdown.NewQuery(body).WithCompiler(t.compiler).WithStore(t.store).WithTransaction(t.txn).
		WithQueryTracer(tracer).WithCancel(cancel).WithPrintHook(topdown.NewPrintHook(output)).
		WithTime(time.Unix(0, 0)).Run(context.Background())
	if err != nil || len(results) == 0 {
		return nil, err
	}
	return results[0][resultVar.Value.(ast.Var)], nil
}

// trace runs a failed test again to say how it failed.
func (t *testRun) trace(ref ast.Ref) string {
	last := &lastEvents{}
	if _, err := t.eval(ref, last, topdown.NewCancel(), &bytes.Buffer{}); err != nil {
		return err.Error()
	}
	var out bytes.Buffer
	topdown.PrettyTraceWithLocation(&out, last.events)
	return string(out.Bytes()[max(0, out.Len()-traceBytesMax):])
}

// lastEvents keeps what happened last, where a test fails, and not the ways back from there.
type lastEvents struct{ events []*topdown.Event }

func (l *lastEvents) Enabled() bool               { return true }
func (l *lastEvents) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }
func (l *lastEvents) TraceEvent(e topdown.Event) {
	if e.Op == topdown.RedoOp || e.Location == nil || e.Location.File == "" {
		return
	}
	if len(l.events) >= 2*traceEventsMax {
		l.events = slices.Clone(l.events[traceEventsMax:])
	}
	l.events = append(l.events, &e)
}

// stepTracer counts steps, stops at a budget, keeps the rows reached and the last places in a file.
type stepTracer struct {
	steps, max   int
	cancel       topdown.Cancel
	rows         reached
	last, failed *ast.Location
}

func (s *stepTracer) Enabled() bool               { return true }
func (s *stepTracer) Config() topdown.TraceConfig { return topdown.TraceConfig{} }
func (s *stepTracer) TraceEvent(e topdown.Event) {
	if s.steps++; s.max > 0 && s.steps > s.max {
		s.cancel.Cancel()
	}
	if e.Location == nil || e.Location.File == "" {
		return // the query around the test
	}
	s.last = e.Location
	switch e.Op {
	case topdown.FailOp:
		s.failed = e.Location
	case topdown.EvalOp, topdown.ExitOp:
		s.rows.add(e.Location)
	}
}

func (s *stepTracer) failedAt() diagnostic {
	return at(s.failed, "test_failed", "this was not true")
}

func (s *stepTracer) explain(err error) diagnostic {
	var e *topdown.Error
	if !errors.As(err, &e) {
		return diagnostic{Code: "eval_error", Message: err.Error()}
	}
	if e.Code == topdown.CancelErr {
		return at(s.last, "test_budget", "the test ran out of steps")
	}
	return at(e.Location, e.Code, e.Message)
}
