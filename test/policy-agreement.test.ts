/**
 * The promise: a policy decides in the engine as in OPA. Random policies and inputs, in three engines: ours, OPA's
 * reference evaluator within the compiler, and the native `opa` where the machine has it; and what we compile is byte for
 * byte what `opa build` makes.
 */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import type { Evaluation, JsonObject } from "../src/model.ts";
import { compare } from "../src/policy/builtins/order.ts";
import { isArray, isObject, isSet, parseTerm, type Term } from "../src/policy/builtins/term.ts";
import { parseJson } from "../src/policy/builtins/json.ts";
import { BUILTINS } from "../src/policy/capabilities.ts";
import { createThread } from "../src/policy/compiler-thread.ts";
import { createCompiler } from "../src/policy/compiler.ts";
import { createEngine } from "../src/policy/engine.ts";
import { lacks, requirePart } from "./support/parts.ts";
import { inputs, policies } from "./support/policies.ts";
import { WASM_PATH } from "./support/policy.ts";

const FULL = process.env["FULL"] === "1";
const compiler = createCompiler({ wasmPath: WASM_PATH });
const thread = createThread({ wasmPath: WASM_PATH, digest: compiler.digest });
const folder = mkdtempSync(join(tmpdir(), "portcullis-agreement-"));
afterAll(async () => {
  await Promise.all([compiler.close(), thread.close()]);
  rmSync(folder, { recursive: true });
});
const data = { users: { alice: { level: 3 }, bob: { level: 1 } }, deny: ["drop", "rm"] };

type Reference = { readonly defined: boolean; readonly value: string; readonly error?: { readonly code: string } };

async function reference(rego: string, asked: readonly JsonObject[]): Promise<readonly Reference[]> {
  const request = {
    op: "eval",
    modules: { "p.rego": rego },
    data: JSON.stringify(data),
    builtins: BUILTINS,
    entrypoints: ["p/decision"],
    inputs: asked.map((input) => JSON.stringify(input)),
    steps_max: 1_000_000,
  };
  const answer = await thread.ask<readonly Reference[]>(request);
  if (!answer.ok) throw new Error(JSON.stringify(answer.diagnostics));
  return answer.value.result;
}

/** As a decision crosses into JSON: a set is an array in order. */
function plain(term: Term): Term {
  if (isSet(term)) return term.set.map(plain).toSorted(compare);
  if (isArray(term)) return term.map(plain);
  return isObject(term) ? { entries: term.entries.map(([key, value]) => [key, plain(value)] as const) } : term;
}

/** Ours comes with its sets in no order: in these policies, `reasons` alone is one. */
function ordered(value: unknown): Term {
  const decision = value as { readonly reasons?: readonly string[] };
  const sorted = decision.reasons === undefined ? decision : { ...decision, reasons: decision.reasons.toSorted() };
  return parseJson(JSON.stringify(sorted));
}

function agree(ours: Evaluation, theirs: Reference): boolean {
  if (theirs.error !== undefined) return !ours.ok && ours.fault === "policy_error";
  if (!theirs.defined) return !ours.ok && ours.fault === "policy_undefined";
  return ours.ok && compare(ordered(ours.value), plain(parseTerm(theirs.value))) === 0;
}

const run = promisify(execFile);

/** What the native evaluator decides, by the input's place; of those that are defined. */
async function native(rego: string, asked: readonly JsonObject[]): Promise<ReadonlyMap<string, unknown>> {
  const [policy, document] = [join(folder, "p.rego"), join(folder, "data.json")];
  writeFileSync(policy, rego);
  writeFileSync(document, JSON.stringify({ ...data, inputs: Object.fromEntries(asked.entries()) }));
  const query = "x := {at: d | some at, one in data.inputs; d := data.p.decision with input as one}";
  const { stdout } = await run(requirePart("opa"), ["eval", "-f", "json", "-d", policy, "-d", document, query], {
    maxBuffer: 2 ** 26,
    timeout: 30_000,
  });
  type Output = {
    readonly result: readonly [{ readonly bindings: { readonly x: { readonly [at: string]: unknown } } }];
  };
  return new Map(Object.entries((JSON.parse(stdout) as Output).result[0].bindings.x));
}

describe("a policy", () => {
  test("decides in the engine as in OPA's own evaluator", async () => {
    await fc.assert(
      fc.asyncProperty(policies, fc.array(inputs, { minLength: 12, maxLength: 12 }), async (rego, asked) => {
        const compiled = await compiler.compile({ modules: { "p.rego": rego }, data }, ["p/decision"]);
        if (!compiled.ok) throw new Error(JSON.stringify(compiled.diagnostics));
        const engine = await createEngine(compiled.value, data);
        const theirs = await reference(rego, asked);
        for (const [at, input] of asked.entries()) {
          const ours = engine.evaluate("p/decision", input);
          const expected = theirs[at] as Reference;
          if (!agree(ours, expected)) throw new Error(JSON.stringify({ input, ours, expected }));
          expect(engine.evaluate("p/decision", input)).toEqual(ours);
        }
      }),
      { numRuns: FULL ? 300 : 25 },
    );
  }, 600_000);

  test.skipIf(lacks("opa"))(
    "decides in the engine as in the native opa",
    async () => {
      await fc.assert(
        fc.asyncProperty(policies, fc.array(inputs, { minLength: 12, maxLength: 12 }), async (rego, all) => {
          // one that conflicts would end the whole query
          const theirs = await reference(rego, all);
          const asked = all.filter((_, at) => theirs[at]?.error === undefined);
          const compiled = await compiler.compile({ modules: { "p.rego": rego }, data }, ["p/decision"]);
          if (!compiled.ok) throw new Error(JSON.stringify(compiled.diagnostics));
          const engine = await createEngine(compiled.value, data);
          const decided = await native(
            rego.replaceAll("time.now_ns()", "time.parse_rfc3339_ns(input.request.time)"),
            asked,
          );
          for (const [at, input] of asked.entries()) {
            const ours = engine.evaluate("p/decision", input);
            expect(ours.ok).toBe(decided.has(String(at)));
            if (ours.ok) expect(compare(ordered(ours.value), ordered(decided.get(String(at))))).toBe(0);
          }
        }),
        { numRuns: FULL ? 60 : 4 },
      );
    },
    600_000,
  );

  test.skipIf(lacks("opa"))(
    "compiles to the bytes that opa build makes",
    async () => {
      const source = join(folder, "policy.rego");
      for (const rego of fc.sample(policies, FULL ? 20 : 2)) {
        writeFileSync(source, rego);
        const bundle = join(folder, "bundle.tar.gz");
        const entrypoint = ["-e", "p/decision"];
        await run(requirePart("opa"), ["build", "-t", "wasm", ...entrypoint, "-o", bundle, source], {
          timeout: 60_000,
        });
        const compiled = await compiler.compile({ modules: { [source]: rego }, data: {} }, ["p/decision"]);
        if (!compiled.ok) throw new Error(JSON.stringify(compiled.diagnostics));
        expect(fileIn(gunzipSync(readFileSync(bundle)), "/policy.wasm").equals(compiled.value)).toBe(true);
      }
    },
    600_000,
  );
});

/** Of a tar: headers of 512 bytes, each with a name and a size in octal. */
function fileIn(tar: Buffer, name: string): Buffer {
  for (let at = 0; at < tar.length;) {
    const size = Number.parseInt(tar.toString("latin1", at + 124, at + 136), 8);
    if (tar.toString("latin1", at, at + 100).startsWith(`${name}\0`)) return tar.subarray(at + 512, at + 512 + size);
    at += 512 + Math.ceil(size / 512) * 512;
  }
  throw new Error(`the bundle has no ${name}`);
}
