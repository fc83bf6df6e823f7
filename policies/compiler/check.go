// Is this bundle sound? Parses every file (reporting all files' errors, not the first one's), compiles the
// AST under the allowed built-ins, and holds authors to the reserved and the required paths.
package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// check returns a compiler that has succeeded, or what is wrong.
func (r *request) check() (*ast.Compiler, []diagnostic) {
	mods, ds := r.parse()
	if len(ds) > 0 {
		return nil, ds
	}
	c, ds := r.compiler(r.Strict)
	if len(ds) > 0 {
		return nil, ds
	}
	c.Compile(mods)
	if c.Failed() {
		return nil, r.blameAuthor(c, diagnose(c.Errors))
	}
	return c, r.checkRequired(c)
}

// blameAuthor moves what is wrong in the generated file to the rule that it uses: a decision whose type cannot
// be right shows there.
func (r *request) blameAuthor(c *ast.Compiler, ds []diagnostic) []diagnostic {
	for i, d := range ds {
		if d.File != r.Reserved.Owner || len(r.Required) == 0 || c.RuleTree == nil {
			continue
		}
		if rules := c.GetRulesExact(dataRef(r.Required[0], ".")); len(rules) > 0 {
			moved := at(rules[0].Loc(), d.Code, fmt.Sprintf("data.%s has not the documented shape: %s", r.Required[0], d.Message))
			moved.Details = d.Details
			ds[i] = moved
		}
	}
	return ds
}

func (r *request) parse() (map[string]*ast.Module, []diagnostic) {
	mods := make(map[string]*ast.Module, len(r.Modules))
	var ds []diagnostic
	opts := ast.ParserOptions{ProcessAnnotation: true, RegoVersion: r.regoVersion(), Capabilities: r.capabilities()}
	for _, p := range sortedKeys(r.Modules) {
		m, err := ast.ParseModuleWithOpts(p, r.Modules[p], opts)
		if err != nil {
			ds = append(ds, diagnose(err)...)
			continue
		}
		if m == nil {
			ds = append(ds, diagnostic{Code: "rego_parse_error", Message: "the file is empty", File: p, Row: 1, Col: 1})
			continue
		}
		ds = append(ds, r.checkReserved(p, m)...)
		mods[p] = m
	}
	return mods, ds
}

func (r *request) regoVersion() ast.RegoVersion {
	if r.RegoV0 {
		return ast.RegoV0
	}
	return ast.RegoV1
}

// capabilities leaves only the allowed built-ins, so that any other is an "undefined function" at its row.
func (r *request) capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.AllowNet = []string{}
	if r.Builtins != nil {
		c.Builtins = slices.DeleteFunc(slices.Clone(c.Builtins), func(b *ast.Builtin) bool {
			return !slices.Contains(r.Builtins, b.Name)
		})
	}
	return c
}

func (r *request) compiler(strict bool) (*ast.Compiler, []diagnostic) {
	c := ast.NewCompiler().WithCapabilities(r.capabilities()).WithStrict(strict).
		WithUseTypeCheckAnnotations(true).WithPathConflictsCheck(r.dataHas).WithDefaultRegoVersion(r.regoVersion())
	c.SetErrorLimit(50)
	schemas := ast.NewSchemaSet()
	for _, name := range sortedKeys(r.Schemas) {
		ref, err := ast.ParseRef(name)
		if err != nil {
			return nil, diagnose(err)
		}
		if ref.Equal(ast.InputRootRef) {
			ref = ast.SchemaRootRef // of every rule, without an annotation
		}
		schemas.Put(ref, r.Schemas[name])
	}
	if len(r.Schemas) > 0 {
		c = c.WithSchemas(schemas)
	}
	return c, nil
}

// dataHas says whether the base documents have something at path: a rule there would hide it.
func (r *request) dataHas(path []string) (bool, error) {
	var here any = r.Data
	for _, p := range path {
		object, ok := here.(map[string]any)
		if !ok {
			return false, nil
		}
		if here, ok = object[p]; !ok {
			return false, nil
		}
	}
	return r.Data != nil, nil
}

func (r *request) checkReserved(file string, m *ast.Module) []diagnostic {
	if file == r.Reserved.Owner {
		return nil
	}
	var ds []diagnostic
	for _, path := range r.Reserved.Paths {
		prefix := dataRef(path, ".")
		message := fmt.Sprintf("data.%s belongs to the gateway: no rule may be defined there", path)
		if m.Package.Path.HasPrefix(prefix) {
			ds = append(ds, at(m.Package.Loc(), "reserved_path", message))
			continue
		}
		for _, rule := range m.Rules {
			if rule.Ref().HasPrefix(prefix) {
				ds = append(ds, at(rule.Loc(), "reserved_path", message))
			}
		}
	}
	return ds
}

// checkRequired points at the package that lacks the rule, or else at the first file.
func (r *request) checkRequired(c *ast.Compiler) []diagnostic {
	var ds []diagnostic
	for _, path := range r.Required {
		ref := dataRef(path, ".")
		if len(c.GetRulesExact(ref)) > 0 {
			continue
		}
		d := diagnostic{Code: "missing_rule", Message: fmt.Sprintf("no rule defines data.%s", path), Row: 1, Col: 1}
		for _, p := range sortedKeys(c.Modules) {
			if p == r.Reserved.Owner {
				continue
			}
			if m := c.Modules[p]; m.Package.Path.Equal(ref[:len(ref)-1]) {
				d = at(m.Package.Loc(), d.Code, d.Message)
				break
			}
			if d.File == "" {
				d.File = p
			}
		}
		ds = append(ds, d)
	}
	return ds
}

// sortedKeys is never nil, so that it is [] in JSON.
func sortedKeys[V any](m map[string]V) []string {
	keys := slices.AppendSeq(make([]string, 0, len(m)), maps.Keys(m))
	slices.Sort(keys)
	return keys
}
