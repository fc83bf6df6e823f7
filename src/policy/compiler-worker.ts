/**
 * The thread that OPA's compiler runs in: reads the binary, answers one request after the other. What surprises:
 * it never recovers. Any throw out of the compiler ends the thread, because a Go runtime that was unwound by a
 * JavaScript exception cannot be trusted with the next request; `compiler.ts` starts another one.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { brotliDecompressSync } from "node:zlib";
import type { Request } from "./compiler-thread.ts";
import { stringifyWith } from "./data.ts";
import { scanSources } from "./scan.ts";
import { instantiate, type Reactor } from "./wasi.ts";
import { boundMemory } from "./wasm-bound.ts";

export type WorkerReply = {
  /** The compiler's answer as JSON text. */
  readonly answer: string;
  /** The compiled policy; empty unless the request was to compile. */
  readonly wasm: Uint8Array<ArrayBuffer>;
  readonly memoryBytes: number;
};

/** Some ten thousand rules; the thread takes about 70 MiB beside it. */
const MEMORY_BYTES_MAX = 224 * 2 ** 20;

const { wasmPath, digest } = workerData as { readonly wasmPath: string; readonly digest: string };
const binary = brotliDecompressSync(readFileSync(wasmPath));
if (`sha256:${createHash("sha256").update(binary).digest("hex")}` !== digest) {
  throw new Error("the compiler's binary is not the one whose digest is recorded");
}
const reactor = instantiate(new WebAssembly.Module(boundMemory(binary, MEMORY_BYTES_MAX)));

parentPort?.on("message", (request: Request) => {
  const reply = answered(request);
  parentPort?.postMessage(reply, [reply.wasm.buffer]);
});

/** Put together here, and looked at before: texts may be megabytes, and no call waits for this thread. */
function answered({ data = "{}", ...request }: Request): WorkerReply {
  const errors = scanSources(request.modules);
  if (errors.length === 0) return call(reactor, stringifyWith(request, "data", data));
  const { byteLength: memoryBytes } = reactor.memory.buffer;
  return { answer: JSON.stringify({ ok: false, errors }), wasm: new Uint8Array(), memoryBytes };
}

/** The answer is framed as `u32le length of the JSON | JSON | bytes of the policy`. */
function call(to: Reactor, request: string): WorkerReply {
  const input = Buffer.from(request);
  const inputAt = to.rego_alloc(input.length) >>> 0;
  new Uint8Array(to.memory.buffer).set(input, inputAt);
  const packed = BigInt.asUintN(64, called(to, inputAt, input.length));
  const at = Number(packed >> 32n);
  const frame = Buffer.from(to.memory.buffer, at, Number(packed & 0xffff_ffffn));
  const jsonEnd = 4 + frame.readUInt32LE(0);
  const answer = frame.toString("utf8", 4, jsonEnd);
  const wasm = new Uint8Array(frame.subarray(jsonEnd));
  to.rego_free(at);
  return { answer, wasm, memoryBytes: to.memory.buffer.byteLength };
}

/** Go that cannot grow ends in a trap, which says nothing. */
function called({ rego_call, memory }: Reactor, at: number, size: number): bigint {
  try {
    return rego_call(at, size);
  } catch (cause) {
    if (memory.buffer.byteLength < MEMORY_BYTES_MAX * 0.9) throw cause;
    throw new Error(`the bundle takes more than ${MEMORY_BYTES_MAX / 2 ** 20} MiB to compile`, { cause });
  }
}
