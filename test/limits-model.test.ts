/**
 * What a limit is, said as plainly as can be: the rule over the list of all that passed. Memory and the script for Redis agree
 * with it, whatever is asked, when, at which cost, and however the limits are changed meanwhile. Time is simulated.
 */
import fc from "fast-check";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Charge } from "../src/limits/charge.ts";
import type { Taken } from "../src/limits/counters.ts";
import { memoryCounters } from "../src/limits/memory.ts";
import { createPlaces } from "../src/limits/places.ts";
import { CHARGE, LEASE_MS, termsOf } from "../src/limits/script.ts";
import type { Limit } from "../src/model.ts";
import { limited } from "./support/limits.ts";
import { lacks, redisServer } from "./support/parts.ts";
import type { RedisServer } from "./support/parts.ts";

const RUNS = process.env["FULL"] === "1" ? 1000 : 60;

/** What each kind of limit counts with: whether a call may pass, and that it did. */
type Rule = {
  readonly may: (limit: Limit, nowMs: number, cost: number) => boolean;
  readonly passed: (limit: Limit, nowMs: number, cost: number, id: string) => void;
  readonly over?: (id: string) => void;
};

/** `check()` of the article that this project came from, for calls of any cost. */
function slidingRule(): Rule {
  let timestamps: number[] = [];
  const recent = ({ windowMs }: Limit, now: number) => timestamps.filter((t) => now - t < windowMs);
  return {
    may: (limit, now, cost) => recent(limit, now).length + cost <= limit.limit,
    passed: (limit, now, cost) => (timestamps = [...recent(limit, now), ...Array<number>(cost).fill(now)]),
  };
}

/** The same over sub-windows: an entry counts until the 257th sub-window after its own begins. */
function wideRule(): Rule {
  let entries: { readonly t: number; readonly cost: number }[] = [];
  let before = 0;
  const settle = ({ windowMs }: Limit, now: number): void => {
    const slot = (t: number) => Math.floor(t / (before / 256));
    entries = entries.filter(({ t }) => slot(now) - slot(t) <= 256);
    if (before !== windowMs) entries = entries.map(({ cost }) => ({ t: now, cost }));
    before = windowMs;
  };
  return {
    may: (limit, now, cost) => {
      settle(limit, now);
      return entries.reduce((sum, one) => sum + one.cost, 0) + cost <= limit.limit;
    },
    passed: (_, t, cost) => entries.push({ t, cost }),
  };
}

function fixedRule(): Rule {
  let [used, end] = [0, 0];
  return {
    may: ({ limit, windowMs }, now, cost) => {
      end = Math.min(end, now + windowMs);
      if (end <= now) used = 0;
      return used + cost <= limit;
    },
    passed: ({ windowMs }, now, cost) => {
      if (end <= now) end = now + windowMs;
      used += cost;
    },
  };
}

/** The generic cell rate algorithm, as virtual scheduling: a theoretical arrival time, here a fraction. */
function bucketRule(): Rule {
  let tat = { numerator: 0n, denominator: 1n };
  const next = ({ limit, windowMs }: Limit, now: number, cost: number) => {
    const [n, d, l] = [tat.numerator, tat.denominator, BigInt(limit)];
    const from = n > BigInt(now) * d ? n : BigInt(now) * d;
    return { numerator: from * l + BigInt(cost) * BigInt(windowMs) * d, denominator: d * l };
  };
  return {
    may: (limit, now, cost) => {
      const { numerator, denominator } = next(limit, now, cost);
      const tolerance = BigInt(limit.burst) * BigInt(limit.windowMs) * denominator;
      return (numerator - BigInt(now) * denominator) * BigInt(limit.limit) <= tolerance;
    },
    passed: (limit, now, cost) => (tat = next(limit, now, cost)),
  };
}

function placesRule(leaseMs: number): Rule {
  const holders = new Map<string, number>();
  return {
    may: ({ limit }, now) => [...holders.values()].filter((until) => until > now).length < limit,
    passed: (_, now, __, id) => holders.set(id, now + leaseMs),
    over: (id) => holders.delete(id),
  };
}

type Store = {
  readonly charge: (charges: readonly Charge[], id: string, cost: number, nowMs: number) => Promise<readonly Taken[]>;
  readonly look: (charges: readonly Charge[], cost: number, nowMs: number) => Promise<readonly Taken[]>;
  readonly release: (keys: readonly string[], id: string) => Promise<void>;
  readonly leaseMs: number;
};

function memory(): Store {
  let now = 0;
  const counters = memoryCounters({ clock: { monotonicMs: () => now }, places: createPlaces() });
  return {
    charge: async (charges, id, cost, nowMs) => {
      now = nowMs;
      return await counters.charge(charges, { id, cost });
    },
    look: async (charges, cost, nowMs) => {
      now = nowMs;
      return await counters.look(charges, cost);
    },
    release: async (_, id) => counters.release(id),
    leaseMs: Infinity,
  };
}

const VERDICTS = ["exhausted", "charged", "spared"] as const;
/** The script's own text, with other words where it reads Redis's clock. */
function scriptAt(nowMs: number): string {
  const text = CHARGE.replace("redis.call('time')", `{${Math.floor(nowMs / 1000)}, ${(nowMs % 1000) * 1000}}`).replace(
    "redis.call('pttl', key)",
    "(redis.call('pexpiretime', key) - now / 1000)",
  );
  if (text.includes("'time'") || text.includes("'pttl'")) throw new Error("It reads another clock.");
  return text;
}

function overRedis(client: Redis): Store {
  const run = async (charges: readonly Charge[], id: string, cost: number, nowMs: number) => {
    const terms = charges.map(({ limit }) => termsOf(limit));
    const keys = charges.map(({ key }) => key);
    const args = [nowMs + 1, id, cost, charges.length, ...terms];
    const said = (await client.eval(scriptAt(nowMs), keys.length, ...keys, ...args)) as number[];
    // refused or not, nothing stays for ever
    expect(await Promise.all(keys.map((one) => client.pttl(one)))).not.toContain(-1);
    return charges.map(({ limit }, at) => ({
      verdict: VERDICTS[said[3 * at] ?? 0] ?? "exhausted",
      state: {
        name: limit.name,
        limit: limit.limit,
        windowMs: limit.windowMs,
        remaining: said[3 * at + 1] ?? 0,
        resetMs: Math.ceil((said[3 * at + 2] ?? 0) / 1000),
      },
    }));
  };
  return {
    charge: run,
    look: (charges, cost, nowMs) => run(charges, "", cost, nowMs),
    release: async (keys, id) => void (await Promise.all(keys.map((key) => client.zrem(key, id)))),
    leaseMs: LEASE_MS,
  };
}

const KINDS = {
  sliding: { rule: slidingRule, limit: fc.integer({ min: 1, max: 12 }) },
  wide: { rule: wideRule, limit: fc.integer({ min: 1001, max: 1400 }) },
  fixed: { rule: fixedRule, limit: fc.integer({ min: 1, max: 12 }) },
  // halves and quarters are exact in a double as in a fraction
  bucket: { rule: bucketRule, limit: fc.constantFrom(1, 2, 4, 8) },
  concurrent: { rule: placesRule, limit: fc.integer({ min: 1, max: 4 }) },
} as const;
type Kind = keyof typeof KINDS;

/** A limit as it is first, and as it is changed to, all of one kind. */
function limitsOf(kind: Kind): fc.Arbitrary<readonly Limit[]> {
  const one = fc.record({
    limit: KINDS[kind].limit,
    windowMs: fc.constantFrom(1000, 2560, 6000),
    burst: fc.integer({ min: 1, max: 9 }),
  });
  const own = { kind: kind === "wide" ? "sliding" : kind } as const;
  return fc.array(
    one.map((wanted) => limited({ ...own, ...wanted })),
    { minLength: 1, maxLength: 4 },
  );
}

const step = fc.record({
  waitMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 3000 })),
  cost: fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 5 })),
  change: fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 3 })),
  release: fc.boolean(),
});
const scenario = fc.record({
  kinds: fc
    .uniqueArray(fc.constantFrom(...(Object.keys(KINDS) as Kind[])), { minLength: 1, maxLength: 3 })
    .chain((kinds) => fc.tuple(...kinds.map((kind) => limitsOf(kind).map((limits) => ({ kind, limits }))))),
  steps: fc.array(step, { minLength: 10, maxLength: 60 }),
});
type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never;

let run = 0;
async function agrees(store: Store, { kinds, steps }: Scenario, fromMs: number): Promise<void> {
  const prefix = `{limits}:${run++}`;
  const rules = kinds.map(({ kind }) => KINDS[kind].rule(store.leaseMs));
  let [now, version] = [fromMs, 0];
  const passedIds: string[] = [];
  for (const [at, { waitMs, cost, change, release }] of steps.entries()) {
    now += waitMs;
    version += change;
    const charges = kinds.map(({ kind, limits }) => ({
      key: `${prefix}:${kind}`,
      limit: limits[version % limits.length] as Limit,
    }));
    // a wide limit is asked for much at once, or it would never be full
    const asked = kinds.some(({ kind }) => kind === "wide") && kinds.length === 1 ? cost * 100 : cost;
    if (release && passedIds.length > 0) {
      const id = passedIds.shift() as string;
      await store.release(
        charges.filter(({ limit }) => limit.kind === "concurrent").map(({ key }) => key),
        id,
      );
      for (const rule of rules) rule.over?.(id);
    }
    const may = rules.map((rule, index) => rule.may((charges[index] as Charge).limit, now, asked));
    const taken = await store.charge(charges, `call${at}`, asked, now);
    const all = may.every(Boolean);
    expect(taken.map(({ verdict }) => verdict)).toEqual(
      may.map((one) => (all ? "charged" : one ? "spared" : "exhausted")),
    );
    // where it ends: memory does not go back in time
    if (!all && at >= steps.length / 2) return await promisesTruly(store, charges, taken, { cost: asked, now });
    if (!all) continue;
    passedIds.push(`call${at}`);
    for (const [index, rule] of rules.entries()) rule.passed((charges[index] as Charge).limit, now, asked, `call${at}`);
  }
}

/** What `resetMs` says: not before, but then. */
async function promisesTruly(
  store: Store,
  charges: readonly Charge[],
  taken: readonly Taken[],
  { cost, now }: { readonly cost: number; readonly now: number },
): Promise<void> {
  const refused = taken
    .map(({ verdict, state }, index) => ({ verdict, resetMs: state.resetMs, charge: charges[index] as Charge }))
    .filter(({ verdict, charge: { limit } }) => verdict === "exhausted" && limit.kind !== "concurrent")
    .filter(({ charge: { limit } }) => cost <= (limit.kind === "bucket" ? limit.burst : limit.limit))
    .toSorted((one, other) => one.resetMs - other.resetMs);
  for (const { charge, resetMs } of refused) {
    const before = await store.look([charge], cost, now + resetMs - 1);
    const then = await store.look([charge], cost, now + resetMs);
    expect([before[0]?.verdict, then[0]?.verdict]).toEqual(["exhausted", "charged"]);
  }
}

describe("limits over memory", () => {
  test("agree with the rule", async () => {
    const law = fc.asyncProperty(scenario, (one) => agrees(memory(), one, 1_000_000));
    await expect(fc.assert(law, { numRuns: RUNS * 5 })).resolves.toBeUndefined();
  });
});

describe.skipIf(lacks("redis-server"))("limits over Redis", () => {
  let server: RedisServer;
  let client: Redis;
  beforeAll(async () => {
    server = await redisServer();
    client = new Redis(server.url);
  });
  afterAll(async () => {
    client.disconnect();
    await server.stop();
  });

  test("agree with the rule", async () => {
    // ahead of the real clock, by which keys expire
    const fromMs = Math.floor(Date.now()) + 86_400_000;
    const law = fc.asyncProperty(scenario, (one) => agrees(overRedis(client), one, fromMs));
    await expect(fc.assert(law, { numRuns: RUNS })).resolves.toBeUndefined();
  });
});
