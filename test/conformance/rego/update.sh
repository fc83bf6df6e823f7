#!/bin/sh
# How is cases.json.br made? From the testdata of the OPA module that go.mod names, by main.go. Needs Go and Node.
set -eu
cd "$(dirname "$0")"
root=$(go mod download -json github.com/open-policy-agent/opa@v1.22.2 | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')
go mod tidy
go run . "$root/v1/test/cases/testdata" >cases.json
node ../../../policies/compiler/compress.mjs cases.json cases.json.br
rm cases.json
