// What can be asked, and in which words is it answered? One request type for every operation; an answer
// is either a result or a list of diagnostics that name file, row and column.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/version"
)

type request struct {
	Op          string            `json:"op"`
	Modules     map[string]string `json:"modules"`
	Data        map[string]any    `json:"data"`
	Schemas     map[string]any    `json:"schemas"`  // "schema.x" for annotations to name; "input" holds for every rule
	Builtins    []string          `json:"builtins"` // the allow-list; absent means every built-in
	Entrypoints []string          `json:"entrypoints"`
	Query       string            `json:"query"`   // instead of entrypoints: what is asked, in Rego
	RegoV0      bool              `json:"rego_v0"` // of the modules and the query; policies are v1
	Strict      bool              `json:"strict"`
	Reserved    reserved          `json:"reserved"`
	Required    []string          `json:"required"` // rules that must exist, e.g. "portcullis.decision"

	Filter   string `json:"filter"` // op test: only tests whose package.name contains it
	Coverage bool   `json:"coverage"`
	StepsMax int    `json:"steps_max"`

	Inputs []string `json:"inputs"` // op eval: Rego terms, one evaluation each

	Name  string   `json:"name"` // op builtin
	Args  []string `json:"args"`
	NowNS string   `json:"now_ns"`
	Seed  int64    `json:"seed"`
}

// reserved names the paths that no module but Owner may define rules under.
type reserved struct {
	Owner string   `json:"owner"`
	Paths []string `json:"paths"`
}

type diagnostic struct {
	Code    string   `json:"code"`
	Message string   `json:"message"`
	File    string   `json:"file"`
	Row     int      `json:"row"`
	Col     int      `json:"col"`
	Details []string `json:"details,omitempty"`
}

type answer struct {
	OK     bool         `json:"ok"`
	Errors []diagnostic `json:"errors,omitempty"`
	Result any          `json:"result,omitempty"`
	wasm   []byte
}

func fail(code, message string) answer {
	return answer{Errors: []diagnostic{{Code: code, Message: message}}}
}

func refuse(ds []diagnostic) answer { return answer{Errors: ds} }

func handle(in []byte) (a answer) {
	defer func() {
		if p := recover(); p != nil {
			a = fail("internal_panic", fmt.Sprint(p))
		}
	}()
	var r request
	dec := json.NewDecoder(bytes.NewReader(in))
	dec.UseNumber()
	if err := dec.Decode(&r); err != nil {
		return fail("bad_request", err.Error())
	}
	switch r.Op {
	case "version":
		return answer{OK: true, Result: map[string]string{"opa": version.Version, "go": runtime.Version()}}
	case "format":
		return r.format()
	case "check":
		_, ds := r.check()
		return answer{OK: len(ds) == 0, Errors: ds}
	case "compile":
		return r.compile()
	case "inspect":
		return r.inspect()
	case "test":
		return r.test()
	case "eval":
		return r.eval()
	case "builtin":
		return r.builtin()
	}
	return fail("bad_request", "unknown op "+r.Op)
}

// format answers with the files whose text would change. OPA's formatter drops parentheses that matter, as in
// `(x in y) == false`: a file whose meaning would change is an error and stays as it is.
func (r *request) format() answer {
	changed := map[string]string{}
	var ds []diagnostic
	for _, p := range sortedKeys(r.Modules) {
		b, err := format.SourceWithOpts(p, []byte(r.Modules[p]), format.Opts{RegoVersion: ast.RegoV1})
		if err != nil {
			ds = append(ds, diagnose(err)...)
		} else if place := firstDifference(p, r.Modules[p], string(b)); place != nil {
			ds = append(ds, at(place, "format_changes_meaning", "formatting would change what this means: write it in another way"))
		} else if string(b) != r.Modules[p] {
			changed[p] = string(b)
		}
	}
	return answer{OK: len(ds) == 0, Errors: ds, Result: map[string]any{"changed": changed}}
}

// firstDifference is where the formatted text parses to something else, or nil. Both texts parse.
func firstDifference(file, before, after string) *ast.Location {
	opts := ast.ParserOptions{RegoVersion: ast.RegoV1}
	was, errBefore := ast.ParseModuleWithOpts(file, before, opts)
	is, errAfter := ast.ParseModuleWithOpts(file, after, opts)
	if errBefore != nil || errAfter != nil || len(was.Rules) != len(is.Rules) {
		return ast.NewLocation(nil, file, 1, 1)
	}
	ast.WalkRules(was, normalise)
	ast.WalkRules(is, normalise)
	for i, rule := range was.Rules {
		other := is.Rules[i]
		sameKind := (rule.Head.Value == nil) == (other.Head.Value == nil) && (rule.Head.Key == nil) == (other.Head.Key == nil)
		if !sameKind || !rule.Equal(other) {
			return rule.Loc()
		}
	}
	return nil
}

// normalise makes alike what the formatter writes in another way: a head's `=` as `:=`, and the name and key that
// only repeat what the head's reference says.
func normalise(rule *ast.Rule) bool {
	rule.Head.Assign, rule.Head.Name = true, ""
	if rule.Head.Value != nil {
		rule.Head.Key = nil
	}
	return false
}

func diagnose(err error) []diagnostic {
	var many ast.Errors
	if errors.As(err, &many) {
		out := make([]diagnostic, 0, len(many))
		for _, e := range many {
			out = append(out, diagnoseOne(e))
		}
		return out
	}
	var one *ast.Error
	if errors.As(err, &one) {
		return []diagnostic{diagnoseOne(one)}
	}
	return []diagnostic{{Code: "rego_error", Message: err.Error()}}
}

func diagnoseOne(e *ast.Error) diagnostic {
	d := at(e.Location, e.Code, e.Message)
	if e.Details != nil {
		d.Details = e.Details.Lines()
	}
	return d
}

func at(l *ast.Location, code, message string) diagnostic {
	d := diagnostic{Code: code, Message: message}
	if l != nil {
		d.File, d.Row, d.Col = l.File, l.Row, l.Col
	}
	return d
}

// dataRef turns "portcullis.decision" into the reference data.portcullis.decision.
func dataRef(path, separator string) ast.Ref {
	ref := ast.Ref{ast.DefaultRootDocument}
	for p := range strings.SplitSeq(path, separator) {
		ref = append(ref, ast.StringTerm(p))
	}
	return ref
}
