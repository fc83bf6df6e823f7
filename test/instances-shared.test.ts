/**
 * The promise: of gateways that share a store each calls what registered at any of them, within a second; a Redis that is
 * away or that lost its memory costs no instance that is alive, and one that is dead is forgotten by all, in one record.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { realPorts, silent } from "../src/ports.ts";
import { dialRedis } from "../src/redis.ts";
import { openKeyring } from "../src/snapshot/keyring.ts";
import { fixtureServer, startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { freePort, lacks, redisServer } from "./support/parts.ts";
import type { RedisServer } from "./support/parts.ts";
import { adminOf } from "./support/planes.ts";

/** A second is promised; five times that is asserted, since test machines are slow. */
const SOON_MS = 5_000;
const TTL_MS = 2_000;

let env: { readonly PORTCULLIS_KEYRING: string };
beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), "portcullis-keyring-"));
  const file = join(folder, "keyring.json");
  await openKeyring({ file, given: null }, realPorts(silent));
  env = { PORTCULLIS_KEYRING: await readFile(file, "utf8") };
  await rm(folder, { recursive: true });
});

const open: { close: () => Promise<unknown> }[] = [];
let redis: RedisServer;
let one: TestGateway;
let other: TestGateway;
afterEach(async () => {
  for (const part of open.splice(0).toReversed()) await part.close();
});

const ids = ({ gateway }: TestGateway) => gateway.upstreams.status().map(({ id }) => id);
const names = (gateway: TestGateway) =>
  ids(gateway)
    .map((id) => id.split("#")[1])
    .toSorted();
const at = (instance: string, version = "1") => ({ server: "files", version, instance });
const register = (gateway: TestGateway, instance: string, version = "1") =>
  adminOf(gateway).instances.register.mutate({ ...at(instance, version), url: `http://127.0.0.1:9/${instance}` });
const soon = (holds: () => boolean | Promise<boolean>, what: string) => until(holds, what, SOON_MS);
const ends = async (gateway: TestGateway) =>
  (await gateway.records()).filter(
    (record) => record["portcullis.operation"] === "instances/deregister" && record["portcullis.record"] === "outcome",
  ).length;

/** A heartbeat of these at this gateway, until it is stopped. */
function beat(gateway: TestGateway, instances: readonly string[]): { readonly stop: () => void } {
  const timer = setInterval(() => {
    for (const instance of instances) register(gateway, instance).catch(() => undefined);
  }, TTL_MS / 4);
  const stop = (): void => clearInterval(timer);
  open.push({ close: async () => stop() });
  return { stop };
}

describe.skipIf(lacks("redis-server"))("gateways that share a store", () => {
  beforeEach(async () => {
    redis = await redisServer({ port: await freePort(), appendOnly: true });
    open.push({ close: () => redis.stop() });
    const register = { origins: ["http://127.0.0.1:9"], ttl: `${TTL_MS}ms` };
    const own = { name: "files", version: "1", instances: [], default: true };
    const servers = [
      fixtureServer({ url: "" }, { ...own, register }),
      fixtureServer({ url: "" }, { ...own, version: "2", default: false, register: { ...register, ttl: "5m" } }),
    ];
    [one, other] = [
      await startGateway({ store: redis.url, servers }, { env }),
      await startGateway({ store: redis.url, servers }, { env }),
    ];
    open.push(one, other);
  });

  test("call what registered at another, and no more what left there", async () => {
    // of a term that is not over before this test is
    await register(one, "a", "2");
    await register(other, "b");
    const beating = beat(other, ["b"]);
    await soon(() => names(one).join() === "a,b" && names(other).join() === "a,b", "both know both");
    await adminOf(other).instances.deregister.mutate(at("a", "2"));
    expect(names(other)).toEqual(["b"]);
    await soon(() => names(one).join() === "b", "the other knows it is gone");
    await sleep(1_000);
    expect([names(one), names(other), await ends(one), await ends(other)]).toEqual([["b"], ["b"], 0, 1]);
    beating.stop();
  });

  test("forget what is not heard at any of them, and record that once", async () => {
    await register(one, "a");
    await register(one, "b");
    const beating = beat(other, ["b"]);
    await soon(() => names(one).join() === "b" && names(other).join() === "b", "a is forgotten");
    await until(async () => (await ends(one)) + (await ends(other)) === 1, "its end is recorded");
    await sleep(TTL_MS);
    expect([names(one), names(other), (await ends(one)) + (await ends(other))]).toEqual([["b"], ["b"], 1]);
    beating.stop();
  });

  test("keep what they know while Redis is away, and take who registers meanwhile", async () => {
    await Promise.all([register(one, "a"), register(other, "b")]);
    await soon(() => names(one).join() === "a,b" && names(other).join() === "a,b", "both know both");
    const beats = [beat(one, ["a"])];
    redis.pause();
    await sleep(TTL_MS + 500);
    expect([names(one), names(other)]).toEqual([
      ["a", "b"],
      ["a", "b"],
    ]);
    void register(one, "c");
    await soon(() => names(one).join() === "a,b,c", "it is known where it registered");
    beats.push(beat(one, ["c"]));
    redis.resume();
    await soon(() => names(other).includes("c"), "the other learns of it");
    // by Redis's clock its term was over meanwhile, and nobody could have renewed it
    expect([names(one), names(other)]).toEqual([
      ["a", "b", "c"],
      ["a", "b", "c"],
    ]);
    beats.push(beat(other, ["b"]));
    await sleep(TTL_MS + 500);
    expect([names(one).join(), names(other).join()]).toEqual(["a,b,c", "a,b,c"]);
    for (const one of beats) one.stop();
    await until(() => names(one).length === 0 && names(other).length === 0, "all are forgotten in the end");
  });

  test("tell a Redis that lost its memory what it knew, and drop nobody for it", async () => {
    // no heartbeat comes while this test is
    await Promise.all([register(one, "a", "2"), register(other, "b", "2")]);
    await soon(() => names(one).join() === "a,b" && names(other).join() === "a,b", "both know both");
    const client = dialRedis(redis.url, 1000, realPorts(silent).clock);
    await new Promise((ready) => client.once("ready", ready));
    const keys = await client.keys("portcullis:{state}:registered:*");
    expect(keys.toSorted()).toEqual(
      ["epoch", "heard", "instances"].map((name) => `portcullis:{state}:registered:${name}`),
    );
    await client.del(...keys);
    // nor does what is none of ours keep anybody from anything
    await client.set("portcullis:{state}:registered:heard", "x");
    // what nobody said, and what is none, changes nothing
    await client.hset("portcullis:{state}:registered:instances", "x", "{", "y", '{"server": 1}');
    for (let looks = 0; looks < 20; looks++) {
      expect([names(one), names(other)]).toEqual([
        ["a", "b"],
        ["a", "b"],
      ]);
      await sleep(50);
    }
    const there = () => client.hmget("portcullis:{state}:registered:instances", "files@2#a", "files@2#b");
    await soon(async () => (await there()).every((one) => one !== null), "Redis knows again");
    client.disconnect();
  });
});
