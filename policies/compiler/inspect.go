// What does this bundle define and read? Packages, rules with the input paths, data paths and built-ins
// that each one mentions, annotations, and what is dangerous in it.
package main

import (
	"github.com/open-policy-agent/opa/v1/ast"
)

type ruleInfo struct {
	Path     string   `json:"path"`
	Kind     string   `json:"kind"` // complete, function, partial_set or partial_object
	Default  bool     `json:"default"`
	File     string   `json:"file"`
	Row      int      `json:"row"`
	Inputs   []string `json:"inputs"`
	Data     []string `json:"data"`
	Builtins []string `json:"builtins"`
}

func (r *request) inspect() answer {
	c, ds := r.check()
	if len(ds) > 0 {
		return refuse(ds)
	}
	packages, inputs := map[string]bool{}, map[string]bool{}
	rules := []ruleInfo{}
	for _, p := range sortedKeys(c.Modules) {
		packages[c.Modules[p].Package.Path.String()] = true
		for _, rule := range c.Modules[p].Rules {
			info := inspectRule(p, rule)
			for _, in := range info.Inputs {
				inputs[in] = true
			}
			rules = append(rules, info)
		}
	}
	found, obliged := r.lint(c)
	return answer{OK: true, Result: map[string]any{
		"packages": sortedKeys(packages), "rules": rules, "inputs": sortedKeys(inputs), "annotations": annotations(c),
		"lint": found, "obligations": obliged,
	}}
}

func inspectRule(file string, rule *ast.Rule) ruleInfo {
	inputs, data, builtins := map[string]bool{}, map[string]bool{}, map[string]bool{}
	ast.WalkRefs(rule, func(ref ast.Ref) bool {
		ground := ref.GroundPrefix()
		switch {
		case ref.HasPrefix(ast.InputRootRef):
			inputs[ground.String()] = true
		case ref.HasPrefix(ast.DefaultRootRef):
			data[ground.String()] = true
		}
		return false
	})
	ast.WalkExprs(rule, func(e *ast.Expr) bool {
		if e.IsCall() {
			if name := e.Operator().String(); ast.BuiltinMap[name] != nil {
				builtins[name] = true
			}
		}
		return false
	})
	return ruleInfo{
		Path: rule.Ref().GroundPrefix().String(), Kind: kind(rule), Default: rule.Default, File: file, Row: rule.Loc().Row,
		Inputs: sortedKeys(inputs), Data: sortedKeys(data), Builtins: sortedKeys(builtins),
	}
}

func kind(rule *ast.Rule) string {
	switch {
	case len(rule.Head.Args) > 0:
		return "function"
	case rule.Head.DocKind() == ast.PartialSetDoc:
		return "partial_set"
	case rule.Head.DocKind() == ast.PartialObjectDoc:
		return "partial_object"
	}
	return "complete"
}

func annotations(c *ast.Compiler) []map[string]any {
	out := []map[string]any{}
	set := c.GetAnnotationSet()
	if set == nil {
		return out
	}
	for _, a := range set.Flatten() {
		one := map[string]any{"path": a.Path.String(), "annotations": a.Annotations}
		if a.Location != nil {
			one["file"], one["row"] = a.Location.File, a.Location.Row
		}
		out = append(out, one)
	}
	return out
}
