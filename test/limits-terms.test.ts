/** On which terms: costs, shares, and what each kind of limit grants; over memory and over Redis alike. */
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { RateLimiterRedis } from "rate-limiter-flexible";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createBlocks } from "../src/limits/blocks.ts";
import { createLimits, limit, release } from "../src/limits/limit.ts";
import type { Limits } from "../src/limits/limit.ts";
import { expiring } from "../src/limits/expiring.ts";
import { memoryCounters } from "../src/limits/memory.ts";
import { createPlaces } from "../src/limits/places.ts";
import type { Limit } from "../src/model.ts";
import { realPorts, silent } from "../src/ports.ts";
import { callOf, limited, permitOf, refusalOf, TOOL } from "./support/limits.ts";
import { lacks, redisServer } from "./support/parts.ts";
import type { RedisServer } from "./support/parts.ts";

const PATIENT_MS = 10_000;
const ports = realPorts(silent);

describe("who was refused", () => {
  test("is asked for again after five seconds, however long is left, and is told what is left", () => {
    let nowMs = 0;
    const blocks = createBlocks(() => nowMs);
    const charges = [{ limit: limited({ kind: "fixed", windowMs: 2_592_000_000 }), key: "k" }];
    const state = { name: "a", limit: 1, windowMs: 2_592_000_000, remaining: 0, resetMs: 2_000_000_000 };
    blocks.note(charges, [{ verdict: "exhausted", state }], { cost: 1, askedMs: 0 });
    nowMs = 4_999;
    expect(blocks.refusal(charges, 1)?.state.resetMs).toBe(2_000_000_000 - 4_999);
    nowMs = 5_000;
    expect(blocks.refusal(charges, 1)).toBeNull();
  });
});

describe("over memory", () => {
  terms(async () => undefined);
});

describe.skipIf(lacks("redis-server"))("over Redis", () => {
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
  terms(async () => server.url);

  const open = async (): Promise<Limits> => {
    const limits = await createLimits({ redisUrl: server.url, commandMs: PATIENT_MS }, ports);
    onTestFinished(limits.close);
    await expect.poll(() => limits.status().away).toBe(false);
    return limits;
  };
  const commands = async (): Promise<number> =>
    Number(/cmdstat_evalsha:calls=(\d+)/.exec(await client.info("commandstats"))?.[1] ?? 0);

  test("a fixed window is rate-limiter-flexible's own: the package reads it, and goes on counting in it", async () => {
    const limits = await open();
    const month = [limited({ name: "month", kind: "fixed", limit: 5, windowMs: 30 * 86_400_000 })];
    expect(await passed(limits, month, 2)).toBe(2);
    const prefix = "portcullis:{limits}";
    const theirs = new RateLimiterRedis({ storeClient: client, keyPrefix: prefix, points: 5, duration: 30 * 86_400 });
    const key = "fixed|month|u=alice";
    expect(await theirs.get(key)).toMatchObject({ consumedPoints: 2, remainingPoints: 3 });
    await theirs.consume(key, 2);
    expect(await passed(limits, month, 5)).toBe(1);
  });

  test("who was refused is refused here until then, without asking Redis; at a changed limit it is asked at once", async () => {
    const limits = await open();
    const full = [limited({ name: "full", limit: 2, windowMs: 1000 })];
    expect(await passed(limits, full, 3)).toBe(2);
    const before = await commands();
    expect(await passed(limits, full, 50)).toBe(0);
    expect(await commands()).toBe(before);
    const raised = [limited({ name: "full", limit: 3, windowMs: 1000 })];
    expect(await passed(limits, raised, 3)).toBe(1);
    await sleep(1030);
    expect(await passed(limits, raised, 5)).toBe(3);
  });

  test("a limit whose window was changed while it was used up leaves nothing in Redis for ever", async () => {
    const limits = await open();
    const much = { name: "turned", limit: 1500 };
    const dear = permitOf({ cost: 1500 });
    expect(await refusalOf(limits, callOf([limited({ ...much, windowMs: 5000 })]), dear)).toBeNull();
    const changed = callOf([limited({ ...much, windowMs: 6000 })]);
    expect((await refusalOf(limits, changed))?.code).toBe("rate_limited");
    const restMs = await client.pttl("portcullis:{limits}:wide|turned|u=alice");
    expect(restMs).toBeGreaterThan(5000);
    expect(restMs).toBeLessThan(6100);
  });

  test("who was refused for much is not refused here for less", async () => {
    const limits = await open();
    const four = [limited({ name: "four", limit: 4 })];
    expect((await refusalOf(limits, callOf(four), permitOf({ cost: 3 })))?.code).toBeUndefined();
    expect((await refusalOf(limits, callOf(four), permitOf({ cost: 2 })))?.code).toBe("rate_limited");
    expect(await passed(limits, four, 2)).toBe(1);
  });

  test("a place that came free elsewhere is had at once", async () => {
    const [a, b] = [await open(), await open()];
    const one = [limited({ name: "place", kind: "concurrent", windowMs: 0 })];
    const holder = callOf(one);
    await limit(a, permitOf(), holder);
    expect((await refusalOf(b, callOf(one)))?.code).toBe("rate_limited");
    release(a, holder);
    await expect.poll(async () => (await refusalOf(b, callOf(one)))?.code ?? "ok", { timeout: 900 }).toBe("ok");
  });

  test("calls of one moment travel together, and each is charged by itself", async () => {
    const limits = await open();
    const both = [limited({ name: "moment", limit: 10 }), limited({ name: "many", kind: "fixed", limit: 500 })];
    const before = await commands();
    const codes = await Promise.all(Array.from({ length: 40 }, () => refusalOf(limits, callOf(both))));
    expect(codes.filter((one) => one === null)).toHaveLength(10);
    expect((await commands()) - before).toBe(1);
    const seen = await limits.counters.look([{ limit: both[1] as Limit, key: "fixed|many|u=alice" }], 1);
    expect(seen[0]?.state.remaining).toBe(490);
  });

  test("a Redis Cluster takes them: all that a call is charged to is in one slot", async () => {
    const cluster = await redisServer({ cluster: true });
    onTestFinished(cluster.stop);
    const limits = await createLimits({ redisUrl: cluster.url, commandMs: PATIENT_MS }, ports);
    onTestFinished(limits.close);
    await expect.poll(() => limits.status().away, { timeout: 5000 }).toBe(false);
    const all = [
      limited({ name: "a", limit: 3 }),
      limited({ name: "b", kind: "fixed", limit: 9, key: ["tool"] }),
      limited({ name: "c", kind: "bucket", limit: 9, burst: 9, key: ["tenant", "server"] }),
      limited({ name: "d", kind: "concurrent", limit: 9, windowMs: 0 }),
    ];
    expect(await passed(limits, all, 5)).toBe(3);
    await expect.poll(() => limits.status().away).toBe(false);
  });
});

describe("the local share", () => {
  const away = async (): Promise<Limits> => {
    const limits = await createLimits({ redisUrl: "redis://127.0.0.1:1" }, ports);
    onTestFinished(limits.close);
    return limits;
  };
  test("is what a gateway grants by itself while Redis is away, and the answer says so", async () => {
    const limits = await away();
    const quarter = [limited({ name: "q", limit: 30, redisDown: "local", localShare: 0.25 })];
    const first = callOf(quarter);
    await limit(limits, permitOf(), first);
    expect(first.limit).toMatchObject({ limit: 7, remaining: 6 });
    expect(await passed(limits, quarter, 30)).toBe(6);
  });
  test("holds for a burst and for places too", async () => {
    const limits = await away();
    const local = { redisDown: "local", localShare: 0.5 } as const;
    const bucket = limited({ name: "b", kind: "bucket", limit: 6, burst: 8, ...local });
    const first = callOf([bucket]);
    await limit(limits, permitOf(), first);
    // 8 come back in 80 s: of half the rate, 4 as well
    expect(first.limit).toMatchObject({ limit: 4, windowMs: 80_000, remaining: 3 });
    expect(await passed(limits, [bucket], 20)).toBe(3);
    const places = [limited({ name: "p", kind: "concurrent", limit: 6, windowMs: 0, ...local })];
    expect(await passed(limits, places, 20)).toBe(3);
  });
});

test("an expiring map that is written to holds little more than what still counts", () => {
  let now = 0;
  const map = expiring<{ endsMs: number }>(() => now);
  for (let at = 0; at < 10_000; at++) {
    now = at;
    map.set(String(at), { endsMs: at + 100 });
  }
  expect(map.size()).toBeLessThan(400);
  expect(map.get("9950")).toBeDefined();
});

test("counters that are over are forgotten in memory", async () => {
  let now = 0;
  const counters = memoryCounters({ clock: { monotonicMs: () => now }, places: createPlaces() });
  for (let at = 0; at < 1000; at++) {
    now = at * 1000;
    await counters.charge([{ limit: limited({ windowMs: 1000 }), key: `log|${at}` }], { id: String(at), cost: 1 });
  }
  now = 0;
  // of those that are forgotten, what was used is free
  const left = await Promise.all(
    Array.from({ length: 1000 }, async (_, at) => {
      const [one] = await counters.look([{ limit: limited({ windowMs: 1e9 }), key: `log|${at}` }], 1);
      return one?.state.remaining ?? 0;
    }),
  );
  expect(left.filter((one) => one === 0).length).toBeLessThan(10);
});

test("a limit in sub-windows is never over, and almost wholly usable: 99.5 % under calls that never end", async () => {
  let now = 1_000_000;
  const counters = memoryCounters({ clock: { monotonicMs: () => now }, places: createPlaces() });
  const wide = { limit: limited({ limit: 2000, windowMs: 10_000 }), key: "wide|a" };
  const times: number[] = [];
  for (; now < 1_200_000; now += 1) {
    // as many as can be had, at an uneven pace
    for (let burst = now % 7; burst > 0; burst--) {
      const [taken] = await counters.charge([wide], { id: "x", cost: 1 });
      if (taken?.verdict === "charged") times.push(now);
    }
  }
  const most = Math.max(...times.map((time, at) => times.findIndex((later) => later - time >= 10_000) - at));
  expect(most).toBeLessThanOrEqual(2000);
  const tookMs = (times[18 * 2000] ?? Infinity) - (times[0] ?? 0);
  expect((18 * 10_000) / tookMs).toBeGreaterThanOrEqual(0.995);
});

function terms(redis: () => Promise<string | undefined>): void {
  const open = async (): Promise<Limits> => {
    const limits = await createLimits({ redisUrl: await redis(), commandMs: PATIENT_MS }, ports);
    onTestFinished(limits.close);
    await expect.poll(() => limits.status().away).toBe(false);
    return limits;
  };

  test("a call takes what its tool costs, and what policy says instead", async () => {
    const limits = await open();
    const ten = [limited({ name: "ten", limit: 10 })];
    const dear = permitOf({ tool: { ...TOOL, cost: 4 } });
    expect(await refusalOf(limits, callOf(ten), dear)).toBeNull();
    expect(await refusalOf(limits, callOf(ten), permitOf({ tool: { ...TOOL, cost: 4 }, cost: 5 }))).toBeNull();
    expect((await refusalOf(limits, callOf(ten), dear))?.code).toBe("rate_limited");
    const last = callOf(ten);
    await limit(limits, permitOf(), last);
    expect(last.limit?.remaining).toBe(0);
  });

  test("a call that costs more than a limit ever grants is forbidden: waiting would not help", async () => {
    const limits = await open();
    const three = [limited({ name: "three", limit: 3 }), limited({ name: "p", kind: "concurrent", windowMs: 0 })];
    const call = { ...callOf(three), decision: { allow: true, reasons: [] } } as unknown as ReturnType<typeof callOf>;
    const refusal = await refusalOf(limits, call, permitOf({ cost: 4 }));
    expect(refusal).toMatchObject({ code: "forbidden", detail: { reasons: ["cost_above_limit"] } });
    expect(call.decision).toMatchObject({ allow: false });
    // of places a call takes one, whatever it costs
    expect(await refusalOf(limits, callOf(three), permitOf({ cost: 3 }))).toBeNull();
  });

  test("a bucket grants its burst at once, and then its rate", async () => {
    const limits = await open();
    const bucket = [limited({ name: "bucket", kind: "bucket", limit: 20, windowMs: 1000, burst: 5 })];
    const call = callOf(bucket);
    await limit(limits, permitOf(), call);
    expect(call.limit).toMatchObject({ limit: 5, windowMs: 250, remaining: 4 });
    const begun = performance.now();
    let more = await passed(limits, bucket, 10);
    while (performance.now() - begun < 1000) {
      more += await passed(limits, bucket, 1);
      await sleep(2);
    }
    expect(more).toBeGreaterThanOrEqual(4 + 16);
    expect(more).toBeLessThanOrEqual(4 + 20 + 1);
  });

  test("a bucket of as much as a number holds grants that much, to the last, and says when there is more", async () => {
    const limits = await open();
    const burst = Number.MAX_SAFE_INTEGER;
    const bucket = [limited({ name: "vast", kind: "bucket", limit: 1, windowMs: 90_000, burst })];
    const half = 2 ** 52;
    const call = callOf(bucket);
    await limit(limits, permitOf(), call);
    expect(call.limit?.remaining).toBe(burst - 1);
    expect(await refusalOf(limits, callOf(bucket), permitOf({ cost: half }))).toBeNull();
    const over = await refusalOf(limits, callOf(bucket), permitOf({ cost: half }));
    expect(over?.code).toBe("rate_limited");
    expect(over?.detail.retryAfterMs).toBeGreaterThan(0);
    let left = half - 2;
    for (let cost = half / 2; left > 0; cost = Math.ceil(cost / 2)) {
      const asked = Math.min(cost, left);
      if ((await refusalOf(limits, callOf(bucket), permitOf({ cost: asked }))) !== null) break;
      left -= asked;
    }
    // never more; and less by no more than what so great a number cannot tell apart
    expect(left).toBeLessThan(1e9);
    expect((await refusalOf(limits, callOf(bucket), permitOf({ cost: left + 1 })))?.code).toBe("rate_limited");
    await expect.poll(() => limits.status().away).toBe(false);
  });

  test("at once only so many are under way; who is over gives its place back", async () => {
    const limits = await open();
    const two = [limited({ name: "two", kind: "concurrent", limit: 2, windowMs: 0 })];
    const [one, other] = [callOf(two), callOf(two)];
    await limit(limits, permitOf(), one);
    await limit(limits, permitOf(), other);
    expect((await refusalOf(limits, callOf(two)))?.code).toBe("rate_limited");
    release(limits, one);
    release(limits, one);
    expect(await refusalOf(limits, callOf(two))).toBeNull();
    expect((await refusalOf(limits, callOf(two)))?.code).toBe("rate_limited");
  });
}

async function passed(limits: Limits, inForce: readonly Limit[], times: number): Promise<number> {
  let count = 0;
  for (let at = 0; at < times; at++) if ((await refusalOf(limits, callOf(inForce))) === null) count++;
  return count;
}
