/**
 * The promise: what stands in the shared log is in force at every gateway, in its order and once, whatever goes wrong on the
 * way; of what cannot be kept, or says nothing to this version, nothing is lost or half done; and `executed` is true.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { checkConfig } from "../src/config-check.ts";
import { configSchema } from "../src/config.ts";
import { createInForce } from "../src/inforce.ts";
import type { Key } from "../src/model.ts";
import { realPorts, silent } from "../src/ports.ts";
import { dialRedis } from "../src/redis.ts";
import type { RedisClient } from "../src/redis.ts";
import { apply, applyAll, isChange, NO_CHANGES } from "../src/registry/changes.ts";
import type { Change } from "../src/registry/changes.ts";
import { createSharedLog } from "../src/snapshot/shared-log.ts";
import { aloneWith, openLocal } from "../src/snapshot/store.ts";
import type { Entry, Logged } from "../src/snapshot/store.ts";
import { until } from "./support/gateway.ts";
import { lacks, redisServer } from "./support/parts.ts";
import { wayTo } from "./support/way.ts";

const ports = realPorts(silent);
const LOG = "portcullis:{state}:changes";
const COMMAND_MS = 1_000;
const key: Key = {
  id: "k1",
  principal: "alice",
  kind: "user",
  onBehalfOf: null,
  hash: "sha256:00",
  origin: "issued",
  createdAt: "2026-01-01T00:00:00.000Z",
  revokedAt: null,
};

const entry = (by: string, change: object = { type: "key.revoke", id: by, at: "then" }): Entry => ({
  at: "2026-01-01T00:00:00.000Z",
  by,
  change: change as Entry["change"],
});
const texts = (...names: readonly string[]) => names.map((name) => JSON.stringify(entry(name)));

async function temporary(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "portcullis-log-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  return join(folder, "portcullis.db");
}

async function dialled(url: string): Promise<RedisClient> {
  const client = dialRedis(url, COMMAND_MS, ports.clock);
  onTestFinished(() => client.disconnect());
  await until(() => client.status === "ready", "the client is there");
  return client;
}

/** One gateway's share in the log; `by` of the changes that it was told, in order. */
async function side(url?: string, known: readonly Entry[] = []) {
  const redis = url === undefined ? await redisServer() : null;
  onTestFinished(async () => redis?.stop());
  const file = await temporary();
  const local = openLocal(file);
  if (known.length > 0) local.append(known);
  onTestFinished(() => local.close());
  const client = await dialled(url ?? redis?.url ?? "");
  const told: string[] = [];
  const changed = (entries: readonly Logged[]) => void told.push(...entries.map(({ by }) => by));
  const given = { local, commandMs: COMMAND_MS, understood: isChange, heard: () => {}, changed };
  return { file, local, client, told, log: createSharedLog(client, given, ports) };
}

async function inForce() {
  const store = aloneWith(openLocal(await temporary()), realPorts(silent).clock);
  onTestFinished(() => store.close());
  return createInForce({ config: checkConfig(configSchema.parse({})).config, policy: null }, store, ports);
}

describe("what others changed", () => {
  test("revokes a key for good, though what was changed before is put in force after", async () => {
    const { takeKeys, take, snapshot } = await inForce();
    const issued: Logged = { revision: 1, ...entry("a", { type: "key.issue", key }) };
    const revoked: Logged = { revision: 2, ...entry("a", { type: "key.revoke", id: "k1", at: "then" }) };
    takeKeys([issued]);
    takeKeys([revoked]);
    await take([issued]);
    expect(snapshot().keys.get("k1")?.revokedAt).toBe("then");
    await take([issued, revoked]);
    expect(snapshot().keys.get("k1")?.revokedAt).toBe("then");
  });

  test("is not passed over as done where it could not be put in force", async () => {
    const { take, changeRevision } = await inForce();
    const bad: Logged = {
      revision: 1,
      ...entry("a", { type: "entry.put", section: "principals", name: "x", value: null }),
    };
    for (let turn = 0; turn < 2; turn++) await expect(take([bad])).rejects.toThrow(TypeError);
    expect(changeRevision()).toBe(0);
  });

  test("makes of many changes what they make one by one, and leaves the state before alone", () => {
    const changes: readonly Change[] = [
      { type: "key.issue", key },
      { type: "entry.put", section: "roles", name: "one", value: ["a:b"] },
      { type: "key.rotate", key: { ...key, id: "k2" }, revoked: "k1", at: "then" },
      { type: "tool.approve", server: "s", version: "1", tool: "t", digest: "d" },
      { type: "entry.remove", section: "roles", name: "one" },
      { type: "key.revoke", id: "k2", at: "later" },
    ];
    const before = applyAll(NO_CHANGES, changes.slice(0, 2));
    const after = applyAll(before, changes.slice(2));
    expect(after).toEqual(changes.reduce(apply, NO_CHANGES));
    expect(before).toEqual(changes.slice(0, 2).reduce(apply, NO_CHANGES));
    expect(NO_CHANGES.keys.size).toBe(0);
    expect(after.entries.limits).toBe(NO_CHANGES.entries.limits);
  });
});

describe.skipIf(lacks("redis-server"))("a gateway's copy of the shared log", () => {
  test("takes what came at once whole or not at all, and is told all of it once it can be kept", async () => {
    const { file, client, local, told, log } = await side();
    const other = new DatabaseSync(file);
    onTestFinished(() => other.close());
    other.exec("CREATE TRIGGER full BEFORE INSERT ON changes WHEN NEW.by = 'b' BEGIN SELECT RAISE(ABORT, 'full'); END");
    await client.rpush(LOG, ...texts("a", "b", "c"));
    await expect(log.sync()).rejects.toThrow("full");
    expect(local.changes()).toEqual([]);
    other.exec("DROP TRIGGER full");
    await log.sync();
    expect(told).toEqual(["a", "b", "c"]);
    expect(local.changes().map(({ revision, by }) => [revision, by])).toEqual([
      [1, "a"],
      [2, "b"],
      [3, "c"],
    ]);
  });

  test.each([
    ["what is no JSON", "garbage"],
    ["what lacks its parts", JSON.stringify({ at: "then", change: { type: "key.revoke", id: "b", at: "then" } })],
    ["an entry with more parts", JSON.stringify({ ...entry("b"), why: "because" })],
    ["a change of a newer version", JSON.stringify(entry("b", { type: "something.new" }))],
    ["a section of a newer version", JSON.stringify(entry("b", { type: "entry.remove", section: "new", name: "x" }))],
    ["a change without its parts", JSON.stringify(entry("b", { type: "rollback", to: 1, state: null }))],
  ])("ends before %s, and says so", async (_, bad) => {
    const { client, local, told, log } = await side();
    await client.rpush(LOG, ...texts("a"), bad, ...texts("c"));
    for (let turn = 0; turn < 2; turn++) await expect(log.sync()).rejects.toMatchObject({ name: "NotUnderstood" });
    expect(told).toEqual(["a"]);
    expect(local.changes()).toHaveLength(1);
    await expect(log.append(entry("d"), 1)).rejects.toMatchObject({ code: "conflict" });
  });

  test("is none of another history where another gateway gives back more, at the same moment", async () => {
    const { client, told, log } = await side(undefined, [entry("a"), entry("b")]);
    const llen = client.llen.bind(client);
    // after this one saw it empty
    client.llen = async (name) => {
      if ((await llen(name)) === 0) await client.rpush(LOG, ...texts("a", "b", "c"));
      return await llen(name);
    };
    await log.sync();
    expect(told).toEqual(["c"]);
  });

  test("says of no change that it was not made while it still may be", async () => {
    const redis = await redisServer();
    onTestFinished(() => redis.stop());
    const way = await wayTo(redis.url);
    const { log, local } = await side(way.url);
    // a slow look makes Redis's clock seem ahead
    way.delay(850);
    await log.sync();
    way.delay(1_700);
    const end = log.append(entry("a"), 0).then(
      () => "made",
      (fault: { readonly code: string }) => fault.code,
    );
    await sleep(600);
    way.delay(0);
    way.shut();
    await sleep(450);
    way.open();
    const said = await end;
    await sleep(1_500);
    const there = (await (await dialled(redis.url)).llen(LOG)) === 1;
    expect(said).toBe(there ? "made" : "upstream_unavailable");
    expect(local.changes()).toHaveLength(there ? 1 : 0);
  });
});
