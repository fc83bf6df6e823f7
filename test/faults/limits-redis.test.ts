/**
 * Redis in trouble of every kind: each call is decided in time, `closed` refuses, `local` grants its share, nobody who was refused
 * passes for it, and all is normal soon after. Promised are 100 ms, then 2 ms, and 2 s; five times that is asserted.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createLimits } from "../../src/limits/limit.ts";
import type { Limits } from "../../src/limits/limit.ts";
import type { Limit } from "../../src/model.ts";
import { realPorts, silent } from "../../src/ports.ts";
import { callOf, limited, permitOf, refusalOf } from "../support/limits.ts";
import { freePort, lacks, redisServer } from "../support/parts.ts";
import type { RedisServer } from "../support/parts.ts";
import { startWire } from "../support/wire.ts";
import type { Wire } from "../support/wire.ts";

const FIRST_MS_MAX = 500;
const THEN_MS_MAX = 10;
const HEALED_MS_MAX = 10_000;
const ROUNDS = process.env["FULL"] === "1" ? 5 : 2;
const rejections: unknown[] = [];
const note = (reason: unknown): void => void rejections.push(reason);

beforeAll(() => void process.on("unhandledRejection", note).on("uncaughtException", note));
afterAll(() => void process.off("unhandledRejection", note).off("uncaughtException", note));

type Stand = { server: RedisServer; readonly wire: Wire; readonly operator: () => Redis };
type Trouble = { readonly begin: (stand: Stand) => unknown; readonly end: (stand: Stand) => unknown };

const TROUBLES: { readonly [name: string]: Trouble } = {
  "is killed": {
    begin: ({ server }) => server.stop(),
    end: async (stand) => void (stand.server = await redisServer({ port: stand.server.port })),
  },
  hangs: { begin: ({ server }) => server.pause(), end: ({ server }) => server.resume() },
  "is busy": {
    // nothing else is done meanwhile
    begin: async ({ operator }) => {
      await operator().ping();
      void operator().eval(BUSY, 0).catch(note);
    },
    end: () => sleep(1500),
  },
  "is slow": { begin: ({ wire }) => wire.delay(120), end: ({ wire }) => wire.delay(0) },
  "is cut off": { begin: ({ wire }) => wire.delay(Infinity), end: ({ wire }) => wire.delay(0) },
  "has lost the connection without a word": { begin: ({ wire }) => wire.forget(), end: () => {} },
  "is a replica": {
    begin: async ({ operator }) => void (await operator().replicaof("127.0.0.1", await freePort())),
    end: ({ operator }) => operator().replicaof("NO", "ONE"),
  },
  "lacks its replicas": {
    begin: ({ operator }) => operator().config("SET", "min-replicas-to-write", "1"),
    end: ({ operator }) => operator().config("SET", "min-replicas-to-write", "0"),
  },
  "is full": {
    begin: ({ operator }) => operator().config("SET", "maxmemory", "1"),
    end: ({ operator }) => operator().config("SET", "maxmemory", "0"),
  },
};

const BUSY = `
local function now() local time = redis.call('time') return time[1] + time[2] / 1000000 end
local until_then = now() + 1.5
repeat until now() > until_then
`;

const CLOSED = limited({ name: "closed", limit: 900 });
const PLACES = limited({ name: "places", kind: "concurrent", limit: 900, windowMs: 0 });
const HELD = limited({ name: "held", kind: "concurrent", limit: 4, windowMs: 0, redisDown: "local", localShare: 0.5 });
const SHARE = limited({ name: "share", limit: 20, redisDown: "local", localShare: 0.25 });
const USED_UP = limited({ name: "used-up", limit: 3, redisDown: "local" });

describe.skipIf(lacks("redis-server"))("when Redis", () => {
  test.for(Object.keys(TROUBLES))(
    "%s, each call is decided in time, as its limits say, and all is normal after",
    async (name) => {
      const trouble = TROUBLES[name] as Trouble;
      for (let round = 0; round < ROUNDS; round++) {
        const { stand, limits } = await start();
        const [well, again] = [await asked(limits, CLOSED, PLACES), await asked(limits, CLOSED)];
        expect([well.code, again.code]).toEqual(["ok", "ok"]);
        expect(await codes(limits, 5, USED_UP)).toEqual(["ok", "ok", "ok", "rate_limited", "rate_limited"]);
        expect(await codes(limits, 1, HELD)).toEqual(["ok"]);
        await trouble.begin(stand);
        await sleep(20);
        const first = await Promise.all(Array.from({ length: 20 }, () => asked(limits, CLOSED)));
        expect(Math.max(...first.map(({ tookMs }) => tookMs))).toBeLessThan(FIRST_MS_MAX);
        expect(new Set(first.map(({ code }) => code))).toEqual(new Set(["rate_limited"]));
        expect((await asked(limits, PLACES)).code).toBe("rate_limited");
        expect(limits.status().away).toBe(true);
        const then = [];
        for (let at = 0; at < 50; at++) then.push(await asked(limits, SHARE));
        expect(then.toSorted((a, b) => a.tookMs - b.tookMs)[25]?.tookMs).toBeLessThan(THEN_MS_MAX);
        expect(then.filter(({ code }) => code === "ok")).toHaveLength(5);
        expect(await codes(limits, 3, USED_UP)).toEqual(["rate_limited", "rate_limited", "rate_limited"]);
        // of the two that are its share one is held, though Redis granted it
        expect(await codes(limits, 3, HELD)).toEqual(["ok", "rate_limited", "rate_limited"]);
        await trouble.end(stand);
        await expect.poll(() => limits.status().away, { timeout: HEALED_MS_MAX, interval: 10 }).toBe(false);
        await expect.poll(async () => (await asked(limits, CLOSED, PLACES)).code).toBe("ok");
        // what is held, whoever granted it, Redis knows again, even one that had forgotten all
        await expect.poll(() => left(limits, HELD, "places|held|u=alice"), { timeout: 300 }).toBe(2);
        // of what was granted here nothing was added up
        await expect.poll(() => left(limits, SHARE, "log|share|u=alice")).toBe(20);
        expect(await codes(limits, 1, USED_UP)).toEqual(["rate_limited"]);
        await stopped(stand, limits);
      }
      expect(rejections).toEqual([]);
    },
  );
});

async function start(): Promise<{ readonly stand: Stand; readonly limits: Limits }> {
  const server = await redisServer();
  const wire = await startWire(server.port);
  const clients: Redis[] = [];
  const operator = (): Redis => {
    const [known] = clients;
    if (known !== undefined) return known;
    const client = new Redis(stand.server.url);
    client.on("error", () => {});
    clients.push(client);
    return client;
  };
  const stand: Stand = { server, wire, operator };
  const limits = await createLimits({ redisUrl: `redis://127.0.0.1:${wire.port}` }, realPorts(silent));
  onTestFinished(async () => {
    for (const client of clients) client.disconnect();
    await stopped(stand, limits);
  });
  await expect.poll(() => limits.status().away, { timeout: HEALED_MS_MAX }).toBe(false);
  return { stand, limits };
}

async function stopped({ server, wire }: Stand, limits: Limits): Promise<void> {
  limits.close();
  await wire.close().catch(() => {});
  await server.stop();
}

async function left(limits: Limits, limit: Limit, key: string): Promise<number | undefined> {
  const [looked] = await limits.counters.look([{ limit, key }], 1);
  return looked?.state.remaining;
}

async function codes(limits: Limits, times: number, limit: Limit): Promise<readonly string[]> {
  const all = [];
  for (let at = 0; at < times; at++) all.push((await asked(limits, limit)).code);
  return all;
}

async function asked(limits: Limits, ...inForce: readonly Limit[]) {
  const begun = performance.now();
  const refusal = await refusalOf(limits, callOf(inForce), permitOf());
  return { code: refusal?.code ?? "ok", tookMs: performance.now() - begun };
}
