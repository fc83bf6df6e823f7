/** The URL of a Redis Cluster names several of its nodes: any of them will do, whichever are down; a wrong URL is told what is wrong. */
import { expect, describe, onTestFinished, test } from "vitest";
import { maskedConfig } from "../src/config-mask.ts";
import { createLimits } from "../src/limits/limit.ts";
import type { Limits } from "../src/limits/limit.ts";
import type { Limit } from "../src/model.ts";
import { realPorts, silent } from "../src/ports.ts";
import { dialRedis } from "../src/redis.ts";
import { nodesOf, redisUrlFault } from "../src/redis-url.ts";
import { signed, sinksTo } from "./audit-sink-parts.ts";
import { problems, read } from "./config-text.ts";
import { redisCluster } from "./support/cluster.ts";
import { startGateway } from "./support/gateway.ts";
import { callOf, limited, refusalOf } from "./support/limits.ts";
import { isThere } from "./support/limits-redis.ts";
import { freePort, lacks } from "./support/parts.ts";
import { adminOf } from "./support/planes.ts";
import { keyringEnv } from "./support/shared.ts";

const BACK_MS_MAX = 20_000;
const TEN = limited({ name: "ten", limit: 10 });

describe.skipIf(lacks("redis-server"))("a gateway whose redis+cluster:// URL names several nodes", () => {
  test("starts, counts and takes changes though the first of them is down", async () => {
    const cluster = await redisCluster();
    onTestFinished(cluster.stop);
    const url = urlOf([await freePort(), ...cluster.nodes.slice(1).map(({ port }) => port)]);
    const limits = await open(url);
    await isThere(limits);
    expect(await codes(limits, 12, TEN)).toEqual([...Array(10).fill("ok"), ...Array(2).fill("rate_limited")]);
    const gateway = await startGateway({ store: url }, { env: await keyringEnv() });
    onTestFinished(() => gateway.close());
    await adminOf(gateway).keys.issue.mutate({ principal: "alice" });
  });

  test("has its checkpoints there, under the names of all", async () => {
    const cluster = await redisCluster();
    onTestFinished(cluster.stop);
    const named = [await freePort(), ...cluster.nodes.slice(1).map(({ port }) => port)];
    const sinks = await sinksTo({ redis: urlOf(named) });
    sinks.publish(signed(7));
    await expect.poll(() => sinks.status()[0], { timeout: BACK_MS_MAX, interval: 20 }).toMatchObject({ size: 7 });
    expect(sinks.status()[0]?.target).toBe(`redis ${named.map((port) => `127.0.0.1:${port}`).join(",")}`);
  });

  test("lets no command wait while none of them is up", async () => {
    const client = dialRedis(urlOf([await freePort(), await freePort()]), 5000, realPorts(silent).clock);
    onTestFinished(() => client.disconnect());
    await expect(client.get("a")).rejects.toThrow("away");
  });

  test("counts as soon as they are up, at the start and after all of them were lost", async () => {
    const ports = [await freePort(), await freePort(), await freePort()];
    const limits = await open(urlOf(ports));
    expect(limits.status().away).toBe(true);
    for (let time = 0; time < 2; time++) {
      const cluster = await redisCluster({ ports });
      onTestFinished(cluster.stop);
      await isThere(limits);
      expect(await codes(limits, 3, TEN)).toEqual(Array(3).fill("ok"));
      await cluster.stop();
      await expect.poll(() => limits.status().away, { interval: 20 }).toBe(true);
      expect(await codes(limits, 1, TEN)).toEqual(["rate_limited"]);
    }
  });
});

describe("the URL of a Redis Cluster", () => {
  test("stands for one URL for each node, each with the user and the password", () => {
    expect(nodesOf("rediss+cluster://u:p%2C@a:6379,b,[::1]:7000")).toEqual([
      "rediss+cluster://u:p%2C@a:6379",
      "rediss+cluster://u:p%2C@b",
      "rediss+cluster://u:p%2C@[::1]:7000",
    ]);
    for (const url of ["redis+cluster://a", "redis+cluster://:p@a:1,b:2/", "redis+cluster://a,b/0", "redis://a/3?x=1"])
      expect(redisUrlFault(url)).toBeNull();
  });

  test("is shown without its secrets", async () => {
    const { config } = await read(
      'redis: "redis+cluster://u:s3cret@a:6379,b:6379"\nstore: "redis+cluster://:s3cret@a,b"\n',
    );
    const shown = maskedConfig(config);
    expect(shown["redis"]).toBe("redis+cluster://***@a:6379,b:6379");
    expect(shown["store"]).toBe("redis+cluster://:***@a,b");
  });

  test.for([
    ["redis://a:6379,b:6379", "several nodes only after redis+cluster://"],
    ["redis://u:s3cret@a:99999", "host:port after redis://"],
    ["redis://u:s3cret@[::1", "host:port after redis://"],
    ["redis://u:pa/s3cret@a:6379", "host:port after redis://"],
    ["redis://u:s3cret%zz@a", "percent-encoded"],
    ["redis+cluster://", "node 1 is not that"],
    ["redis+cluster://a:6379,", "node 2 is not that"],
    ["redis+cluster://a:6379,,c", "node 2 is not that"],
    ["redis+cluster://a:6379, b:6379", "node 2 is not that"],
    ["redis+cluster://a:6379,b:s3cret", "node 2 is not that"],
    ["redis+cluster://a:6379,redis+cluster://b:6379", "node 2 is not that"],
    ["redis+cluster://u:s3cret@a,u:s3cret@b", "once, before the first node"],
    ["redis+cluster://a,u:s3cret@b", "once, before the first node"],
    ["redis+cluster://u:s3cret%zz@a", "percent-encoded"],
    ["redis+cluster://a,b/3", "no database but 0"],
    ["redis+cluster://a,b?s3cret=1", "no options"],
  ] as const)("%s is refused by the check of the file", async ([url, said]) => {
    for (const section of ["redis", "store"]) {
      const told = (await problems(`${section}: "${url}"\n`)).join("\n");
      expect(told).toMatch(/^\/etc\/p.yaml:1: \w+: expected /);
      expect(told).toContain(said);
      expect(told).not.toContain("s3cret");
    }
  });

  test("is checked the same way where checkpoints go", async () => {
    const told = await problems('audit: {checkpoints: {to: [{redis: "redis+cluster://a,b:s3cret"}]}}\n');
    expect(told).toHaveLength(1);
    expect(told[0]).toContain("audit.checkpoints.to[0].redis: expected host:port,host:port");
    expect(told[0]).not.toContain("s3cret");
    for (const url of ["redis://u:s3cret@a:99999", "redis://u:s3cret@a b", "rediss://u:s3cret%zz@a"]) {
      const [said] = await problems(`audit: {checkpoints: {to: [{redis: "${url}"}]}}\n`);
      expect(said).toContain("audit.checkpoints.to[0].redis: expected host:port");
      expect(said).not.toContain("s3cret");
    }
    await read('audit: {checkpoints: {to: [{redis: "redis+cluster://a:6379,b:6379"}]}}\n');
  });
});

function urlOf(ports: readonly number[]): string {
  return `redis+cluster://${ports.map((port) => `127.0.0.1:${port}`).join(",")}`;
}

async function open(redisUrl: string): Promise<Limits> {
  const limits = await createLimits({ redisUrl }, realPorts(silent));
  onTestFinished(limits.close);
  return limits;
}

async function codes(limits: Limits, times: number, limit: Limit): Promise<readonly string[]> {
  const all = [];
  for (let at = 0; at < times; at++) all.push((await refusalOf(limits, callOf([limit])))?.code ?? "ok");
  return all;
}
