/** Redis away: every call is still decided, as its limits say, at once, and all is normal again soon after. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createLimits, peek, release } from "../src/limits/limit.ts";
import type { Limits } from "../src/limits/limit.ts";
import type { Limit } from "../src/model.ts";
import { realPorts, silent } from "../src/ports.ts";
import { ALICE, callOf, limited, refusalOf, TOOL } from "./support/limits.ts";
import { freePort, lacks, redisServer } from "./support/parts.ts";
import type { RedisServer } from "./support/parts.ts";

/** A hundred milliseconds are promised; five times that is asserted, since test machines are slow. */
const DECIDED_MS_MAX = 500;
const rejections: unknown[] = [];
const note = (reason: unknown): void => void rejections.push(reason);

beforeAll(() => void process.on("unhandledRejection", note).on("uncaughtException", note));
afterAll(() => void process.off("unhandledRejection", note).off("uncaughtException", note));

const OUTAGES = {
  "is killed": (server: RedisServer) => server.stop(),
  hangs: async (server: RedisServer) => server.pause(),
} as const;

describe.skipIf(lacks("redis-server"))("a Redis that goes away", () => {
  test.for(Object.keys(OUTAGES) as readonly (keyof typeof OUTAGES)[])(
    "when Redis %s, a closed limit refuses, a local one counts here, and each call is decided in time",
    async (outage) => {
      const { server, limits } = await start();
      expect(await asked(limits, CLOSED)).toMatchObject({ code: "ok" });
      await OUTAGES[outage](server);
      const early = await Promise.all(Array.from({ length: 30 }, () => asked(limits, CLOSED)));
      expect(Math.max(...early.map(({ tookMs }) => tookMs))).toBeLessThan(DECIDED_MS_MAX);
      expect(new Set(early.map(({ code }) => code))).toEqual(new Set(["rate_limited"]));
      expect(limits.status()).toMatchObject({ store: "redis", away: true });
      const refused = await asked(limits, CLOSED);
      expect(refused).toMatchObject({ message: "The limit store is away.", retryAfterMs: 1000 });
      const counted = await Promise.all(Array.from({ length: 12 }, () => asked(limits, LOCAL)));
      expect(counted.filter(({ code }) => code === "ok")).toHaveLength(LOCAL.limit);
      expect(Math.max(...counted.map(({ tookMs }) => tookMs))).toBeLessThan(DECIDED_MS_MAX);
      expect(rejections).toEqual([]);
    },
  );

  test("while Redis hangs, later calls do not wait for it at all", async () => {
    const { server, limits } = await start();
    server.pause();
    await asked(limits, CLOSED);
    // 200 calls in turn, each waiting out the command timeout, would take 16 s
    const begun = performance.now();
    for (let count = 0; count < 200; count++) await asked(limits, LOCAL);
    expect(performance.now() - begun).toBeLessThan(2000);
  });

  test("when Redis wakes up, it counts again", async () => {
    const { server, limits } = await start();
    server.pause();
    await asked(limits, CLOSED);
    await sleep(1500);
    server.resume();
    await heals(limits);
    expect(await asked(limits, CLOSED)).toMatchObject({ code: "ok" });
    expect(rejections).toEqual([]);
  });

  test("what was refused because Redis did not answer is not counted when it wakes up", async () => {
    const { server, limits } = await start();
    for (let count = 0; count < 3; count++) await asked(limits, CLOSED);
    server.pause();
    await Promise.all(Array.from({ length: 25 }, () => asked(limits, CLOSED)));
    await sleep(300);
    server.resume();
    await heals(limits);
    const states = await left(limits, CLOSED);
    expect(states[0]?.remaining).toBe(CLOSED.limit - 3);
  });

  test("of places no more are held after a restart that forgot them, though no call noticed it", async () => {
    const { server, limits } = await start();
    const three = limited({ name: "three", kind: "concurrent", limit: 3, windowMs: 0 });
    const held = Array.from({ length: 3 }, () => callOf([three]));
    for (const call of held) expect(await refusalOf(limits, call)).toBeNull();
    await server.stop();
    const next = await redisServer({ port: server.port });
    onTestFinished(next.stop);
    const { Redis } = await import("ioredis");
    const operator = new Redis(next.url);
    onTestFinished(() => operator.disconnect());
    const isBack = async () =>
      String(await operator.client("LIST"))
        .trim()
        .split("\n").length > 1;
    await expect.poll(isBack, { timeout: 5000, interval: 5 }).toBe(true);
    const codes = new Set<string>();
    for (const endMs = performance.now() + 1000; performance.now() < endMs; await sleep(5))
      codes.add((await asked(limits, three)).code);
    expect(codes).toEqual(new Set(["rate_limited"]));
    expect(limits.status().away).toBe(false);
    for (const call of held) release(limits, call);
    await expect.poll(async () => (await asked(limits, three)).code).toBe("ok");
  });

  test("when another Redis comes in its place, it counts again", async () => {
    const { server, limits } = await start();
    await server.stop();
    await asked(limits, CLOSED);
    await sleep(1500);
    const next = await redisServer({ port: server.port });
    onTestFinished(next.stop);
    await heals(limits);
    expect(await asked(limits, CLOSED)).toMatchObject({ code: "ok" });
    expect(rejections).toEqual([]);
  });

  test("what was decided while Redis was away is not counted when it is back", async () => {
    const { server, limits } = await start();
    await server.stop();
    await Promise.all(Array.from({ length: 20 }, () => asked(limits, CLOSED)));
    const next = await redisServer({ port: server.port });
    onTestFinished(next.stop);
    await heals(limits);
    const states = await left(limits, CLOSED);
    expect(states[0]?.remaining).toBe(CLOSED.limit);
  });

  test("a short hiccup of this process does not leave the store away", async () => {
    const { limits } = await start();
    const pending = asked(limits, LOCAL);
    const until = performance.now() + 150;
    while (performance.now() < until);
    expect((await pending).code).toBe("ok");
    await heals(limits);
  });

  test("a Redis that takes no writes is away", async () => {
    const { server, limits } = await start();
    const { Redis } = await import("ioredis");
    const operator = new Redis(server.url);
    await operator.config("SET", "maxmemory", "1");
    expect(await asked(limits, CLOSED)).toMatchObject({ code: "rate_limited", message: "The limit store is away." });
    await sleep(400);
    expect(limits.status()).toMatchObject({ away: true });
    await operator.config("SET", "maxmemory", "0");
    await heals(limits);
    operator.disconnect();
  });

  test("a key that holds something else is no count, and keeps nobody else from being counted", async () => {
    const { server, limits } = await start();
    const { Redis } = await import("ioredis");
    const operator = new Redis(server.url);
    onTestFinished(() => operator.disconnect());
    const kinds: readonly Limit[] = [
      limited({ name: "log", limit: 3 }),
      limited({ name: "wide", limit: 3000 }),
      limited({ name: "fixed", kind: "fixed", limit: 3 }),
      limited({ name: "bucket", kind: "bucket", limit: 3 }),
      limited({ name: "places", kind: "concurrent", limit: 3, windowMs: 0 }),
    ];
    expect(await asked(limits, ...kinds)).toMatchObject({ code: "ok" });
    const keys = (await operator.keys("portcullis:{limits}:*")).filter((key) => !/probe$|began$/.test(key));
    expect(keys).toHaveLength(kinds.length);
    for (const foreign of ["list", "text"]) {
      await operator.del(...keys);
      for (const key of keys) {
        if (foreign === "list") await operator.rpush(key, "x");
        else await operator.set(key, "x", "EX", 60);
      }
      const call = callOf(kinds);
      expect(await refusalOf(limits, call)).toBeNull();
      release(limits, call);
      expect((await left(limits, ...kinds)).map(({ remaining }) => remaining)).toEqual([2, 2999, 2, 2, 3]);
    }
    const held = callOf([kinds[4] as Limit]);
    expect(await refusalOf(limits, held)).toBeNull();
    const place = keys.find((key) => key.includes("places")) ?? "";
    await operator.set(place, "x");
    const before = limits.status();
    release(limits, held);
    await sleep(200);
    // not even for a moment
    expect(limits.status()).toEqual(before);
  });

  test("looking at what is left does not wait either", async () => {
    const { server, limits } = await start();
    server.pause();
    const begun = performance.now();
    const states = await left(limits, CLOSED, LOCAL);
    expect(performance.now() - begun).toBeLessThan(DECIDED_MS_MAX);
    expect(states.map(({ name, remaining }) => [name, remaining])).toEqual([
      ["closed", 0],
      ["local", LOCAL.limit],
    ]);
  });

  test("a call that a limit refuses because Redis is away is given back to the limits that count here", async () => {
    const { server, limits } = await start();
    await server.stop();
    for (let count = 0; count < 20; count++) await asked(limits, CLOSED, LOCAL);
    const states = await left(limits, LOCAL);
    expect(states[0]?.remaining).toBe(LOCAL.limit);
  });
});

test("where no Redis listens, the gateway starts within a second, prints nothing, and decides as the limits say", async () => {
  const begun = performance.now();
  const printed: unknown[] = [];
  const { error, warn } = console;
  Object.assign(console, {
    error: (...words: unknown[]) => printed.push(words),
    warn: (...words: unknown[]) => printed.push(words),
  });
  onTestFinished(() => void Object.assign(console, { error, warn }));
  const limits = await createLimits({ redisUrl: `redis://127.0.0.1:${await freePort()}` }, realPorts(silent));
  onTestFinished(limits.close);
  expect(performance.now() - begun).toBeLessThan(1500);
  expect(limits.status()).toMatchObject({ away: true });
  expect(await asked(limits, CLOSED)).toMatchObject({ code: "rate_limited" });
  expect(await asked(limits, LOCAL)).toMatchObject({ code: "ok" });
  await sleep(600);
  expect(rejections).toEqual([]);
  expect(printed).toEqual([]);
});

const CLOSED = limited({ name: "closed", limit: 1000 });
const LOCAL = limited({ name: "local", limit: 7, redisDown: "local" });

async function start(): Promise<{ readonly server: RedisServer; readonly limits: Limits }> {
  const server = await redisServer();
  onTestFinished(server.stop);
  const limits = await createLimits({ redisUrl: server.url }, realPorts(silent));
  onTestFinished(limits.close);
  expect(limits.status()).toMatchObject({ away: false });
  return { server, limits };
}

async function heals(limits: Limits): Promise<void> {
  await expect.poll(() => limits.status().away, { timeout: 2000, interval: 20 }).toBe(false);
}

async function left(limits: Limits, ...inForce: readonly Limit[]) {
  const use = { principal: ALICE, tool: TOOL, named: [], cost: null };
  return (await peek(limits, callOf(inForce).snapshot, use)).states;
}

async function asked(limits: Limits, ...inForce: readonly Limit[]) {
  const begun = performance.now();
  const refusal = await refusalOf(limits, callOf(inForce));
  const tookMs = performance.now() - begun;
  return { code: refusal?.code ?? "ok", message: refusal?.message, retryAfterMs: refusal?.detail.retryAfterMs, tookMs };
}
