/**
 * A Redis Cluster of three masters, by its own scheme: limits, the store and the stream of records are where their keys are,
 * and stay exact when these move or their master is lost. A plain URL of it is named as what it is.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createLimits, release } from "../src/limits/limit.ts";
import { realPorts, silent } from "../src/ports.ts";
import { startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { callOf, limited, refusalOf } from "./support/limits.ts";
import { codesOf, countingOver, isThere } from "./support/limits-redis.ts";
import { lacks } from "./support/parts.ts";
import { redisCluster } from "./support/cluster.ts";
import type { RedisCluster } from "./support/cluster.ts";
import { adminOf } from "./support/planes.ts";
import { keyringEnv } from "./support/shared.ts";

const LIMITS = "portcullis:{limits}:probe";
const STATE = "portcullis:{state}:changes";
const CHECKPOINTS = "portcullis:{audit}:checkpoints";
/** A hundred milliseconds are promised; five times that is asserted, since test machines are slow. */
const DECIDED_MS_MAX = 500;

describe.skipIf(lacks("redis-server"))("on a Redis Cluster", () => {
  let cluster: RedisCluster;
  beforeAll(async () => void (cluster = await redisCluster()));
  afterAll(() => cluster.stop());

  test("limits count from whichever node the URL names, and together", async () => {
    const all = await Promise.all(cluster.nodes.map((node) => countingOver(cluster.url(node))));
    const ten = limited({ name: "ten", limit: 10 });
    const fixed = limited({ name: "fixed", kind: "fixed", limit: 100 });
    const codes = await Promise.all(all.flatMap((limits) => codesOf(limits, 8, ten, fixed)));
    expect(codes.filter((code) => code === "ok")).toHaveLength(10);
    const [examined] = await Promise.all(all.map((limits) => limits.examine()));
    expect(examined).toEqual(["a restart forgets counts: set appendonly yes"]);
  });

  test("limits are exact before and after their slot is moved, and while it is", async () => {
    const limits = await countingOver(cluster.url());
    const twenty = limited({ name: "moved", limit: 20 });
    const three = limited({ name: "held", kind: "concurrent", limit: 3, windowMs: 0 });
    const held = callOf([three]);
    expect(await refusalOf(limits, held)).toBeNull();
    expect(await Promise.all(codesOf(limits, 8, twenty))).toEqual(Array(8).fill("ok"));
    const before = await cluster.ownerOf(LIMITS);
    const asking = (async () => {
      const codes = [];
      for (let at = 0; at < 40; at++) {
        codes.push(...(await Promise.all(codesOf(limits, 1, twenty))));
        await sleep(5);
      }
      return codes;
    })();
    await cluster.reshard(LIMITS);
    expect(await cluster.ownerOf(LIMITS)).not.toBe(before);
    const during = await asking;
    await isThere(limits);
    const after = await Promise.all(codesOf(limits, 20, twenty));
    expect([...during, ...after].filter((code) => code === "ok")).toHaveLength(12);
    expect((await Promise.all(codesOf(limits, 5, three))).filter((code) => code === "ok")).toHaveLength(2);
    release(limits, held);
  });

  test("gateways share changes, limits and records", async () => {
    const url = cluster.url(await cluster.otherThan(STATE));
    const config = {
      store: url,
      audit: { ack: "redis", writer: "cluster-1", checkpoints: { to: [{ redis: url }], interval: "1s" } },
    };
    const env = await keyringEnv();
    const gateway = await startGateway(config, { env });
    onTestFinished(() => gateway.close());
    const plane = await startGateway({ store: url }, { env, plane: { role: "control" } });
    onTestFinished(() => plane.close());
    await adminOf(gateway).keys.issue.mutate({ principal: "alice" });
    const state = await cluster.ownerOf(STATE);
    expect(await state.say.llen(STATE)).toBeGreaterThan(0);
    const records = `portcullis:{audit:cluster-1}:chains`;
    expect(await (await cluster.ownerOf(records)).say.zcard(records)).toBe(1);
    const notes = await cluster.ownerOf(CHECKPOINTS);
    await expect.poll(() => notes.say.xlen(CHECKPOINTS), { timeout: 10_000 }).toBeGreaterThan(0);
    const checks = await checksOf(gateway);
    expect(checks["store"]).toMatch(/^a restart forgets changes/);
    expect(checks["records to redis"]).not.toContain("away");
    await expect
      .poll(async () => (await checksOf(plane))["records from redis"], { timeout: 10_000 })
      .toMatch(/^gathered here, [1-9]/);
  });

  test("a plain URL is named as what it is, by the log and by doctor, and so is a plain store", async () => {
    const plain = async (key: string) => cluster.url(await cluster.otherThan(key)).replace("+cluster", "");
    const logged: string[] = [];
    const log = { ...silent, error: (_: object, message: string) => void logged.push(message) };
    const limits = await createLimits({ redisUrl: await plain(LIMITS) }, { ...realPorts(silent), log });
    onTestFinished(limits.close);
    await sleep(500);
    expect(await limits.examine()).toEqual([expect.stringContaining("redis+cluster://")]);
    expect(logged).toEqual([expect.stringContaining("redis+cluster://")]);
    await expect(startGateway({ store: await plain(STATE) }, { env: await keyringEnv() })).rejects.toThrow(
      "redis+cluster://",
    );
    const records = "portcullis:{audit:pod}:chains";
    const gateway = await startGateway({
      redis: await plain(records),
      audit: { ack: "redis", writer: "pod" },
    });
    onTestFinished(() => gateway.close());
    expect((await checksOf(gateway))["records to redis"]).toContain("redis+cluster://");
    const to = [{ redis: await plain(CHECKPOINTS) }];
    const signing = await startGateway({ audit: { checkpoints: { to, interval: "1s" } } });
    onTestFinished(() => signing.close());
    await adminOf(signing).keys.issue.mutate({ principal: "alice" });
    const place = `checkpoints to redis ${new URL(to[0]?.redis ?? "").host}`;
    const said = async () => (await checksOf(signing))[place];
    await expect.poll(said, { timeout: 10_000 }).toContain("redis+cluster://");
  });

  test("a master that hangs makes nobody wait, and counts again when it wakes up", async () => {
    const master = await cluster.ownerOf(LIMITS);
    const limits = await countingOver(cluster.url());
    const ten = limited({ name: "hung", limit: 10 });
    expect(await Promise.all(codesOf(limits, 2, ten))).toEqual(["ok", "ok"]);
    process.kill(master.pid, "SIGSTOP");
    onTestFinished(() => void process.kill(master.pid, "SIGCONT"));
    const begun = performance.now();
    const codes = await Promise.all(codesOf(limits, 20, ten));
    expect(performance.now() - begun).toBeLessThan(DECIDED_MS_MAX);
    expect(new Set(codes)).toEqual(new Set(["rate_limited"]));
    await sleep(300);
    process.kill(master.pid, "SIGCONT");
    await isThere(limits);
    expect((await Promise.all(codesOf(limits, 12, ten))).filter((code) => code === "ok")).toHaveLength(8);
  });

  test("limits go on, as far as they were counted, after their master is lost and its replica took over", async () => {
    const master = await cluster.ownerOf(LIMITS);
    const replica = await cluster.replicaOf(master);
    const url = cluster.url(await cluster.otherThan(LIMITS));
    const limits = await countingOver(url);
    const ten = limited({ name: "lost", limit: 10 });
    expect(await Promise.all(codesOf(limits, 6, ten))).toEqual(Array(6).fill("ok"));
    await cluster.copied(master, LIMITS);
    process.kill(master.pid, "SIGKILL");
    const refused = await refusalOf(limits, callOf([ten]));
    expect(refused?.code).toBe("rate_limited");
    // an election of the cluster's own, which takes as long as it takes
    await expect.poll(async () => (await replica.say.role())[0], { timeout: 40_000 }).toBe("master");
    await isThere(limits);
    expect((await Promise.all(codesOf(limits, 12, ten))).filter((code) => code === "ok")).toHaveLength(4);
  }, 90_000);
});

async function checksOf({ gateway }: TestGateway): Promise<Record<string, string>> {
  return Object.fromEntries((await gateway.control.health()).map(({ name, detail }) => [name, detail]));
}
