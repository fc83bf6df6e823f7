/**
 * The promise: nothing that a policy or its input does wears the engine out or holds the process up. 40,000 faults of all
 * kinds, built-ins' included, and very many evaluations: no wrong answer, no growth, no long stall.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { JsonObject } from "../src/model.ts";
import { createCompiler } from "../src/policy/compiler.ts";
import { createEngine, type Engine } from "../src/policy/engine.ts";
import { WASM_PATH } from "./support/policy.ts";

const REGO = `package p

default decision := {"allow": false}

decision := {"allow": true} if {
	"read" in input.held
	sprintf("%s:%d", [input.id, input.n]) == "alice:7"
	time.clock(time.now_ns())[0] == 11
	regex.replace(input.id, "[aeiou]", "") == "lc"
}

conflict := 1 if input.a

conflict := 2 if input.b

endless := count([1 | some x in numbers.range(1, 30000); some y in numbers.range(1, 30000); x * y == 0])

calls := count([1 | some x in numbers.range(1, 30000); some y in numbers.range(1, 30000); sprintf("%d", [x * y]) == "0"])

expand := net.cidr_expand(input.cidr)

find := count(regex.find_n("(?:a|b)*c|[ab]", input.text, -1))

undefined_call := semver.compare(input.version, "1.0.0")

big := sprintf("%s", [input.text])

memory := concat("", [s | some x in numbers.range(1, 20000); s := concat("", [input.text, input.text])])

now := time.now_ns()

echo := input
`;
const RULES = [
  "decision",
  "conflict",
  "endless",
  "calls",
  "expand",
  "find",
  "undefined_call",
  "big",
  "memory",
  "now",
  "echo",
];
const FULL = process.env["FULL"] === "1";
const compiler = createCompiler({ wasmPath: WASM_PATH });
let wasm: Uint8Array<ArrayBuffer>;
let engine: Engine;

beforeAll(async () => {
  const entrypoints = RULES.map((rule) => `p/${rule}`);
  const compiled = await compiler.compile({ modules: { "p.rego": REGO }, data: {} }, entrypoints);
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.diagnostics));
  wasm = compiled.value;
  engine = await createEngine(wasm, {});
});
afterAll(async () => compiler.close());

const request = { time: "2026-11-22T11:00:00.25Z" };
const good = JSON.stringify({ request, held: ["read"], id: "alice", n: 7 });
const bad = JSON.stringify({ request, held: ["read"], id: "alice", n: 8 });
/** Whether both come out as they should. */
const isRight = (of: Engine): boolean => {
  const [yes, no] = [of.evaluateText("p/decision", good), of.evaluateText("p/decision", bad)];
  const allowed = (value: unknown): unknown => (value as { readonly allow?: unknown }).allow;
  return yes.ok && no.ok && allowed(yes.value) === true && allowed(no.value) === false;
};
const nested = (levels: number): string => `{"a":${"[".repeat(levels)}${"]".repeat(levels)}}`;
const text = "ab".repeat(50_000);

/** Each a fault; each within the step budget. */
type Faulty = {
  readonly what: string;
  readonly rule: string;
  readonly input: string;
  readonly fault: string;
  readonly steps?: number;
};
const FAULTS: readonly Faulty[] = [
  { what: "a conflict", rule: "conflict", input: '{"a":1,"b":1}', fault: "policy_error" },
  { what: "a lone surrogate", rule: "echo", input: JSON.stringify({ held: ["\ud800"] }), fault: "policy_error" },
  { what: "a stack that overflows", rule: "echo", input: nested(20_000), fault: "policy_trap" },
  { what: "an endless comprehension", rule: "endless", input: "{}", fault: "policy_budget", steps: 2000 },
  { what: "an endless comprehension of built-ins", rule: "calls", input: "{}", fault: "policy_budget", steps: 2000 },
  {
    what: "a built-in that would make too much",
    rule: "expand",
    input: '{"cidr":"10.0.0.0/8"}',
    fault: "policy_budget",
  },
  {
    what: "a pattern that would take too long",
    rule: "find",
    input: JSON.stringify({ text: "ab".repeat(500) }),
    fault: "policy_budget",
    steps: 5000,
  },
  {
    what: "a built-in whose operand does not fit",
    rule: "undefined_call",
    input: '{"version":"x"}',
    fault: "policy_undefined",
  },
  { what: "an operand of the wrong kind", rule: "undefined_call", input: '{"version":1}', fault: "policy_undefined" },
];

describe("a fault", () => {
  test.each(FAULTS)("is denied and said, and the next answer is right: $what", ({ rule, input, fault, steps }) => {
    expect(engine.evaluateText(`p/${rule}`, input, steps)).toMatchObject({ ok: false, fault });
    expect(isRight(engine)).toBe(true);
  });

  test("wears nothing out, 40,000 times over", () => {
    const rounds = FULL ? 40_000 : 4_000;
    const soaked = FAULTS.filter(({ what }) => FULL || what !== "a stack that overflows");
    const before = engine.memoryBytes();
    let wrong = 0;
    for (let at = 0; at < rounds; at++) {
      const { rule, input, steps } = soaked[at % soaked.length] as Faulty;
      // a hundredth of the overflows: each takes a millisecond
      if (input.length > 10_000 && at % 100 !== 0) continue;
      if (engine.evaluateText(`p/${rule}`, input, steps).ok) wrong++;
      if (at % 100 === 0 && !isRight(engine)) wrong++;
    }
    expect(wrong).toBe(0);
    expect(isRight(engine)).toBe(true);
    expect(engine.memoryBytes() - before).toBeLessThan(2 ** 22);
  }, 600_000);

  test("of a built-in's operands is counted", () => {
    const before = engine.evaluated().undefinedCalls;
    engine.evaluateText("p/undefined_call", '{"version":"x"}');
    engine.evaluateText("p/undefined_call", '{"version":"1.2.3"}');
    expect(engine.evaluated().undefinedCalls).toBe(before + 1);
  });

  test("never holds the process up for long", () => {
    const hostile: readonly (readonly [rule: string, input: string])[] = [
      ...FAULTS.map(({ rule, input }) => [rule, input] as const),
      ["find", JSON.stringify({ text })],
      ["big", JSON.stringify({ text: "x".repeat(900_000) })],
      ["memory", JSON.stringify({ text: "x".repeat(1000) })],
      ["expand", '{"cidr":"10.0.0.0/16"}'],
    ];
    for (const [rule, input] of hostile) {
      engine.evaluateText(`p/${rule}`, input);
      // of this thread alone: what others take from the machine is not the engine's doing
      const before = process.threadCpuUsage();
      engine.evaluateText(`p/${rule}`, input);
      const { user, system } = process.threadCpuUsage(before);
      // five times the 50 ms that are promised
      expect([rule, (user + system) / 1000 < 250]).toEqual([rule, true]);
    }
  });
});

describe("very many evaluations", () => {
  test("are all right, and memory stays as it is", () => {
    const rounds = FULL ? 500_000 : 5_000;
    isRight(engine);
    const before = engine.memoryBytes();
    let wrong = 0;
    for (let at = 0; at < rounds; at++) if (!isRight(engine)) wrong++;
    expect(wrong).toBe(0);
    expect(engine.memoryBytes()).toBe(before);
  }, 600_000);

  test("end with the memory given back that one of them took", async () => {
    // no endless rule is among these: to warm one makes memory grow before all else
    const entrypoints = ["p/decision", "p/echo", "p/memory"];
    const compiled = await compiler.compile({ modules: { "p.rego": REGO }, data: {} }, entrypoints);
    if (!compiled.ok) throw new Error(JSON.stringify(compiled.diagnostics));
    const small = await createEngine(compiled.value, {}, { growthBytesMax: 2 ** 20 });
    const start = small.memoryBytes();
    small.evaluateText("p/memory", JSON.stringify({ text: "x".repeat(1500) }));
    expect(small.memoryBytes() - start).toBeGreaterThan(2 ** 20);
    for (let at = 0; at < 1000; at++) small.evaluateText("p/echo", "{}");
    expect(small.memoryBytes()).toBeLessThanOrEqual(start);
    expect(isRight(small)).toBe(true);
  });
});

describe("the time", () => {
  test("is the request's, the same throughout and in a replay, or none", async () => {
    const asked = { request } as unknown as JsonObject;
    expect(engine.evaluate("p/now", asked)).toEqual({ ok: true, value: 1_795_345_200_250_000_000 });
    expect(engine.evaluate("p/now", asked)).toEqual(engine.evaluate("p/now", asked));
    for (const none of [
      {},
      { request: {} },
      { request: { time: "now" } },
      { request: { time: 1 } },
      { request: null },
    ]) {
      expect(engine.evaluate("p/now", none)).toMatchObject({ fault: "policy_undefined" });
    }
    for (const odd of ["null", "1", '"x"', "[]"]) {
      expect(engine.evaluateText("p/now", odd)).toMatchObject({ fault: "policy_undefined" });
    }
    const told = await createEngine(wasm, {}, { now: "1970-01-01T00:00:00Z" });
    expect(told.evaluate("p/now", {})).toEqual({ ok: true, value: 0 });
  });

  test("costs the same steps each time, with built-ins too", () => {
    const steps = [1, 2, 3].map(() => {
      engine.evaluateText("p/decision", good);
      return engine.steps();
    });
    expect(new Set(steps).size).toBe(1);
    expect(engine.evaluateText("p/decision", good, steps[0])).toMatchObject({ ok: true });
    expect(engine.evaluateText("p/decision", good, (steps[0] as number) - 1)).toMatchObject({ fault: "policy_budget" });
  });
});

test("an input that is false, null or empty is an input", () => {
  for (const value of [false, null, 0, "", [], {}]) {
    expect(engine.evaluateText("p/echo", JSON.stringify(value))).toEqual({ ok: true, value });
  }
});
