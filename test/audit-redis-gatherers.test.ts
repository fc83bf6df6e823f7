/**
 * The promise: of several gateways that gather from one Redis one does it at a time, and where the job passes on, even from one that
 * was stopped and wakes up, no line is lost or stands twice; what each has verifies, and says what of it is with another.
 */
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Redis } from "ioredis";
import { describe, expect, onTestFinished, test } from "vitest";
import { startDrain } from "../src/audit/drain.ts";
import type { Drain } from "../src/audit/drain.ts";
import { createGather } from "../src/audit/gather.ts";
import type { Gather } from "../src/audit/gather.ts";
import { parseSegment } from "../src/audit/segments.ts";
import { openSpool } from "../src/audit/spool.ts";
import { openStream } from "../src/audit/stream.ts";
import { verify } from "../src/audit/verify.ts";
import { realPorts, silent } from "../src/ports.ts";
import { folder, lines, openLine, spoolFiles } from "./audit-parts.ts";
import { portcullis as command } from "./cli-io.ts";
import { post } from "./support/ask.ts";
import { KEYS, startGateway, until } from "./support/gateway.ts";
import { lacks, redisServer } from "./support/parts.ts";
import type { RedisServer } from "./support/parts.ts";
import { portcullis, temporaryFolder } from "./support/portcullis.ts";
import type { Portcullis } from "./support/portcullis.ts";

const ports = realPorts(silent);
const LEASE = "portcullis:{state}:lease:gather";
const GATHERED = "gathered/pod-1";

describe.skipIf(lacks("redis-server"))("gatherers over one Redis", () => {
  test("one that was stopped past its lease and wakes up loses and doubles no line; together they have all", async () => {
    const server = await redis();
    const planes = await Promise.all([plane(server), plane(server)]);
    const pod = await startGateway({ redis: server.url, audit: { ack: "redis", writer: "pod-1" } });
    onTestFinished(pod.close);
    const loading = new AbortController();
    const load = (async () => {
      for (; !loading.signal.aborted; await new Promise((next) => setTimeout(next, 5)))
        await post(`${pod.url}/tools/none__such/call`, KEYS.alice, { arguments: {} });
    })();
    const own = () => lines(join(pod.folder, "data/audit"));
    const at = ({ folder: home }: { readonly folder: string }) => join(home, "data/audit", GATHERED);
    const count = async (home: { readonly folder: string }) => (await lines(at(home)).catch(() => [])).length;

    await until(async () => (await Promise.all(planes.map(count))).some((some) => some > 20), "one gathers");
    const counts = await Promise.all(planes.map(count));
    const [first, second] = counts[0]! > 0 ? planes : planes.toReversed();
    expect(await count(second!)).toBe(0);
    // what it copied before is out of Redis once it copies more
    await until(async () => (await count(first!)) > Math.max(...counts), "it goes on");
    process.kill(first!.pid, "SIGSTOP");
    await until(async () => (await count(second!)) > 20, "the other goes on", 30_000);
    process.kill(first!.pid, "SIGCONT");
    const woken = await count(second!);
    await until(async () => (await count(second!)) > woken, "and keeps the job");
    await second!.stop();
    const before = await count(first!);
    await until(async () => (await count(first!)) > before, "it passes back", 30_000);
    loading.abort();
    await load;

    const all = async () => new Set((await Promise.all(planes.map((one) => lines(at(one))))).flat());
    await until(async () => (await all()).size === (await own()).length, "together they have all");
    expect([...(await all())].toSorted()).toEqual((await own()).toSorted());
    const [mine, theirs] = [await verify(at(first!)), await verify(at(second!))];
    expect(mine).toMatchObject({ ok: true, elsewhere: [{ keeper: await keeperOf(second!) }] });
    expect(theirs).toMatchObject({ ok: true, elsewhere: [{ after: 0, keeper: await keeperOf(first!) }] });
    // what is with the other is there: the numbers meet
    expect(mine.elsewhere[0]!.sequence).toBe(theirs.elsewhere[0]!.sequence + theirs.records);
  }, 120_000);

  test("a gatherer that lost its turn in the middle of a copy takes nothing out that it did not read", async () => {
    const server = await redis();
    const { client, append } = await writer(server);
    await append(5);
    const gate = Promise.withResolvers<void>();
    onTestFinished(() => gate.resolve());
    const one = await gatherer(server, "gateway-a", async () => await gate.promise);
    await until(() => one.asked() > 0, "the first copies");
    const two = await gatherer(server, "gateway-b");
    await until(async () => {
      await client.del(LEASE);
      return two.drain.status().holds;
    }, "the second has the job");
    await append(7);
    await until(async () => (await verify(two.at).catch(() => null))?.records === 12, "the second has all");
    gate.resolve();
    await until(async () => (await lines(one.at).catch(() => [])).length === 5, "the first ends its copy");
    await new Promise((next) => setTimeout(next, 300));
    const [key = ""] = await client.keys("*:head");
    expect(await client.hgetall(key)).toMatchObject({ sequence: "12", kept: "12", keeper: "gateway-b" });
    expect(await client.hget("portcullis:{audit:pod-1}:usage", "bytes")).toBe("0");
    expect(await lines(one.at)).toEqual((await lines(two.at)).slice(0, 5));
  });

  test("make room in a Redis that is full, whoever had the job before", async () => {
    const server = await redis();
    const { client, append } = await writer(server);
    await append(20);
    await client.config("SET", "maxmemory-policy", "noeviction");
    await client.config("SET", "maxmemory", "1");
    await expect(client.set("another", "x")).rejects.toThrow(/OOM/);
    const one = await gatherer(server, "gateway-a");
    await until(async () => (await verify(one.at).catch(() => null))?.records === 20, "all are gathered");
    await until(async () => (await client.hget("portcullis:{audit:pod-1}:usage", "bytes")) === "0", "and taken out");
    await expect.poll(() => one.drain.status()).toMatchObject({ holds: true, records: 20, lastError: null });
  });

  test("gather what one writer wrote though what another did cannot be kept", async () => {
    const server = await redis();
    await (await writer(server)).append(3);
    await (await writer(server, 1_000_000, "pod-2")).append(3);
    const directory = await folder();
    await mkdir(join(directory, "gathered"));
    await writeFile(join(directory, GATHERED), "no folder");
    const one = await gatherer(server, "gateway-a", undefined, directory);
    const other = join(directory, "gathered/pod-2");
    await until(async () => (await verify(other).catch(() => null))?.records === 3, "the other's are gathered");
    await until(() => one.drain.status().lastError === "The records could not be kept.", "it is said");
    await rm(join(directory, GATHERED));
    await until(async () => (await verify(one.at).catch(() => null))?.records === 3, "and the one's, once they can be");
  });

  test("one that comes later, or comes back, begins where the other ended, and verify says where the rest is", async () => {
    const server = await redis();
    const { append } = await writer(server, 1_000);
    const one = await gatherer(server, "gateway-a");
    await append(10);
    await until(async () => (await verify(one.at).catch(() => null))?.records === 10, "the first has all");
    await one.drain.close();
    const two = await gatherer(server, "gateway-b");
    await append(10);
    await until(async () => (await verify(two.at).catch(() => null))?.records === 10, "the second has the rest");
    await two.drain.close();
    const again = await gatherer(server, "gateway-a", undefined, one.directory);
    await append(10);
    await until(async () => (await verify(again.at)).records === 20, "the first goes on");
    expect(await verify(again.at)).toMatchObject({
      ok: true,
      chains: 1,
      elsewhere: [{ after: 10, sequence: 20, keeper: "gateway-b" }],
    });
    expect(await verify(two.at)).toMatchObject({
      ok: true,
      elsewhere: [{ after: 0, sequence: 10, keeper: "gateway-a" }],
    });

    const said = await command(["audit", "verify", one.directory]);
    expect(said).toMatchObject({ code: 0 });
    expect(said.stderr).toMatch(
      /records 11 to 20 of gateway-\w+ are not here: the last is with the gateway of gateway-b/,
    );
    // a gap is passed over only where a note says which line stands before it, and by its hash
    const note = join(two.at, `${(await verify(two.at)).elsewhere[0]!.chain}.gaps`);
    const text = await readFile(note, "utf8");
    await writeFile(note, text.replace(/"hash":"./, '"hash":"x'));
    expect(await verify(two.at)).toMatchObject({ ok: false, firstBad: { reason: "numbered 11, expected 1" } });
    await rm(note);
    expect(await verify(two.at)).toMatchObject({ ok: false, firstBad: { reason: "segment 1 is missing" } });
  });
});

test.skipIf(lacks("redis-server"))("what a gateway gathered itself and lost is missed, whatever it notes", async () => {
  const server = await redis();
  const { append } = await writer(server);
  const directory = await folder();
  const own = openSpool({ directory, flush: "write" }, ports);
  await own.append(openLine("own"));
  const keeper = parseSegment(own.stats().segment)?.chain ?? "";
  await own.close();
  const one = await gatherer(server, keeper, undefined, directory);
  await append(10);
  await until(async () => (await verify(one.at).catch(() => null))?.records === 10, "it has all");
  await one.drain.close();
  const [file = ""] = await spoolFiles(one.at);
  await writeFile(join(one.at, file), `${(await lines(one.at)).slice(0, 7).join("\n")}\n`);
  const again = await gatherer(server, "gateway-later", undefined, directory);
  await append(5);
  await until(async () => (await lines(again.at)).length === 12, "it goes on");
  const said = await command(["audit", "verify", directory]);
  expect(said.code).toBe(1);
  expect(said.stdout).toContain("record 8: numbered 11, expected 8");
});

async function redis(): Promise<RedisServer> {
  const server = await redisServer();
  onTestFinished(() => server.stop());
  return server;
}

async function plane({ url }: RedisServer): Promise<Portcullis> {
  const home = temporaryFolder();
  onTestFinished(() => rm(home, { recursive: true, force: true }));
  const running = await portcullis({ command: ["control"], config: { redis: url }, folder: home });
  onTestFinished(async () => void (await running.stop()));
  return running;
}

/** The chain of the gateway's own trail. */
async function keeperOf({ folder: home }: Portcullis): Promise<string> {
  const [file = ""] = await spoolFiles(join(home, "data/audit"));
  return file.replace(/-\d+\.jsonl$/, "");
}

async function writer({ url }: RedisServer, segmentBytes = 1_000_000, name = "pod-1") {
  const stream = await openStream({ url, writer: name }, ports);
  const spool = openSpool({ directory: await folder(), flush: "write", segmentBytes, stream }, ports);
  const client = new Redis(url);
  onTestFinished(async () => {
    await spool.close();
    stream.close();
    client.disconnect();
  });
  const append = async (count: number) => {
    for (let at = 0; at < count; at++) await spool.append(openLine(`line ${at}`));
  };
  return { client, append };
}

/** `before`: what each copy waits for. */
async function gatherer({ url }: RedisServer, keeper: string, before = async () => {}, given?: string) {
  const directory = given ?? (await folder());
  const gather = createGather(directory);
  let asked = 0;
  const keep: Gather["keep"] = async (...copy) => {
    asked++;
    await before();
    await gather.keep(...copy);
  };
  const drain: Drain = startDrain({ url, keeper, keep }, ports);
  onTestFinished(drain.close);
  return { drain, directory, at: join(directory, GATHERED), asked: () => asked };
}
