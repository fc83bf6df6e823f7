/** A job for one: at most one gateway holds its lease, and what an earlier holder still writes is refused. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { holdLease, IS_HELD, tokenKey } from "../src/lease.ts";
import type { Lease } from "../src/lease.ts";
import { realPorts, silent } from "../src/ports.ts";
import { dialRedis, scriptOn } from "../src/redis.ts";
import type { RedisClient } from "../src/redis.ts";
import { lacks, redisServer } from "./support/parts.ts";

const TTL_MS = 300;
const ports = realPorts(silent);

describe.skipIf(lacks("redis-server"))("a lease", () => {
  test("is one gateway's at a time, and passes on when it is given back", async () => {
    const { hold } = await redis();
    const leases = [hold(), hold(), hold()];
    const first = await holderOf(leases);
    expect(leases.filter((one) => one.token() !== null)).toEqual([first]);
    const before = first.token() as number;
    await first.close();
    expect(first.token()).toBeNull();
    const second = await holderOf(leases);
    expect(second.token()).toBe(before + 1);
  });

  test("keeps its token for as long as it is renewed", async () => {
    const { hold } = await redis();
    const lease = hold();
    const token = (await holderOf([lease])).token();
    await sleep(TTL_MS * 3);
    expect(lease.token()).toBe(token);
  });

  test("passes on after the end of a holder that said nothing", async () => {
    const { client, hold, stop } = await redis();
    const dead = holdLease(client(), { job: "dig", ttlMs: TTL_MS }, ports);
    await holderOf([dead]);
    const next = hold();
    stop();
    expect((await holderOf([next])).token()).toBe(2);
    expect(dead.token()).toBeNull();
  });

  test("is nobody's, as far as its holder can say, once Redis says no more", async () => {
    const { server, hold } = await redis();
    const turns: (number | null)[] = [];
    const lease = hold((token) => turns.push(token));
    await holderOf([lease]);
    server.pause();
    await sleep(TTL_MS * 2);
    expect(lease.token()).toBeNull();
    server.resume();
    await holderOf([lease]);
    await expect.poll(() => turns).toEqual([1, null, 2]);
  });

  test("lets nobody write who held it before", async () => {
    const { client, hold } = await redis();
    const [old, next] = [hold(), hold()];
    const first = await holderOf([old, next]);
    const stale = first.token() as number;
    const writer = client();
    await expect.poll(() => writer.status).toBe("ready");
    const write = scriptOn<string>(writer, "write", `${IS_HELD} return redis.call('set', KEYS[2], ARGV[2])`);
    const keys = [tokenKey("dig"), "portcullis:{state}:dug"];
    expect(await write(keys, [stale, "one"])).toBe("OK");
    await first.close();
    const second = await holderOf([old, next]);
    await expect(write(keys, [stale, "two"])).rejects.toThrow(/FENCED/);
    expect(await write(keys, [second.token() as number, "three"])).toBe("OK");
  });
});

async function redis() {
  const server = await redisServer();
  onTestFinished(() => server.stop());
  const clients: RedisClient[] = [];
  const client = (): RedisClient => {
    const one = dialRedis(server.url, 200);
    clients.push(one);
    onTestFinished(() => one.disconnect());
    return one;
  };
  const hold = (onTurn?: (token: number | null) => void): Lease => {
    const lease = holdLease(client(), { job: "dig", ttlMs: TTL_MS, ...(onTurn && { onTurn }) }, ports);
    onTestFinished(() => lease.close());
    return lease;
  };
  return { server, client, hold, stop: () => clients[0]?.disconnect() };
}

async function holderOf(leases: readonly Lease[]): Promise<Lease> {
  const holder = (): Lease | undefined => leases.find((one) => one.token() !== null);
  await expect.poll(holder, { timeout: 5000 }).toBeDefined();
  return holder() as Lease;
}
