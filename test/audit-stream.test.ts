/**
 * The promise: with `ack: redis` a record is written when a Redis stream has it, once and in order; what Redis may or may not
 * have is never followed by anything; and a stream that nobody empties ends in refusals, not in a full Redis.
 */
import { Redis } from "ioredis";
import { describe, expect, onTestFinished, test } from "vitest";
import { startDrain } from "../src/audit/drain.ts";
import { createGather } from "../src/audit/gather.ts";
import { GENESIS, linked } from "../src/audit/link.ts";
import { openSpool } from "../src/audit/spool.ts";
import type { Spool, SpoolOptions } from "../src/audit/spool.ts";
import { openStream } from "../src/audit/stream.ts";
import type { Stream, StreamOptions } from "../src/audit/stream.ts";
import { verify } from "../src/audit/verify.ts";
import { realPorts, silent } from "../src/ports.ts";
import { folder, lines, openLine, portsAhead, spoolFiles } from "./audit-parts.ts";
import { startGateway, until } from "./support/gateway.ts";
import { lacks, redisServer } from "./support/parts.ts";
import type { RedisServer } from "./support/parts.ts";

const ports = realPorts(silent);
const CHAIN = `gateway-${"f".repeat(20)}`;
const lineOf = (name: string) =>
  linked(GENESIS, [openLine(name)])
    .bytes.toString("latin1")
    .trimEnd();
const LINES = "portcullis:{audit:pod-1}:*:lines";

type Room = { readonly spool: Spool; readonly stream: Stream; readonly directory: string; readonly client: Redis };

async function redis(): Promise<RedisServer> {
  const server = await redisServer();
  onTestFinished(() => server.stop());
  return server;
}

async function spooling({ url }: RedisServer, more: Partial<StreamOptions & SpoolOptions> = {}): Promise<Room> {
  const directory = await folder();
  const stream = await openStream({ url, writer: "pod-1", commandMs: 300, ...more }, ports);
  const spool = openSpool({ directory, flush: "write", stream, ...more }, ports);
  const client = new Redis(url);
  client.on("error", () => {});
  onTestFinished(async () => {
    await spool.close();
    stream.close();
    client.disconnect();
  });
  return { spool, stream, directory, client };
}

/** Everything that Redis holds, chain by chain. */
async function held(client: Redis): Promise<readonly string[]> {
  const keys = (await client.keys(LINES)).toSorted();
  const entries = await Promise.all(keys.map((key) => client.xrange(key, "-", "+")));
  return entries.map((chain) => chain.map(([, fields]) => fields[3]).join(""));
}

const append = (spool: Spool, names: readonly string[]) =>
  Promise.all(names.map((name) => spool.append(openLine(name))));
const numbers = (count: number, of = "") => Array.from({ length: count }, (_, at) => `${of}${at}`);
const writable = ({ spool }: Room) => until(() => spool.stats().writable, "it can be written", 5_000);

async function gathering({ url }: RedisServer): Promise<string> {
  const directory = await folder();
  const drain = startDrain({ url, keeper: "gateway-1", keep: createGather(directory).keep }, ports);
  onTestFinished(drain.close);
  return directory;
}

describe.skipIf(lacks("redis-server"))("ack: redis", () => {
  test.each(["write", "fsync"] as const)(
    "a line is in Redis, byte for byte, when its promise resolves (%s)",
    async (flush) => {
      const room = await spooling(await redis(), { flush });
      await append(room.spool, numbers(50));
      await append(room.spool, numbers(50, "more "));
      const [text] = await held(room.client);
      expect(text?.split("\n").slice(0, -1)).toEqual(await lines(room.directory));
      expect(await verify(room.directory)).toMatchObject({ ok: true, records: 100, chains: 1 });
    },
  );

  test("what comes while Redis works is one batch", async () => {
    const server = await redis();
    const room = await spooling(server, { commandMs: 2_000 });
    await append(room.spool, ["first"]);
    server.pause();
    const waiting = [append(room.spool, ["second"])];
    await new Promise((next) => setTimeout(next, 50));
    for (const name of numbers(30)) waiting.push(append(room.spool, [name]));
    server.resume();
    await Promise.all(waiting);
    const [key = ""] = await room.client.keys(LINES);
    expect(await room.client.xlen(key)).toBe(3);
  });

  test("a repeated batch is passed over, and one that does not follow is refused", async () => {
    const { stream, client } = await spooling(await redis());
    const at = (sequence: number, hash = String(sequence)) => ({ sequence, hash: hash.padStart(64, "0") });
    const file = `gateway-${"0".repeat(20)}-000001.jsonl`;
    const batch = (from: number, to: number, hash?: string) => ({
      file,
      after: at(from, hash),
      head: at(to),
      text: `${to}\n`,
    });
    await stream.append(batch(0, 3));
    await stream.append(batch(0, 3));
    await stream.append(batch(3, 5));
    for (const wrong of [batch(0, 4), batch(3, 6), batch(6, 7), batch(5, 6, "forged")])
      await expect(stream.append(wrong)).rejects.toThrow("other records");
    expect(await held(client)).toEqual(["3\n5\n"]);
  });

  test("after an answer that did not come, its lines are refused and taken back, and a new chain begins", async () => {
    const server = await redis();
    const room = await spooling(server);
    await append(room.spool, ["before"]);
    server.pause();
    await expect(append(room.spool, ["in doubt"])).rejects.toThrow(/timed? ?out/i);
    expect(room.spool.stats().writable).toBe(false);
    await expect(append(room.spool, ["not sent"])).rejects.toThrow("Redis cannot be written.");
    expect(await lines(room.directory)).toHaveLength(1);
    server.resume();
    await writable(room);
    await append(room.spool, ["after"]);
    expect(await verify(room.directory)).toMatchObject({ ok: true, records: 2, chains: 2 });
    // a Redis that was paused takes what was sent to it when it wakes up: a record too many, in a chain that has ended
    const gathered = `${await gathering(server)}/gathered/pod-1`;
    await until(async () => (await spoolFiles(gathered).catch(() => [])).length === 2, "both chains are gathered");
    expect(await verify(gathered)).toMatchObject({ ok: true, chains: 2 });
    expect((await lines(gathered)).join("\n")).toContain('"after"');
  });

  test("why Redis did not take a batch says nothing of what is in it", async () => {
    const server = await redis();
    const { client, spool } = await spooling(server);
    await spool.append(openLine("first"));
    await client.config("SET", "maxmemory", "1");
    const refusal: unknown = await spool.append(openLine("told nobody")).catch((cause: unknown) => cause);
    expect(refusal).toMatchObject({ message: expect.stringContaining("OOM") as string });
    expect(JSON.stringify(refusal)).not.toContain("told nobody");
  });

  test("a Redis that lost everything is written again, in a new chain", async () => {
    const room = await spooling(await redis());
    await append(room.spool, ["before"]);
    await room.client.flushall();
    await expect(append(room.spool, ["refused"])).rejects.toThrow("other records");
    await writable(room);
    await append(room.spool, ["after"]);
    expect(await held(room.client)).toEqual([expect.stringContaining('"after"')]);
    expect(await room.client.zrange("portcullis:{audit}:writers", "0", "-1")).toEqual(["pod-1"]);
  });

  test("beyond the bound it refuses, for all that nobody gathers; and takes records again once somebody does", async () => {
    const server = await redis();
    const room = await spooling(server, { bytesMax: 20_000 });
    let taken = 0;
    const fill = async () => {
      for (; ; taken++) await append(room.spool, [`${taken}`]);
    };
    await expect(fill()).rejects.toThrow("Nobody gathers");
    expect(taken).toBeGreaterThan(10);
    expect((await held(room.client)).join("").length).toBeLessThanOrEqual(20_000);
    expect(room.stream.status()).toMatchObject({ full: true, gathered: false });
    // one second after the next, Redis says that it is there, and still full
    await until(() => !room.stream.status().away, "Redis is there");
    expect(room.spool.stats().writable).toBe(false);
    await expect(append(room.spool, ["x"])).rejects.toThrow("cannot be written");
    const directory = await gathering(server);
    await writable(room);
    await append(room.spool, ["after"]);
    expect(room.stream.status()).toMatchObject({ full: false, gathered: true });
    const gathered = `${directory}/gathered/pod-1`;
    await until(async () => (await verify(gathered)).records === taken + 1, "all is gathered");
    expect(await verify(gathered)).toMatchObject({ ok: true, elsewhere: [] });
    await until(async () => (await held(room.client)).join("") === "", "and nothing is left in Redis");
    expect(await room.client.hget("portcullis:{audit:pod-1}:usage", "bytes")).toBe("0");
  });

  test.each([
    ["is no record", "no record", CHAIN],
    [
      "has another number than it is kept under",
      lineOf("x").replace('"1"}},{"key":"audit.seq', '"2"}},{"key":"audit.seq'),
      CHAIN,
    ],
    ["holds what the spool never writes", lineOf("caf\u00e9"), CHAIN],
    ["is said to stand in a file of another chain", lineOf("x"), `gateway-${"0".repeat(20)}`],
  ])("a line that %s is left in Redis, said, and keeps back no other chain", async (_, text, chain) => {
    const server = await redis();
    const room = await spooling(server);
    await append(room.spool, ["good"]);
    const keys = "portcullis:{audit:pod-1}";
    await room.client.xadd(`${keys}:${CHAIN}:lines`, "1-0", "file", `${chain}-000001.jsonl`, "lines", `${text}\n`);
    await room.client.zadd(`${keys}:chains`, 1, CHAIN);
    const directory = await folder();
    const drain = startDrain({ url: server.url, keeper: "gateway-1", keep: createGather(directory).keep }, ports);
    onTestFinished(drain.close);
    await until(
      () => drain.status().refused.length > 0 && drain.status().records === 1,
      "one is gathered, one refused",
    );
    expect(drain.status()).toMatchObject({ holds: true, lastError: null, refused: [`${CHAIN} of pod-1`] });
    expect(await held(room.client)).toEqual(expect.arrayContaining([`${text}\n`]));
    expect(await spoolFiles(`${directory}/gathered/pod-1`)).toHaveLength(1);
  });

  test("a process that was stopped for long first says that it is there, or nobody would look for its records", async () => {
    const { ports: ahead, skip } = portsAhead();
    const stream = await openStream({ url: (await redis()).url, writer: "pod-1" }, ahead);
    onTestFinished(stream.close);
    expect(stream.writable()).toBe(true);
    skip(31_000);
    expect(stream.writable()).toBe(false);
    await until(() => stream.writable(), "it said so", 5_000);
  });

  test("an empty chain whose writer gave no sign for ten minutes is forgotten; one that lives is not", async () => {
    const server = await redis();
    const room = await spooling(server);
    await append(room.spool, ["x"]);
    const keys = "portcullis:{audit:pod-0}";
    const chain = `gateway-${"e".repeat(20)}`;
    const ago = Math.floor(ports.clock.nowMs() / 1000) - 601;
    await room.client.zadd("portcullis:{audit}:writers", ago, "pod-0");
    await room.client.zadd(`${keys}:chains`, ago, chain);
    await room.client.hset(`${keys}:${chain}:head`, { sequence: "5", hash: "5" });
    await room.client.hset(`${keys}:usage`, { bytes: "0" });
    await gathering(server);
    await until(async () => (await room.client.keys(`${keys}*`)).length === 0, "it is forgotten");
    await until(async () => (await room.client.zcard("portcullis:{audit}:writers")) === 1, "and its writer");
    expect(await room.client.zcard("portcullis:{audit:pod-1}:chains")).toBe(1);
  });
});

test.skipIf(lacks("redis-server"))("doctor says what is wrong with where the records go, and who gathers", async () => {
  const server = await redis();
  const client = new Redis(server.url);
  onTestFinished(() => client.disconnect());
  const pod = await startGateway({ redis: server.url, audit: { ack: "redis", writer: "pod-1" } });
  onTestFinished(pod.close);
  const checks = async (gateway: typeof pod) =>
    Object.fromEntries((await gateway.gateway.control.health()).map(({ name, ...said }) => [name, said]));
  expect((await checks(pod))["records to redis"]).toEqual({
    ok: false,
    detail: expect.stringMatching(
      /^0 KiB wait to be gathered; nobody gathers: .*; a restart forgets records: set app/,
    ) as string,
  });
  await client.config("SET", "appendonly", "yes");
  const plane = await startGateway({ redis: server.url }, { plane: { role: "control" } });
  onTestFinished(plane.close);
  await until(async () => (await checks(pod))["records to redis"]?.ok === true, "somebody gathers");
  expect((await checks(plane))["records from redis"]).toMatchObject({
    ok: true,
    detail: expect.stringMatching(/^gathered here/),
  });
  expect(await checks(pod)).not.toHaveProperty("records from redis");
  server.pause();
  await until(async () => (await checks(pod))["records to redis"]?.detail.includes("away") === true, "it is away");
  expect((await fetch(`${pod.url}/readyz`)).status).toBe(503);
  server.resume();
  await until(async () => (await fetch(`${pod.url}/readyz`)).status === 200, "it is ready again", 10_000);
});
