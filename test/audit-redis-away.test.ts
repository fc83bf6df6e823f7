/**
 * The promise: with `ack: redis` and Redis away, calls are refused in time, nothing is executed without its intent in Redis, and all
 * is normal again soon after.
 */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { verify } from "../src/audit/verify.ts";
import { lines } from "./audit-parts.ts";
import { DOORS } from "./support/ask.ts";
import { discovered, fixtureServer, KEYS, startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { lacks, redisServer } from "./support/parts.ts";
import type { RedisServer } from "./support/parts.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

/** A second is what a command has; five times that is asserted, since test machines are slow. */
const REFUSED_MS_MAX = 5_000;
const WORKERS = 8;
const rejections: unknown[] = [];
const note = (reason: unknown): void => void rejections.push(reason);

beforeAll(() => void process.on("unhandledRejection", note).on("uncaughtException", note));
afterAll(() => void process.off("unhandledRejection", note).off("uncaughtException", note));

type Came = { readonly text: string; readonly code: string; readonly executed: string | null; readonly tookMs: number };

async function pod(redis: RedisServer) {
  const fixture = await startFixture();
  onTestFinished(fixture.close);
  const plane = await startGateway({ redis: redis.url }, { plane: { role: "control" } });
  onTestFinished(plane.close);
  const gateway = await startGateway({
    redis: redis.url,
    audit: { ack: "redis", writer: "pod-1" },
    servers: [fixtureServer(fixture, { audit: { arguments: "full" } })],
  });
  onTestFinished(gateway.close);
  await discovered(gateway, "fixture");
  const executed = (): readonly string[] => fixture.state.arrivals.map((arrival) => String(arrival.arguments["text"]));
  return { gateway, executed, gathered: join(plane.folder, "data/audit/gathered/pod-1") };
}

let asked = 0;
async function call(gateway: TestGateway): Promise<Came> {
  const text = `call ${asked++}.`;
  const began = performance.now();
  const { code, executed } = await DOORS["rest"]!(gateway, { key: KEYS.alice, tool: "echo", arguments: { text } });
  return { text, code, executed, tookMs: performance.now() - began };
}

/** Calls, several at a time, until the outage has been felt by each worker. */
function load(gateway: TestGateway): Promise<readonly Came[]> {
  const worker = async () => {
    const came: Came[] = [];
    while (came.at(-1)?.code !== "audit_unavailable") came.push(await call(gateway));
    return came;
  };
  return Promise.all(Array.from({ length: WORKERS }, worker)).then((all) => all.flat());
}

const readyz = async ({ url }: TestGateway) => (await fetch(`${url}/readyz`)).status;

describe.skipIf(lacks("redis-server"))("ack: redis, when Redis", () => {
  test("hangs: what had no intent in Redis is not executed, and what was executed is not denied", async () => {
    const redis = await redisServer();
    onTestFinished(() => redis.stop());
    const { gateway, executed, gathered } = await pod(redis);
    const loaded = load(gateway);
    await until(() => executed().length > 50, "calls pass");
    redis.pause();
    const came = await loaded;
    expect(Math.max(...came.map(({ tookMs }) => tookMs))).toBeLessThan(REFUSED_MS_MAX);
    const ran = new Set(executed());
    for (const one of came.filter(({ code }) => code !== "ok"))
      expect([one.code, one.executed]).toEqual(["audit_unavailable", ran.has(one.text) ? "yes" : "no"]);
    expect(await readyz(gateway)).toBe(503);
    expect(await call(gateway)).toMatchObject({ code: "audit_unavailable", executed: "no" });
    expect(executed()).toHaveLength(ran.size);
    redis.resume();
    await until(async () => (await readyz(gateway)) === 200, "it is ready again", 10_000);
    expect(await call(gateway)).toMatchObject({ code: "ok" });
    // whoever was answered, and whatever was executed, is in what was gathered
    const missing = async () => {
      const all = (await lines(gathered).catch(() => [])).join("\n");
      return executed().filter((text) => !all.includes(text));
    };
    await until(async () => (await missing()).length === 0, "every intent is gathered");
    expect(await verify(gathered)).toMatchObject({ ok: true, chains: 2, elsewhere: [] });
    expect(await verify(join(gateway.folder, "data/audit"))).toMatchObject({ ok: true, chains: 2 });
    expect(rejections).toEqual([]);
  }, 60_000);

  test("is killed: calls are refused at once and executed by nobody, until it is there again, empty as it may be", async () => {
    const redis = await redisServer();
    const { gateway, executed } = await pod(redis);
    const loaded = load(gateway);
    await until(() => executed().length > 50, "calls pass");
    await redis.stop();
    const came = await loaded;
    expect(Math.max(...came.map(({ tookMs }) => tookMs))).toBeLessThan(REFUSED_MS_MAX);
    const before = executed().length;
    for (let at = 0; at < 20; at++)
      expect(await call(gateway)).toMatchObject({ code: "audit_unavailable", executed: "no" });
    expect(executed()).toHaveLength(before);
    expect(await readyz(gateway)).toBe(503);
    const again = await redisServer({ port: redis.port });
    onTestFinished(() => again.stop());
    await until(async () => (await readyz(gateway)) === 200, "it is ready again", 10_000);
    expect(await call(gateway)).toMatchObject({ code: "ok" });
    expect(await verify(join(gateway.folder, "data/audit"))).toMatchObject({ ok: true, chains: 2 });
    expect(rejections).toEqual([]);
  }, 60_000);

  test("is away from the start: the gateway starts, is not ready, and refuses", async () => {
    const redis = await redisServer();
    await redis.stop();
    const { gateway, executed } = await pod(redis);
    expect(await readyz(gateway)).toBe(503);
    expect(await call(gateway)).toMatchObject({ code: "audit_unavailable", executed: "no" });
    const again = await redisServer({ port: redis.port });
    onTestFinished(() => again.stop());
    await until(async () => (await readyz(gateway)) === 200, "it is ready", 10_000);
    expect(await call(gateway)).toMatchObject({ code: "ok" });
    expect(executed()).toHaveLength(1);
  }, 60_000);
});
