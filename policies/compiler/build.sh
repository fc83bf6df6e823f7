#!/bin/sh
# How is opa.wasm made? `policies/compiler/build.sh` rebuilds it, byte for byte, from go.mod, go.sum and the
# toolchain that go.mod names. `--check` only compares the result with opa.wasm.sha256. Needs Go (any; it
# fetches the pinned one if it is another), patch, sha256sum and Node.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
toolchain=$(sed -n 's/^toolchain //p' "$here/go.mod")
export GOTOOLCHAIN="$toolchain" GOOS=wasip1 GOARCH=wasm CGO_ENABLED=0 GOFLAGS= GOWORK=off GOWASM= GOEXPERIMENT=

rm -rf "$here/build"
mkdir "$here/build"
cp "$here"/*.go "$here/go.mod" "$here/go.sum" "$here/build/"
cd "$here/build"
go mod vendor
sh "$here/trim.sh" "$here"
go build -mod=vendor -buildmode=c-shared -buildvcs=false -trimpath -ldflags='-s -w -buildid=' -o opa.wasm .
sha256sum opa.wasm >opa.wasm.sha256

if [ "${1:-}" = --check ]; then
	cmp opa.wasm.sha256 "$here/opa.wasm.sha256"
else
	node "$here/compress.mjs" opa.wasm "$here/opa.wasm.br"
	cp opa.wasm.sha256 "$here/"
	cp vendor/github.com/open-policy-agent/opa/LICENSE "$here/LICENSE-OPA"
fi
