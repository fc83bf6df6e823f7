/**
 * A Redis Cluster over TLS: limits, the store and the records find their node by redirections, whether nodes say their
 * addresses or their names, and a failover; whose authority is not trusted is away. And one Redis over TLS.
 */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { createLimits } from "../src/limits/limit.ts";
import { realPorts, silent } from "../src/ports.ts";
import { dialRedis } from "../src/redis.ts";
import { clusterTls, redisCluster } from "./support/cluster.ts";
import type { RedisCluster } from "./support/cluster.ts";
import { startGateway } from "./support/gateway.ts";
import { limited } from "./support/limits.ts";
import { codesOf, countingOver, isThere } from "./support/limits-redis.ts";
import { lacks, redisServer } from "./support/parts.ts";
import { adminOf } from "./support/planes.ts";
import { keyringEnv } from "./support/shared.ts";

const LIMITS = "portcullis:{limits}:probe";
const STATE = "portcullis:{state}:changes";
const CHAINS = "portcullis:{audit:tls-1}:chains";
const BACK_MS_MAX = 20_000;

describe.skipIf(lacks("redis-server", "openssl")).each([
  { said: "their addresses", announced: null },
  { said: "their names", announced: "localhost" },
])("on a Redis Cluster over TLS whose nodes say $said", ({ announced }) => {
  const folder = mkdtempSync(join(tmpdir(), "portcullis-tls-"));
  const before = getCACertificates("default");
  let cluster: RedisCluster;
  let trust: () => void;
  beforeAll(async () => {
    const tls = clusterTls(folder, announced);
    cluster = await redisCluster({ tls });
    // as NODE_EXTRA_CA_CERTS does at the start of a process
    trust = () => setDefaultCACertificates([...before, tls.ca]);
    trust();
  });
  afterAll(async () => {
    setDefaultCACertificates(before);
    await cluster.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  test("limits count from whichever node the URL names, and after their slot is moved", async () => {
    const all = await Promise.all(cluster.nodes.map((node) => countingOver(cluster.url(node))));
    const ten = limited({ name: "ten", limit: 10 });
    const first = await Promise.all(all.flatMap((limits) => codesOf(limits, 2, ten)));
    expect(first).toEqual(Array(6).fill("ok"));
    const owner = await cluster.ownerOf(LIMITS);
    await cluster.reshard(LIMITS);
    expect(await cluster.ownerOf(LIMITS)).not.toBe(owner);
    await Promise.all(all.map(isThere));
    // on a busy machine the way to the new owner may take longer than a decision may, and is then found by the next
    let allowed = 0;
    const ask = async () => {
      const then = await Promise.all(all.flatMap((limits) => codesOf(limits, 4, ten)));
      return (allowed += then.filter((code) => code === "ok").length);
    };
    await expect.poll(ask, { timeout: BACK_MS_MAX, interval: 200 }).toBeGreaterThanOrEqual(4);
    expect(await ask()).toBe(4);
  });

  test("the first commands to a node wait for its connection", async () => {
    const client = dialRedis(cluster.url(), 1000, realPorts(silent).clock);
    onTestFinished(() => client.disconnect());
    await once(client, "ready");
    const keys = Array.from({ length: 60 }, (_, at) => `first:${at}`);
    expect(await Promise.all(keys.map((key) => client.incr(key)))).toEqual(keys.map(() => 1));
  });

  test("gateways share changes and records", async () => {
    const url = cluster.url(await cluster.otherThan(STATE));
    const config = { store: url, audit: { ack: "redis", writer: "tls-1" } };
    const gateway = await startGateway(config, { env: await keyringEnv() });
    onTestFinished(() => gateway.close());
    await adminOf(gateway).keys.issue.mutate({ principal: "alice" });
    expect(await (await cluster.ownerOf(STATE)).say.llen(STATE)).toBeGreaterThan(0);
    expect(await (await cluster.ownerOf(CHAINS)).say.zcard(CHAINS)).toBe(1);
  });

  test("whose authority is not trusted is away, and a closed limit refuses", async () => {
    setDefaultCACertificates(before);
    onTestFinished(trust);
    const limits = await createLimits({ redisUrl: cluster.url() }, realPorts(silent));
    onTestFinished(limits.close);
    expect(limits.status()).toMatchObject({ away: true });
    expect(await Promise.all(codesOf(limits, 1, limited()))).toEqual(["rate_limited"]);
  });

  test("limits go on after their master is lost and its replica took over", async () => {
    const master = await cluster.ownerOf(LIMITS);
    const replica = await cluster.replicaOf(master);
    const limits = await countingOver(cluster.url(await cluster.otherThan(LIMITS)));
    const ten = limited({ name: "lost", limit: 10 });
    expect(await Promise.all(codesOf(limits, 6, ten))).toEqual(Array(6).fill("ok"));
    await cluster.copied(master, LIMITS);
    process.kill(master.pid, "SIGKILL");
    await expect.poll(async () => (await replica.say.role())[0], { timeout: 40_000 }).toBe("master");
    await isThere(limits);
    expect((await Promise.all(codesOf(limits, 12, ten))).filter((code) => code === "ok")).toHaveLength(4);
  }, 90_000);
});

test.skipIf(lacks("redis-server", "openssl"))("over TLS one Redis counts for all, by rediss://", async () => {
  const folder = mkdtempSync(join(tmpdir(), "portcullis-tls-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const before = getCACertificates("default");
  onTestFinished(() => setDefaultCACertificates(before));
  const tls = clusterTls(folder);
  const server = await redisServer({ tls: tls.args });
  onTestFinished(server.stop);
  setDefaultCACertificates([...before, tls.ca]);
  const all = await Promise.all([countingOver(server.url), countingOver(server.url)]);
  const ten = limited({ name: "ten", limit: 10 });
  const codes = await Promise.all(all.flatMap((limits) => codesOf(limits, 8, ten)));
  expect(codes.filter((code) => code === "ok")).toHaveLength(10);
});
