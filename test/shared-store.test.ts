/**
 * The promise: gateways that name one Redis as their store change as one. What is changed at one of them is in force at the
 * others within a second, in one order; of two changes at once one is refused; and each goes on, and starts, without Redis.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { DatabaseSync } from "node:sqlite";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { TRPCClientError } from "@trpc/client";
import { realPorts, silent } from "../src/ports.ts";
import { dialRedis } from "../src/redis.ts";
import { agreed } from "../src/registry/catalogue.ts";
import { sharedDiscoveries } from "../src/snapshot/shared-discoveries.ts";
import type { Agreed } from "../src/snapshot/shared-discoveries.ts";
import { openLocal } from "../src/snapshot/store.ts";
import { discovered, fixtureServer, keyOf, startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { freePort, lacks, redisServer, run } from "./support/parts.ts";
import type { RedisServer } from "./support/parts.ts";
import { adminOf, startSidecar } from "./support/planes.ts";
import { startRelay } from "./support/relay.ts";
import { echo, keyringEnv, permits, sharedStand, soon, storeCheck } from "./support/shared.ts";
import type { SharedStand } from "./support/shared.ts";
import { wayTo } from "./support/way.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

async function two(): Promise<SharedStand & { readonly one: TestGateway; readonly other: TestGateway }> {
  const stands = await sharedStand();
  const one = await stands.open();
  const other = await stands.open();
  await Promise.all([one, other].map((gateway) => discovered(gateway, "fixture")));
  return { ...stands, one, other };
}

async function refusalOf(asked: Promise<unknown>): Promise<{ readonly code: string; readonly executed: string }> {
  const thrown: unknown = await asked.then(
    () => null,
    (fault: unknown) => fault,
  );
  if (!(thrown instanceof TRPCClientError)) throw new Error("not refused", { cause: thrown });
  return (thrown.data as { portcullis: { code: string; executed: string } }).portcullis;
}

const historyOf = async (gateway: TestGateway) => (await adminOf(gateway).changes.list.query({})).changes;

describe.skipIf(lacks("redis-server"))("gateways that share a store", () => {
  test("serve a key that another of them issued, and refuse it soon after that one revoked it", async () => {
    const { one, other } = await two();
    const { id, text } = await adminOf(one).keys.issue.mutate({ principal: "alice" });
    await soon(async () => (await echo(other, text)) === "ok", "the key is known to the other");
    await adminOf(one).keys.revoke.mutate({ id });
    expect(await echo(one, text)).toBe("unauthenticated");
    await soon(async () => (await echo(other, text)) === "unauthenticated", "the revocation is known to the other");
  });

  test("refuse a key that was revoked elsewhere also while their own disk takes nothing", async () => {
    const { one, other } = await two();
    const { id, text } = await adminOf(one).keys.issue.mutate({ principal: "alice" });
    await soon(async () => (await echo(other, text)) === "ok", "the key is known to the other");
    const backup = new DatabaseSync(join(other.folder, "data/portcullis.db"));
    backup.exec("BEGIN IMMEDIATE");
    await adminOf(one).keys.revoke.mutate({ id });
    await soon(async () => (await echo(other, text)) !== "ok", "the revocation counts at the other");
    expect(await echo(other, text)).toBe("unauthenticated");
    backup.exec("ROLLBACK");
    backup.close();
    await soon(async () => (await historyOf(other)).length === 2, "it is written down too");
  });

  test("put a change of roles in force together with the policy that it needs", async () => {
    const { one, other } = await two();
    expect(await echo(other, keyOf("ada"))).toBe("forbidden");
    await adminOf(one).roles.put.mutate(permits("tester", ["demo:use"]));
    await adminOf(one).principals.put.mutate({ principal: { id: "bea", roles: ["tester"] } });
    const { text } = await adminOf(one).keys.issue.mutate({ principal: "bea" });
    await soon(async () => (await echo(other, text)) === "ok", "the role counts at the other");
    expect(other.gateway.snapshot().policy?.revision).toBe(one.gateway.snapshot().policy?.revision);
    await adminOf(other).roles.put.mutate(permits("tester", ["other:use"]));
    await soon(async () => (await echo(one, text)) === "forbidden", "the role counts for less");
  });

  test("have one history, in one order, whoever changes", async () => {
    const { one, other } = await two();
    for (let turn = 0; turn < 6; turn++)
      await adminOf(turn % 2 === 0 ? one : other).roles.put.mutate(permits(`role-${turn}`, ["demo:use"]));
    await soon(async () => (await historyOf(one)).length === 6 && (await historyOf(other)).length === 6, "six changes");
    expect(await historyOf(one)).toEqual(await historyOf(other));
    expect(one.gateway.snapshot().revision).toBe(other.gateway.snapshot().revision);
    await adminOf(other).changes.rollback.mutate({ to: 1 });
    await soon(() => !one.gateway.snapshot().roles["role-5"], "the roll back is known to the first");
    expect(one.gateway.snapshot().roles["role-0"]).toEqual(["demo:use"]);
  });

  test("refuse, of changes at one moment, all but one with the same expectation, and lose none that was taken", async () => {
    const { one, other } = await two();
    const wishes = Array.from({ length: 12 }, (_, at) =>
      adminOf(at % 2 === 0 ? one : other).roles.put.mutate({ ...permits(`race-${at}`, ["demo:use"]), expect: 0 }),
    );
    const ends = await Promise.allSettled(wishes);
    const made = ends.filter(({ status }) => status === "fulfilled");
    expect(made).toHaveLength(1);
    for (const end of ends.filter((one) => one.status === "rejected"))
      expect((end.reason as { readonly data: unknown }).data).toMatchObject({
        portcullis: { code: "conflict", executed: "no" },
      });
    await soon(async () => (await historyOf(one)).length === 1 && (await historyOf(other)).length === 1, "one change");
  });

  test("go on without Redis, refuse changes at once, and take up again what is changed after it is back", async () => {
    const { redis, one, other } = await two();
    const { text } = await adminOf(one).keys.issue.mutate({ principal: "alice" });
    await soon(async () => (await echo(other, text)) === "ok", "the key is known to the other");
    redis.pause();
    const begun = performance.now();
    expect(await refusalOf(adminOf(one).keys.issue.mutate({ principal: "alice" }))).toMatchObject({
      code: "upstream_unavailable",
      executed: "no",
    });
    expect(performance.now() - begun).toBeLessThan(10_000);
    expect(await echo(one, text)).toBe("ok");
    await soon(async () => (await storeCheck(one)).detail.includes("does not answer"), "doctor says it");
    redis.resume();
    await soon(async () => (await storeCheck(one)).ok && (await storeCheck(other)).ok, "all is well again");
    await adminOf(other).roles.put.mutate(permits("late", ["demo:use"]));
    await soon(() => one.gateway.snapshot().roles["late"] !== undefined, "the change is known to the first");
  });

  test("start without Redis with what they knew last: a revoked key stays revoked", async () => {
    const { redis, open, one, other } = await two();
    const { id, text } = await adminOf(one).keys.issue.mutate({ principal: "alice" });
    await soon(async () => (await echo(other, text)) === "ok", "the key is known to the other");
    await adminOf(one).keys.revoke.mutate({ id });
    await soon(async () => (await echo(other, text)) === "unauthenticated", "the revocation is known to the other");
    await other.stop();
    await redis.stop();
    const again = await open({ folder: other.folder });
    expect(await echo(again, text)).toBe("unauthenticated");
    expect(await echo(again, keyOf("alice"))).toBe("ok");
    expect(await historyOf(again)).toHaveLength(2);
  });

  test("give a Redis that came back empty what it lost", async () => {
    const { redis, one, other } = await two();
    await adminOf(one).roles.put.mutate(permits("kept", ["demo:use"]));
    await soon(async () => (await historyOf(other)).length === 1, "the change is known to the other");
    const client = dialRedis(redis.url, 1000, realPorts(silent).clock);
    onTestFinished(() => client.disconnect());
    await until(() => client.status === "ready", "the client is there");
    await client.flushall();
    await adminOf(other).roles.put.mutate(permits("next", ["demo:use"]));
    await soon(() => one.gateway.snapshot().roles["next"] !== undefined, "the change is known to the first");
    expect((await client.lrange("portcullis:{state}:changes", 0, -1)).length).toBe(2);
    await soon(async () => (await client.hlen("portcullis:{state}:discoveries")) === 1, "the discovery is back");
  });

  test("believe no other history than their own", async () => {
    const { redis, open, one } = await two();
    const { id, text } = await adminOf(one).keys.issue.mutate({ principal: "alice" });
    await adminOf(one).keys.revoke.mutate({ id });
    const client = dialRedis(redis.url, 1000, realPorts(silent).clock);
    onTestFinished(() => client.disconnect());
    await until(() => client.status === "ready", "the client is there");
    const [issued = ""] = await client.lrange("portcullis:{state}:changes", 0, 0);
    await client.multi().lset("portcullis:{state}:changes", 1, issued).exec();
    await soon(async () => (await storeCheck(one)).detail.includes("another history"), "doctor says it");
    expect(await echo(one, text)).toBe("unauthenticated");
    expect(await refusalOf(adminOf(one).keys.issue.mutate({ principal: "alice" }))).toMatchObject({ code: "conflict" });
    await one.stop();
    await expect(open({ folder: one.folder })).rejects.toThrow(/another history/);
  });

  test("start only where something is known: a first start without Redis says so", async () => {
    const { redis, open } = await sharedStand();
    await redis.stop();
    await expect(open()).rejects.toThrow(/does not answer, and nothing of it is known here/);
  }, 60_000);

  test("say in one line why they do not start, and exit with 2", async () => {
    const { redis } = await sharedStand();
    await redis.stop();
    const folder = await mkdtemp(join(tmpdir(), "portcullis-unstarted-"));
    onTestFinished(() => rm(folder, { recursive: true }));
    const file = join(folder, "portcullis.yaml");
    await writeFile(file, `listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nstore: ${redis.url}\n`);
    const words = [join(import.meta.dirname, "../bin/portcullis.js"), "serve", "--config", file];
    const { code, stderr } = await run(process.execPath, words, { env: await keyringEnv() });
    expect(stderr).toMatch(/^the shared store does not answer, and nothing of it is known here: [^\n]*\n$/);
    expect(code).toBe(2);
  }, 60_000);

  test("refuse every call once Redis was not heard for too long, and serve again when it is back", async () => {
    const { redis, open } = await sharedStand();
    const gateway = await open({ config: { control: { maxStaleness: "3s" } } });
    await discovered(gateway, "fixture");
    redis.pause();
    await until(
      async () => (await echo(gateway, keyOf("alice"))) === "policy_unavailable",
      "calls are refused",
      30_000,
    );
    redis.resume();
    await until(async () => (await echo(gateway, keyOf("alice"))) === "ok", "calls are served", 15_000);
  });

  test("decide by the roles that were changed while they refused every call", async () => {
    const { redis, open } = await sharedStand();
    const way = await wayTo(redis.url);
    const one = await open();
    const other = await open({ config: { store: way.url, control: { maxStaleness: "3s" } } });
    await discovered(other, "fixture");
    way.shut();
    await until(async () => (await echo(other, keyOf("alice"))) === "policy_unavailable", "calls are refused", 30_000);
    await adminOf(one).roles.put.mutate(permits("tester", ["demo:use"]));
    way.open();
    await until(async () => (await echo(other, keyOf("alice"))) === "ok", "calls are served", 15_000);
    await soon(() => "tester" in other.gateway.snapshot().roles, "the role is known to the other");
    expect(other.gateway.snapshot().policy?.revision).toBe(one.gateway.snapshot().policy?.revision);
  }, 60_000);

  test("refuse every call from the first moment where what they knew last is too old by then", async () => {
    const { redis, open } = await sharedStand();
    const config = { control: { maxStaleness: "3s" } };
    const before = await open({ config });
    await adminOf(before).roles.put.mutate(permits("kept", ["demo:use"]));
    await before.stop();
    await redis.stop();
    await sleep(3_500);
    const again = await open({ config, folder: before.folder });
    expect(await echo(again, keyOf("alice"))).toBe("policy_unavailable");
  });

  test("go no further than a change that they do not know, put all before it in force, and start again", async () => {
    const { redis, open } = await sharedStand();
    const older = await open();
    await discovered(older, "fixture");
    const { id, text } = await adminOf(older).keys.issue.mutate({ principal: "alice" });
    const client = dialRedis(redis.url, 1000, realPorts(silent).clock);
    onTestFinished(() => client.disconnect());
    await until(() => client.status === "ready", "the client is there");
    const newer = [{ type: "key.revoke", id, at: "then" }, { type: "something.new" }];
    const at = new Date().toISOString();
    const logged = newer.map((change) => JSON.stringify({ at, by: "root", change }));
    await client.rpush("portcullis:{state}:changes", ...logged);
    await soon(async () => (await echo(older, text)) === "unauthenticated", "the revocation is known");
    await soon(async () => (await storeCheck(older)).detail.includes("does not know"), "doctor says it");
    expect(await refusalOf(adminOf(older).keys.issue.mutate({ principal: "alice" }))).toMatchObject({
      code: "conflict",
      executed: "no",
    });
    await older.stop();
    const again = await open({ folder: older.folder });
    expect(await echo(again, text)).toBe("unauthenticated");
    await again.stop();
    await expect(open()).rejects.toThrow(/does not know/);
  }, 60_000);

  test("agree on the definition that was seen first", async () => {
    const { open } = await sharedStand();
    const fixtures = await Promise.all([startFixture(), startFixture()]);
    for (const fixture of fixtures) onTestFinished(fixture.close);
    const [honest, changed] = fixtures;
    changed.define(changed.state.tools.map((tool) => ({ ...tool, description: "Something else." })) as never);
    const one = await open({ config: { servers: [fixtureServer(honest)] } });
    await discovered(one, "fixture");
    await soon(async () => (await echo(one, keyOf("alice"))) === "ok", "it is served");
    await sleep(600);
    const other = await open({ config: { servers: [fixtureServer(changed)] } });
    await discovered(other, "fixture");
    await soon(async () => (await echo(other, keyOf("alice"))) !== "ok", "it is refused at the other");
    expect(await echo(other, keyOf("alice"))).toBe("tool_quarantined");
  });

  test("accept neither of two definitions that were seen first at two of them", async () => {
    const { redis } = await sharedStand();
    const sides = await Promise.all(["one", "other"].map((name) => side(redis, name)));
    for (const { store, discovered: found } of sides) store.save("fixture@1.0.0", found);
    for (let round = 0; round < 3; round++) for (const { store } of sides) await store.sync();
    const known = sides.map(({ local }) => local.discoveries().get("fixture@1.0.0"));
    expect(known[0]).toEqual(known[1]);
    expect(known[0]).toMatchObject({ firstSeen: { echo: "disputed", one: "own", other: "own" } });
  });

  test.each([
    ["no JSON", "garbage"],
    ["a discovery of nothing", JSON.stringify({ at: "9999", discovery: null, firstSeen: {} })],
    ["a tool without a name", JSON.stringify({ at: "9999", discovery: { tools: [{}] }, firstSeen: {} })],
  ])("take %s for no discovery, and put their own in its place", async (_, bad) => {
    const { redis } = await sharedStand();
    const { store, local, client, discovered: found } = await side(redis, "one");
    store.save("fixture@1.0.0", found);
    await store.sync();
    const names = ["fixture@1.0.0", "other@1.0.0"];
    for (const name of names) await client.hset("portcullis:{state}:discoveries", name, bad);
    await client.incr("portcullis:{state}:discovered");
    await store.sync();
    expect([...local.discoveries()]).toEqual([["fixture@1.0.0", found]]);
    expect(await client.hget("portcullis:{state}:discoveries", "fixture@1.0.0")).toBe(JSON.stringify(found));
  });

  test("know what another of them discovered, where they cannot ask themselves", async () => {
    const { open } = await sharedStand();
    const nowhere = { url: `http://127.0.0.1:${await freePort()}/mcp` };
    const blind = await open({ config: { servers: [fixtureServer(nowhere)] } });
    await discovered(await open(), "fixture");
    await soon(() => blind.gateway.snapshot().tools.has("fixture__echo"), "the tool is known to who sees nothing");
    expect(await echo(blind, keyOf("alice"))).toBe("upstream_unavailable");
  });

  test("stand for one another: a sidecar goes from one control plane to the next, and hears what either changes", async () => {
    const { open, redis } = await sharedStand();
    const [one, other] = [await open({ role: "control" }), await open({ role: "control" })];
    await Promise.all([one, other].map((gateway) => discovered(gateway, "fixture")));
    let standing = one;
    const relay = await startRelay(() => standing.admin);
    onTestFinished(relay.close);
    const sidecar = await startSidecar(one, { url: relay.url });
    onTestFinished(sidecar.close);
    const { id, text } = await adminOf(other).keys.issue.mutate({ principal: "alice" });
    await soon(async () => (await echo(sidecar, text)) === "ok", "the key is known to the sidecar");
    await soon(async () => (await sidecarsOf(other)).includes("edge-1 connected"), "the other shows it too");
    const client = dialRedis(redis.url, 1000, realPorts(silent).clock);
    onTestFinished(() => client.disconnect());
    await until(() => client.status === "ready", "the client is there");
    await client.hset("portcullis:{state}:sidecars", { odd: "{", none: "null" });
    for (let look = 0; look < 50; look++) {
      expect(await storeCheck(other)).toMatchObject({ ok: true });
      await sleep(50);
    }
    standing = other;
    await one.stop();
    await adminOf(other).keys.revoke.mutate({ id });
    await until(async () => (await echo(sidecar, text)) !== "ok", "the sidecar follows the other", 15_000);
    expect(await echo(sidecar, text)).toBe("unauthenticated");
  });

  test("are followed from one to the next at once, though one of them was started again", async () => {
    const { open } = await sharedStand();
    const [one, first] = [await open({ role: "control" }), await open({ role: "control" })];
    await Promise.all([one, first].map((gateway) => discovered(gateway, "fixture")));
    let standing = first;
    const relay = await startRelay(() => standing.admin);
    onTestFinished(relay.close);
    const sidecar = await startSidecar(first, { url: relay.url });
    onTestFinished(sidecar.close);
    await first.stop();
    const again = await open({ role: "control", folder: first.folder });
    standing = again;
    const { id, text } = await adminOf(again).keys.issue.mutate({ principal: "alice" });
    await until(async () => (await echo(sidecar, text)) === "ok", "the key is known to the sidecar", 15_000);
    standing = one;
    await again.stop();
    await adminOf(one).keys.revoke.mutate({ id });
    await until(async () => (await echo(sidecar, text)) !== "ok", "the sidecar follows the other", 15_000);
  }, 60_000);

  test("say where Redis would forget what they changed", async () => {
    const { redis, open } = await sharedStand();
    const forgetful = await redisServer();
    onTestFinished(() => forgetful.stop());
    const gateway = await open({ config: { store: forgetful.url, redis: redis.url } });
    expect(await storeCheck(gateway)).toMatchObject({
      ok: false,
      detail: expect.stringContaining("appendonly yes") as unknown,
    });
  });

  test("share one keyring: without it none starts", async () => {
    const { redis } = await sharedStand();
    await expect(startGateway({ store: redis.url })).rejects.toThrow(/PORTCULLIS_KEYRING/);
  });
});

/** A gateway's share in the discoveries, alone. */
async function side(redis: RedisServer, name: string) {
  const folder = await mkdtemp(join(tmpdir(), "portcullis-side-"));
  const local = openLocal(join(folder, "portcullis.db"));
  const client = dialRedis(redis.url, 1000, realPorts(silent).clock);
  onTestFinished(async () => {
    client.disconnect();
    local.close();
    await rm(folder, { recursive: true });
  });
  await until(() => client.status === "ready", "the client is there");
  const store = sharedDiscoveries(client, { local, agreed: agreed as unknown as Agreed, found: () => {} });
  const firstSeen = { echo: `digest of ${name}`, [name]: "own" };
  return {
    store,
    local,
    client,
    discovered: { discovery: { tools: [{ name }] }, at: "2026-01-01T00:00:00.000Z", firstSeen },
  };
}

async function sidecarsOf(gateway: TestGateway): Promise<readonly string[]> {
  const { sidecars } = await adminOf(gateway).sidecars.list.query();
  return sidecars.map(({ name, connected }) => `${name} ${connected ? "connected" : "away"}`);
}
