/**
 * A gateway that is held up is no Redis that is away: what Redis answered meanwhile counts, however late it is read, and no call
 * passes above a limit because of it.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { describe, expect, onTestFinished, test } from "vitest";
import { createLimits } from "../src/limits/limit.ts";
import type { Limits } from "../src/limits/limit.ts";
import type { Limit } from "../src/model.ts";
import { realPorts, silent } from "../src/ports.ts";
import type { Clock } from "../src/ports.ts";
import { callOf, limited, refusalOf } from "./support/limits.ts";
import { lacks, redisServer } from "./support/parts.ts";
import type { RedisServer } from "./support/parts.ts";

/** More than a command may take. */
const HELD_MS = 200;
const ROUNDS = 6;
const OPEN = limited({ name: "open", limit: 1000 });
const USED_UP = limited({ name: "used-up", limit: 20, redisDown: "local" });

describe.skipIf(lacks("redis-server"))("a gateway that is held up", () => {
  test("again and again while calls are under way still counts in Redis, and exactly", async () => {
    const { limits, trips } = await start();
    const passed = [];
    for (let round = 0; round < ROUNDS; round++) {
      const asked = [...codes(limits, 5, USED_UP), ...codes(limits, 5, OPEN)];
      // they are sent, and Redis answers while nobody listens
      await new Promise(setImmediate);
      hold(HELD_MS);
      const said = await Promise.all(asked);
      expect(said.slice(5)).toEqual(Array(5).fill("ok"));
      passed.push(...said.slice(0, 5).filter((code) => code === "ok"));
    }
    expect(passed).toHaveLength(USED_UP.limit);
    expect(trips()).toBe(0);
  });

  test("between the word and its sending asks again: Redis refuses a command that comes late", async () => {
    const { clock } = realPorts(silent);
    let held = 0;
    const slow: Clock = {
      ...clock,
      nowMs: () => {
        const nowMs = clock.nowMs();
        if (held > 0) hold(HELD_MS);
        held = Math.max(held - 1, 0);
        return nowMs;
      },
    };
    const { limits, trips } = await start(slow);
    held = 2;
    expect(await Promise.all(codes(limits, 3, OPEN))).toEqual(["ok", "ok", "ok"]);
    expect(held).toBe(0);
    const [looked] = await limits.counters.look([{ limit: OPEN, key: "log|open|u=alice" }], 1);
    expect(looked?.state.remaining).toBe(OPEN.limit - 3);
    expect(trips()).toBe(0);
  });

  test("for seconds keeps its connection", async () => {
    const { server, limits, trips } = await start();
    const before = await connections(server);
    const asked = codes(limits, 5, OPEN);
    await new Promise(setImmediate);
    hold(1500);
    expect(await Promise.all(asked)).toEqual(Array(5).fill("ok"));
    // only that of the second question
    expect(await connections(server)).toBe(before + 1);
    expect(trips()).toBe(0);
  });

  test("measures Redis's clock anew where it was held up meanwhile", async () => {
    const { clock } = realPorts(silent);
    let holds = false;
    const { server, limits } = await start({
      ...clock,
      nowMs: () => {
        const nowMs = clock.nowMs();
        if (holds) hold(HELD_MS);
        holds = false;
        return nowMs;
      },
    });
    server.pause();
    await Promise.all(codes(limits, 1, OPEN));
    await sleep(HELD_MS);
    holds = true;
    server.resume();
    await expect.poll(() => limits.status().away, { timeout: 2000, interval: 20 }).toBe(false);
    // what is given up on at 80 ms is not counted at 200
    server.pause();
    const asked = codes(limits, 1, OPEN);
    await sleep(HELD_MS - 20);
    server.resume();
    expect(await Promise.all(asked)).toEqual(["rate_limited"]);
    await expect.poll(() => limits.status().away, { timeout: 2000, interval: 20 }).toBe(false);
    const [looked] = await limits.counters.look([{ limit: OPEN, key: "log|open|u=alice" }], 1);
    expect(looked?.state.remaining).toBe(OPEN.limit);
  });

  test("where Redis is silent too gives up on it", async () => {
    const { server, limits, trips } = await start();
    server.pause();
    const asked = codes(limits, 3, OPEN);
    await new Promise(setImmediate);
    hold(HELD_MS);
    const begun = performance.now();
    expect(await Promise.all(asked)).toEqual(Array(3).fill("rate_limited"));
    expect(performance.now() - begun).toBeLessThan(500);
    expect(trips()).toBe(1);
  });
});

async function start(clock: Clock = realPorts(silent).clock) {
  const server = await redisServer();
  onTestFinished(server.stop);
  let count = 0;
  const log = { ...silent, warn: () => void count++ };
  const limits = await createLimits({ redisUrl: server.url }, { clock, log });
  onTestFinished(limits.close);
  expect(limits.status().away).toBe(false);
  return { server, limits, trips: () => count };
}

/** The process does nothing else meanwhile, nor does it read what came. */
function hold(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

function codes(limits: Limits, times: number, limit: Limit): readonly Promise<string>[] {
  return Array.from({ length: times }, async () => (await refusalOf(limits, callOf([limit])))?.code ?? "ok");
}

/** How many Redis has taken since its start, that of this question among them. */
async function connections({ url }: RedisServer): Promise<number> {
  const client = new Redis(url);
  const said = await client.info("stats");
  client.disconnect();
  return Number(/total_connections_received:(\d+)/.exec(said)?.[1]);
}
