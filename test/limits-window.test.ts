/** How often: within a window exactly as many calls pass as the limit says, and a refused call costs nothing. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { createLimits, limit, peek } from "../src/limits/limit.ts";
import type { Limits } from "../src/limits/limit.ts";
import type { Limit } from "../src/model.ts";
import { realPorts, silent } from "../src/ports.ts";
import { ALICE, callOf, limited, permitOf, refusalOf, TOOL } from "./support/limits.ts";
import { lacks, redisServer } from "./support/parts.ts";
import type { RedisServer } from "./support/parts.ts";

const ports = realPorts(silent);
/** How much passes is meant here, not how soon. */
const PATIENT_MS = 10_000;

describe("over memory", () => {
  promises(async (check) => {
    const limits = await createLimits({}, ports);
    await check(limits);
    limits.close();
  });
});

describe.skipIf(lacks("redis-server"))("over Redis", () => {
  let server: Promise<RedisServer> | undefined;
  promises(async (check) => {
    server ??= redisServer();
    const limits = await createLimits({ redisUrl: (await server).url, commandMs: PATIENT_MS }, ports);
    if (limits.status().away) throw new Error("This test counted without Redis.");
    await check(limits);
    limits.close();
  });
  test("two gateways share their counters", async () => {
    const { url } = await (server ??= redisServer());
    const [a, b] = await Promise.all([
      createLimits({ redisUrl: url, commandMs: PATIENT_MS }, ports),
      createLimits({ redisUrl: url, commandMs: PATIENT_MS }, ports),
    ]);
    const shared = [limited({ name: "shared", limit: 5 })];
    const verdicts = await Promise.all([...repeat(4, () => ask(a, shared)), ...repeat(4, () => ask(b, shared))]);
    expect(verdicts.filter((verdict) => verdict === "ok")).toHaveLength(5);
    a.close();
    b.close();
    await (await server).stop();
  });
});

function promises(over: (check: (limits: Limits) => Promise<void>) => Promise<void>): void {
  test("of many calls at once exactly as many pass as the limit says", () =>
    over(async (limits) => {
      const exact = [limited({ name: "exact", limit: 100, windowMs: 60_000 })];
      const verdicts = await Promise.all(repeat(250, () => ask(limits, exact)));
      expect(verdicts.filter((verdict) => verdict === "ok")).toHaveLength(100);
      expect(verdicts.filter((verdict) => verdict === "rate_limited")).toHaveLength(150);
    }));

  test("when the window is over, exactly as many pass again, refused calls notwithstanding", () =>
    over(async (limits) => {
      const short = [limited({ name: "short", limit: 3, windowMs: 1000 })];
      expect(await inTurn(limits, short, 9)).toBe(3);
      await sleep(1030);
      expect(await inTurn(limits, short, 9)).toBe(3);
    }));

  test("a call that one limit refuses is given back to the others", () =>
    over(async (limits) => {
      const both = [limited({ name: "wide", limit: 10 }), limited({ name: "narrow", limit: 2 })];
      expect(await inTurn(limits, both, 8)).toBe(2);
      expect(await remaining(limits, both)).toEqual({ wide: 8, narrow: 0 });
    }));

  test("a refused call leaves its counters as they were, and says what is left in each", () =>
    over(async ({ counters }) => {
      const wide = { limit: limited({ name: "open", limit: 10 }), key: "open" };
      const narrow = { limit: limited({ name: "full", limit: 1 }), key: "full" };
      const look = async () =>
        (await counters.look([wide, narrow], 1)).map(({ verdict, state }) => [verdict, state.remaining]);
      await counters.charge([wide, narrow], { id: "first", cost: 1 });
      for (let count = 0; count < 5; count++) {
        const taken = await counters.charge([wide, narrow], { id: String(count), cost: 1 });
        expect(taken.at(-1)).toMatchObject({ verdict: "exhausted", state: { name: "full", remaining: 0 } });
        expect(await look()).toEqual([
          ["spared", 9],
          ["exhausted", 0],
        ]);
      }
      const last = await counters.charge([wide], { id: "last", cost: 1 });
      expect(last).toMatchObject([{ verdict: "charged", state: { remaining: 8 } }]);
    }));

  test("calls at once over several limits charge each as often as they pass", () =>
    over(async (limits) => {
      const both = [limited({ name: "many", limit: 500 }), limited({ name: "few", limit: 30 })];
      const verdicts = await Promise.all(repeat(100, () => ask(limits, both)));
      expect(verdicts.filter((verdict) => verdict === "ok")).toHaveLength(30);
      expect(await remaining(limits, both)).toEqual({ many: 470, few: 0 });
    }));

  test("a refusal says when to come back and which limit it was; success names the tightest limit", () =>
    over(async (limits) => {
      const both = [limited({ name: "loose", limit: 100 }), limited({ name: "tight", limit: 2, windowMs: 5000 })];
      const first = callOf(both);
      await limit(limits, permitOf(), first);
      expect(first.limit).toMatchObject({ name: "tight", limit: 2, windowMs: 5000, remaining: 1 });
      expect(first.limit?.resetMs).toBeGreaterThan(4000);
      await limit(limits, permitOf(), callOf(both));
      const third = callOf(both);
      const refusal = await refusalOf(limits, third);
      expect(refusal?.code).toBe("rate_limited");
      expect(refusal?.detail.retryAfterMs).toBeGreaterThan(4000);
      expect(refusal?.detail.retryAfterMs).toBeLessThanOrEqual(5000);
      expect(third.limit).toMatchObject({ name: "tight", remaining: 0 });
    }));

  test("looking at what is left consumes nothing", () =>
    over(async (limits) => {
      const one = [limited({ name: "looked", limit: 1 })];
      for (let count = 0; count < 5; count++) expect(await remaining(limits, one)).toEqual({ looked: 1 });
      expect(await inTurn(limits, one, 3)).toBe(1);
      expect(await remaining(limits, one)).toEqual({ looked: 0 });
    }));

  test("a limit that the file changes keeps its count, and a window that it shortens ends sooner", () =>
    over(async (limits) => {
      const before = [limited({ name: "moved", limit: 100, windowMs: 60_000 })];
      expect(await inTurn(limits, before, 7)).toBe(7);
      expect(await inTurn(limits, [limited({ name: "moved", limit: 5, windowMs: 60_000 })], 3)).toBe(0);
      expect(await inTurn(limits, [limited({ name: "moved", limit: 9, windowMs: 60_000 })], 3)).toBe(2);
      const shorter = [limited({ name: "moved", limit: 9, windowMs: 1000 })];
      expect(await inTurn(limits, shorter, 3)).toBe(0);
      await sleep(1030);
      expect(await inTurn(limits, shorter, 12)).toBe(9);
    }));

  test("a window of thirty days counts", () =>
    over(async (limits) => {
      const month = [limited({ name: "month", limit: 2, windowMs: 30 * 86_400_000 })];
      expect(await inTurn(limits, month, 2)).toBe(2);
      await sleep(20);
      expect(await inTurn(limits, month, 2)).toBe(0);
    }));

  test("the tool's own limit and those that policy names count, each once; others do not", () =>
    over(async (limits) => {
      const named = [
        limited({ name: "named", limit: 5, always: false }),
        limited({ name: "unnamed", limit: 1, always: false }),
        limited({ name: "both", limit: 5 }),
      ];
      const tool = { ...TOOL, limits: [limited({ name: "tool:own", limit: 5 })] };
      await limit(limits, permitOf({ tool, named: ["named", "both"] }), callOf(named));
      await limit(limits, permitOf({ tool, named: ["named", "both"] }), callOf(named));
      const use = { principal: ALICE, tool, named: ["named", "unnamed"], cost: null };
      const { states } = await peek(limits, callOf(named).snapshot, use);
      expect(Object.fromEntries(states.map((state) => [state.name, state.remaining]))).toEqual({
        both: 3,
        "tool:own": 3,
        named: 3,
        unnamed: 1,
      });
    }));
}

function repeat<T>(times: number, make: () => T): readonly T[] {
  return Array.from({ length: times }, make);
}

async function inTurn(limits: Limits, inForce: readonly Limit[], times: number): Promise<number> {
  let passed = 0;
  for (let count = 0; count < times; count++) if ((await ask(limits, inForce)) === "ok") passed++;
  return passed;
}

async function ask(limits: Limits, inForce: readonly Limit[]): Promise<string> {
  return (await refusalOf(limits, callOf(inForce)))?.code ?? "ok";
}

async function remaining(limits: Limits, inForce: readonly Limit[]): Promise<object> {
  const use = { principal: ALICE, tool: TOOL, named: [], cost: null };
  const { states } = await peek(limits, callOf(inForce).snapshot, use);
  return Object.fromEntries(states.map((state) => [state.name, state.remaining]));
}
