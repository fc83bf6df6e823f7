/** A job for one: at most one gateway holds its lease. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { holdLease } from "../src/lease.ts";
import type { Lease } from "../src/lease.ts";
import { realPorts, silent } from "../src/ports.ts";
import { dialRedis } from "../src/redis.ts";
import type { RedisClient } from "../src/redis.ts";
import { lacks, redisServer } from "./support/parts.ts";

const TTL_MS = 300;
const ports = realPorts(silent);

describe.skipIf(lacks("redis-server"))("a lease", () => {
  test("is one gateway's at a time, and passes on when it is given back", async () => {
    const { hold } = await redis();
    const leases = [hold(), hold(), hold()];
    const first = await holderOf(leases);
    expect(leases.filter((one) => one.held())).toEqual([first]);
    await first.close();
    expect(first.held()).toBe(false);
    expect(await holderOf(leases)).not.toBe(first);
  });

  test("is kept for as long as it is renewed", async () => {
    const { hold } = await redis();
    const lease = hold();
    await holderOf([lease]);
    const other = hold();
    for (let ms = 0; ms < TTL_MS * 3; ms += 20) {
      await sleep(20);
      expect(other.held()).toBe(false);
    }
    expect(lease.held()).toBe(true);
  });

  test("passes on after the end of a holder that said nothing", async () => {
    const { client, hold, stop } = await redis();
    const dead = holdLease(client(), { job: "dig", ttlMs: TTL_MS }, ports);
    await holderOf([dead]);
    const next = hold();
    stop();
    await holderOf([next]);
    expect(dead.held()).toBe(false);
  });

  test("is nobody's, as far as its holder can say, once Redis says no more", async () => {
    const { server, hold } = await redis();
    const lease = hold();
    await holderOf([lease]);
    server.pause();
    await sleep(TTL_MS * 2);
    expect(lease.held()).toBe(false);
    server.resume();
    await holderOf([lease]);
  });
});

async function redis() {
  const server = await redisServer();
  onTestFinished(() => server.stop());
  const clients: RedisClient[] = [];
  const client = (): RedisClient => {
    const one = dialRedis(server.url, 200, ports.clock);
    clients.push(one);
    onTestFinished(() => one.disconnect());
    return one;
  };
  const hold = (): Lease => {
    const lease = holdLease(client(), { job: "dig", ttlMs: TTL_MS }, ports);
    onTestFinished(() => lease.close());
    return lease;
  };
  return { server, client, hold, stop: () => clients[0]?.disconnect() };
}

async function holderOf(leases: readonly Lease[]): Promise<Lease> {
  const holder = (): Lease | undefined => leases.find((one) => one.held());
  await expect.poll(holder, { timeout: 5000 }).toBeDefined();
  return holder() as Lease;
}
