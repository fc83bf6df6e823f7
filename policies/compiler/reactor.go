// How is the compiler called? As a wasip1 reactor with three exports: rego_alloc a buffer, write a JSON
// request into it, rego_call, read the framed answer, rego_free it. One call at a time; no files, no
// network, no environment. The host supplies the clock and randomness.
package main

import (
	"encoding/json"
	"unsafe"
)

// live keeps buffers reachable while only the host holds their address. Go's collector does not move them.
var live = map[uint32][]byte{}

func hold(b []byte) uint32 {
	p := uint32(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
	live[p] = b
	return p
}

//go:wasmexport rego_alloc
func regoAlloc(n uint32) uint32 { return hold(make([]byte, max(n, 1))) }

//go:wasmexport rego_free
func regoFree(p uint32) { delete(live, p) }

// regoCall consumes the request buffer and returns address<<32 | length of the framed answer.
//
//go:wasmexport rego_call
func regoCall(p, n uint32) uint64 {
	in := live[p][:n]
	out := frame(handle(in))
	delete(live, p)
	return uint64(hold(out))<<32 | uint64(len(out))
}

// frame lays an answer out as: u32le length of the JSON, the JSON, then the compiled policy's bytes.
func frame(a answer) []byte {
	j, err := json.Marshal(a)
	if err != nil {
		j, _ = json.Marshal(fail("internal", err.Error()))
		a.wasm = nil
	}
	n := len(j)
	out := make([]byte, 0, 4+n+len(a.wasm))
	out = append(out, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
	out = append(out, j...)
	return append(out, a.wasm...)
}

func main() {}
