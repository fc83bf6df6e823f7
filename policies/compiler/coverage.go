// Which rows did the tests reach? Rows of rule heads and expressions, split into reached and not.
package main

import (
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

type reached map[string]map[int]bool

type fileCoverage struct {
	Covered   []int `json:"covered"`
	Uncovered []int `json:"uncovered"`
}

func (r reached) add(l *ast.Location) {
	if l == nil {
		return
	}
	if r[l.File] == nil {
		r[l.File] = map[int]bool{}
	}
	r[l.File][l.Row] = true
}

func (r reached) report(c *ast.Compiler) map[string]fileCoverage {
	out := map[string]fileCoverage{}
	for file, module := range c.Modules {
		all := reached{}
		ast.WalkRules(module, func(rule *ast.Rule) bool {
			all.add(rule.Head.Location)
			return false
		})
		ast.WalkExprs(module, func(e *ast.Expr) bool {
			if !e.Generated {
				all.add(e.Location)
			}
			return false
		})
		report := fileCoverage{Covered: []int{}, Uncovered: []int{}}
		for _, row := range slices.Sorted(maps.Keys(all[file])) {
			if r[file][row] {
				report.Covered = append(report.Covered, row)
			} else {
				report.Uncovered = append(report.Uncovered, row)
			}
		}
		out[file] = report
	}
	return out
}
