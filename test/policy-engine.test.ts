/**
 * The promise: whatever a policy or its input does, an evaluation ends, says what happened, and leaves the engine
 * answering rightly. Runs real compiled Rego on the real engine.
 */
import { loadPolicy } from "@open-policy-agent/opa-wasm";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JsonObject } from "../src/model.ts";
import { createThread } from "../src/policy/compiler-thread.ts";
import { createCompiler } from "../src/policy/compiler.ts";
import { createEngine, type Engine } from "../src/policy/engine.ts";
import { FUEL, meter, STACK_POINTER } from "../src/policy/meter.ts";

const REGO = `package p

default decision := {"allow": false}

decision := {"allow": true} if "read" in input.held

conflict := 1 if input.a

conflict := 2 if input.b

endless := count([1 | some x in numbers.range(1, 30000); some y in numbers.range(1, 30000); x * y == 0])

some_steps := count([1 | some x in numbers.range(1, input.n); x > 0])

memory := concat("", [s | some x in numbers.range(1, 20000); s := concat("", [input.text, input.text])])

echo := input

roles := data.portcullis.roles
`;
const RULES = ["decision", "conflict", "endless", "some_steps", "memory", "echo", "roles"];
const compiler = createCompiler({ wasmPath: "policies/compiler/opa.wasm.br" });
let wasm: Uint8Array<ArrayBuffer>;
let engine: Engine;

beforeAll(async () => {
  const compiled = await compiler.compile(
    { modules: { "p.rego": REGO }, data: {} },
    RULES.map((rule) => `p/${rule}`),
  );
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.diagnostics));
  wasm = compiled.value;
  engine = await createEngine(wasm, { portcullis: { roles: { reader: ["read"] } } });
});
afterAll(async () => compiler.close());

const allowed = { ok: true, value: { allow: true } };
const refused = { ok: true, value: { allow: false } };
const nested = (levels: number): JsonObject => (levels === 1 ? {} : { deeper: nested(levels - 1) });

describe("an evaluation", () => {
  test("gives the value of the rule", () => {
    expect(engine.evaluate("p/decision", { held: ["read"] })).toEqual(allowed);
    expect(engine.evaluate("p/decision", { held: ["write"] })).toEqual(refused);
    expect(engine.evaluate("p/roles", {})).toEqual({ ok: true, value: { reader: ["read"] } });
  });

  test("passes its input unchanged", () => {
    const input = {
      text: 'é \u{1f600} \\ud800 " \u0000 \u2028',
      empty: "",
      none: null,
      n: -0.5,
      big: 9007199254740991,
      list: [[], {}],
      __proto: true,
    };
    expect(engine.evaluate("p/echo", input)).toEqual({ ok: true, value: input });
  });

  test("of an undefined rule is a fault, not a value", () => {
    expect(engine.evaluate("p/conflict", {})).toMatchObject({ ok: false, fault: "policy_undefined" });
    expect(engine.evaluate("p/nowhere", {})).toMatchObject({ ok: false, fault: "policy_undefined" });
  });

  test("that conflicts is a fault and names the row", () => {
    expect(engine.evaluate("p/conflict", { a: 1, b: 1 })).toMatchObject({
      ok: false,
      fault: "policy_error",
      detail: expect.stringContaining("p.rego:"),
    });
  });

  test("refuses a lone surrogate before the policy sees it", () => {
    for (const input of [
      { held: ["\ud800"] },
      { "\udfff": 1 },
      { held: ["\\\udc00"] },
      { held: ["read", "\\\\\ud9ff"] },
    ]) {
      expect(engine.evaluate("p/decision", input)).toMatchObject({
        fault: "policy_error",
        detail: "the input holds a lone surrogate",
      });
    }
    expect(engine.evaluate("p/decision", { held: ["read", "\\ud800", "\\\\udfff", "\u{10ffff}"] })).toEqual(allowed);
  });

  test("refuses an input nested deeper than 64 or larger than the cap", async () => {
    expect(engine.evaluate("p/echo", nested(64))).toMatchObject({ ok: true });
    expect(engine.evaluate("p/echo", nested(66))).toMatchObject({
      fault: "policy_error",
      detail: expect.stringContaining("nested"),
    });
    const narrow = await createEngine(wasm, {}, { inputCharsMax: 1000 });
    expect(narrow.evaluate("p/decision", { held: ["read"], pad: "x".repeat(1000) })).toMatchObject({
      fault: "policy_error",
      detail: expect.stringContaining("larger"),
    });
    expect(narrow.evaluate("p/decision", { held: ["read"] })).toEqual(allowed);
  });
});

describe("the step budget", () => {
  test("cuts an endless comprehension after the same number of steps every time", () => {
    const first = engine.evaluate("p/endless", {});
    expect(first).toMatchObject({ ok: false, fault: "policy_budget" });
    expect(engine.steps()).toBe(500_000);
    expect(engine.evaluate("p/decision", { held: ["read"] })).toEqual(allowed);
    expect(engine.evaluate("p/endless", {})).toEqual(first);
    expect(engine.steps()).toBe(500_000);
  });

  test("counts the same input alike, whatever ran before", () => {
    const count = (): number => {
      engine.evaluate("p/some_steps", { n: 200 });
      return engine.steps();
    };
    const first = count();
    expect(first).toBeGreaterThan(200);
    for (const between of ["p/decision", "p/conflict", "p/endless"]) {
      engine.evaluate(between, { a: 1, b: 1, held: ["read"] });
      expect(count()).toBe(first);
    }
    expect(engine.evaluate("p/some_steps", { n: 200 }, first)).toEqual({ ok: true, value: 200 });
    expect(engine.evaluate("p/some_steps", { n: 200 }, first - 1)).toMatchObject({ fault: "policy_budget" });
  });
});

describe("an abort", () => {
  test("leaves the engine answering rightly, 40,000 times over", () => {
    const loneSurrogate = JSON.stringify({ held: ["read", "\ud800"] });
    const hostile: readonly (() => unknown)[] = [
      () => engine.evaluate("p/conflict", { a: 1, b: 1 }),
      () => engine.evaluateText("p/decision", loneSurrogate),
      () => engine.evaluate("p/endless", {}, 50),
      () => engine.evaluateText("p/echo", `${'{"a":'.repeat(200)}"\\ud800"${"}".repeat(200)}`),
    ];
    let wrong = 0;
    for (let i = 0; i < 40_000; i++) {
      const abort = hostile[i % hostile.length]?.() as { ok: boolean };
      if (abort.ok) wrong++;
      if (
        i % 500 === 0 &&
        JSON.stringify(engine.evaluate("p/decision", { held: ["read"] })) !== JSON.stringify(allowed)
      )
        wrong++;
    }
    expect(wrong).toBe(0);
    expect(engine.evaluate("p/decision", { held: ["read"] })).toEqual(allowed);
    expect(engine.evaluate("p/decision", { held: [] })).toEqual(refused);
  });

  test("of the stack or of memory is a trap, and the next evaluation is right", async () => {
    const deep = 20_000;
    expect(engine.evaluateText("p/echo", `{"a":${"[".repeat(deep)}${"]".repeat(deep)}}`)).toMatchObject({
      ok: false,
      fault: "policy_trap",
    });
    expect(engine.evaluate("p/decision", { held: ["read"] })).toEqual(allowed);
    const small = await createEngine(wasm, {}, { memoryPagesMax: 64 });
    expect(small.evaluate("p/memory", { text: "x".repeat(10_000) })).toMatchObject({ ok: false });
    expect(small.evaluate("p/decision", { held: ["read"] })).toEqual(allowed);
    expect(small.memoryBytes()).toBeLessThanOrEqual(64 * 65_536);
  });
});

describe("the meter", () => {
  test("changes no answer of stock opa-wasm", async () => {
    const stock = await loadPolicy(wasm);
    stock.setData({ portcullis: { roles: { reader: ["read"] } } });
    const inputs: readonly JsonObject[] = [
      { held: ["read"] },
      { held: [] },
      { a: 1 },
      { b: 1 },
      { n: 17 },
      { n: 3, held: "read" },
    ];
    for (const rule of ["decision", "conflict", "some_steps", "echo", "roles"]) {
      for (const input of inputs) {
        const [only] = stock.evaluate(input, `p/${rule}`) as readonly { result: unknown }[];
        const ours = engine.evaluate(`p/${rule}`, input);
        expect(ours.ok ? ours.value : undefined).toEqual(only?.result);
      }
    }
  });

  test("exports the fuel and the stack pointer and refuses what is no policy", () => {
    const names = WebAssembly.Module.exports(new WebAssembly.Module(meter(wasm))).map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining([FUEL, STACK_POINTER]));
    expect(() => meter(wasm.subarray(0, 5000))).toThrow("cut short");
    expect(() => meter(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0))).toThrow("no globals");
  });
});

test("a policy that needs a built-in that the engine has not is refused, whoever compiled it", async () => {
  const thread = createThread({ wasmPath: "policies/compiler/opa.wasm.br", digest: compiler.digest });
  const modules = { "p.rego": 'package p\n\nx := http.send({"url": "http://127.0.0.1"})\n' };
  const anyBuiltin = await thread.ask({ op: "compile", modules, entrypoints: ["p/x"] });
  await thread.close();
  if (!anyBuiltin.ok) throw new Error(JSON.stringify(anyBuiltin.diagnostics));
  await expect(createEngine(anyBuiltin.value.wasm, {})).rejects.toThrow("built-ins that the engine has not: http.send");
});
