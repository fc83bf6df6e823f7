// Which are OPA's own conformance cases? Writes them as one JSON array, numbers as they stand, from the module that go.mod names.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/open-policy-agent/opa/v1/test/cases"
)

type entry struct {
	cases.TestCase
	Version string `json:"version"`
	Group   string `json:"group"`
}

func main() {
	root := os.Args[1]
	out := []entry{}
	for _, version := range []string{"v0", "v1"} {
		for _, c := range cases.MustLoad(filepath.Join(root, version)).Sorted().Cases {
			group := filepath.Base(filepath.Dir(c.Filename))
			out = append(out, entry{TestCase: c, Version: version, Group: strings.TrimPrefix(group, "test-")})
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
