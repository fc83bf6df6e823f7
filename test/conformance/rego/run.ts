/**
 * Does the engine answer as OPA's own cases want? Each case that our capabilities admit is compiled, metered and run by
 * the host that serves traffic, with its built-ins; what it answers is compared as Rego terms, so that sets and long
 * numbers count. The cases are kept here, compressed: no Go is needed.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { brotliDecompressSync } from "node:zlib";
import * as stock from "@open-policy-agent/opa-wasm";
import { parseJson } from "../../../src/policy/builtins/json.ts";
import { compare, setOf, written } from "../../../src/policy/builtins/order.ts";
import { HOST_BUILTINS } from "../../../src/policy/builtins/table.ts";
import { isArray, isObject, isSet, parseTerm, printTerm, type Term } from "../../../src/policy/builtins/term.ts";
import { BUILTINS } from "../../../src/policy/capabilities.ts";
import { createThread, type Thread } from "../../../src/policy/compiler-thread.ts";
import { createCompiler } from "../../../src/policy/compiler.ts";
import { type Host, instantiate } from "../../../src/policy/host.ts";
import { FUEL, meter } from "../../../src/policy/meter.ts";

export type Case = {
  readonly note: string;
  readonly group: string;
  readonly version: "v0" | "v1";
  readonly query: string;
  readonly modules?: readonly string[];
  readonly data?: unknown;
  readonly input?: unknown;
  readonly input_term?: string;
  readonly want_result?: unknown;
  readonly want_defined?: boolean;
  readonly want_error_code?: string;
  readonly sort_bindings?: boolean;
  readonly ignore_generated_vars?: boolean;
  readonly strict_error?: boolean;
};
/** `excepted`: on OPA's own list of what its WASM does not do. */
export type Verdict = {
  readonly case: Case;
  readonly outcome: "right" | "wrong" | "excepted" | "refused";
  readonly why: string;
};

const WASM_PATH = join(import.meta.dirname, "../../../policies/compiler/opa.wasm.br");
/** From internal/wasm/sdk/test/e2e/exceptions.yaml of OPA. */
export const EXCEPTIONS: ReadonlySet<string> = new Set([
  "data/toplevel integer",
  "data/nested integer",
  "strings/format_int: bignum exact (>64-bit integer, all bases + negative)",
  "arithmetic/bignum exact (>64-bit integers through plus, minus, multiply)",
  "aggregates/bignum exact (>64-bit integers through sum and product)",
  "arithmetic/bignum modulo (divisor a nonzero multiple of 2^64)",
  "aggregates/sum integer fast-path overflow (elements fit int64, sum does not)",
  "jsonbuiltins/unmarshal number beyond the supported exponent is undefined",
  "jsonbuiltins/unmarshal number with too big an exponent is undefined",
]);

export function readCases(): readonly Case[] {
  const text = brotliDecompressSync(readFileSync(join(import.meta.dirname, "cases.json.br"))).toString("utf8");
  return JSON.parse(text, keepNumbers) as Case[];
}

/** A number as a word of its own that `termOf` knows. */
function keepNumbers(_: string, value: unknown, context?: { readonly source?: string }): unknown {
  return typeof value === "number" ? JSON.rawJSON(context?.source ?? String(value)) : value;
}

/** In the order in which they are done. */
export async function* runCases(cases: readonly Case[], threads: number): AsyncGenerator<Verdict> {
  const { digest } = createCompiler({ wasmPath: WASM_PATH });
  const pool = Array.from({ length: threads }, () => createThread({ wasmPath: WASM_PATH, digest }));
  try {
    for (let from = 0; from < cases.length; from += threads) {
      const some = cases.slice(from, from + threads);
      yield* await Promise.all(some.map(async (one, at) => runCase(pool[at] as Thread, one)));
    }
  } finally {
    await Promise.all(pool.map(async (thread) => thread.close()));
  }
}

async function runCase(thread: Thread, one: Case): Promise<Verdict> {
  const modules = Object.fromEntries((one.modules ?? []).map((text, at) => [`m${at}.rego`, text]));
  const request = { op: "compile", modules, query: one.query, builtins: BUILTINS, rego_v0: one.version === "v0" };
  const compiled = await thread.ask(request);
  if (!compiled.ok) {
    const why = compiled.diagnostics.map(({ message }) => message).join("; ");
    // our capabilities refuse it if without them it compiles
    const isRefused = /undefined function/.test(why) || (await thread.ask({ ...request, builtins: undefined })).ok;
    return { case: one, outcome: isRefused ? "refused" : "wrong", why };
  }
  const why = await judge(compiled.value.wasm, one);
  if (EXCEPTIONS.has(one.note)) return { case: one, outcome: "excepted", why };
  return { case: one, outcome: why === "" ? "right" : "wrong", why };
}

/** What is wrong with the answer; nothing if it is right. */
async function judge(wasm: Uint8Array, one: Case): Promise<string> {
  let found: Term;
  try {
    found = answerOf(await WebAssembly.compile(meter(wasm)), one);
  } catch (thrown) {
    const isWanted = one.want_error_code !== undefined && one.strict_error !== true;
    return isWanted ? "" : `threw ${thrown instanceof Error ? thrown.message : String(thrown)}`;
  }
  if (!isSet(found) && !isArray(found)) return "no results";
  const results = (isSet(found) ? found.set : found).map((bindings) => plain(bindings, one));
  if (one.want_defined !== undefined) {
    return results.length > 0 === one.want_defined ? "" : `${results.length} results`;
  }
  if (one.want_result === undefined) return results.length === 0 && one.strict_error === true ? "" : "no error";
  const wanted = plain(termOf(one.want_result), one);
  const [ours, theirs] = [setOf(results), setOf(isArray(wanted) ? wanted : [])];
  return compare(ours, theirs) === 0 ? "" : `${written(ours)} instead of ${written(theirs)}`;
}

type Evaluate = (...numbers: readonly number[]) => number;

/** The results as Rego, by OPA's own dump of values: its JSON would say neither what is a set nor how long a number is. */
function answerOf(module: WebAssembly.Module, one: Case): Term {
  const memory = { initial: 5, maximum: 8192 };
  const host = instantiate(module, { builtins: HOST_BUILTINS, memory, now: "2026-11-22T11:00:00Z" });
  const { LoadedPolicy } = (stock as unknown as { readonly default: typeof stock }).default;
  const policy = new LoadedPolicy({ instance: host.instance, module }, host.memory, 3);
  policy.setData(new TextEncoder().encode(JSON.stringify(one.data ?? {})).buffer);
  const text = one.input_term ?? (one.input === undefined ? "" : JSON.stringify(one.input));
  host.begin(text.startsWith("{") && one.input_term === undefined ? text : "{}");
  (host.instance.exports[FUEL] as WebAssembly.Global).value = 1_000_000_000;
  const evaluate = host.instance.exports["opa_eval"] as Evaluate;
  const heap = Number(policy.dataHeapPtr);
  const length = write(host, heap, text);
  const input = text === "" ? 0 : heap;
  const VALUES = 1;
  const at = evaluate(0, 0, policy.dataAddr, input, length, heap + length, VALUES);
  const bytes = new Uint8Array(host.memory.buffer);
  return parseTerm(Buffer.from(bytes.subarray(at, bytes.indexOf(0, at))).toString("utf8"));
}

function write(host: Host, at: number, text: string): number {
  const bytes = new TextEncoder().encode(text);
  const missing = at + bytes.length - host.memory.buffer.byteLength;
  if (missing > 0) host.memory.grow(Math.ceil(missing / 65_536));
  new Uint8Array(host.memory.buffer).set(bytes, at);
  return bytes.length;
}

function termOf(json: unknown): Term {
  return parseJson(JSON.stringify(json)) ?? null;
}

/** As JSON would have it: a set is an array in order, a key is a string; and as the case would have it. */
function plain(term: Term, one: Case): Term {
  if (isSet(term) || isArray(term)) {
    const items = (isSet(term) ? setOf(term.set).set : term).map((item) => plain(item, one));
    return isSet(term) || one.sort_bindings === true ? items.toSorted(compare) : items;
  }
  if (!isObject(term)) return term;
  const entries = term.entries
    .filter(([key]) => !(one.ignore_generated_vars === true && typeof key === "string" && key.startsWith("__")))
    .map(([key, value]) => [typeof key === "string" ? key : printTerm(plain(key, one)), plain(value, one)] as const);
  return { entries };
}
