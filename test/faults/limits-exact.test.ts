/**
 * Three gateways, one Redis, 64 clients who never wait: a limit is never exceeded, and nobody refused while something is left, by
 * Redis's own account of what passed and when; also when a gateway is killed meanwhile. And what a killed gateway held comes free.
 */
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { post } from "../support/ask.ts";
import { shareCompiled } from "../support/gateway.ts";
import { lacks, redisServer } from "../support/parts.ts";
import type { RedisServer } from "../support/parts.ts";
import { key, portcullis, temporaryFolder } from "../support/portcullis.ts";
import type { Portcullis } from "../support/portcullis.ts";
import { startFixture } from "../support/upstreams/fixture.ts";
import type { Fixture } from "../support/upstreams/fixture.ts";

const CLIENTS = 64;
const WINDOW_MS = 1500;
const WINDOWS = process.env["FULL"] === "1" ? 20 : 3;
const LIMIT = 60;
const LEASE_MS = 10_000;
const alice = key("alice", "alice");
const bob = key("bob", "bob");
const carl = key("carl", "carl");

type Passed = { readonly id: string; readonly at: number };

describe.skipIf(lacks("redis-server"))("three gateways over one Redis", () => {
  let redis: RedisServer;
  let client: Redis;
  let fixture: Fixture;
  let three: readonly Portcullis[];
  const stops: (() => Promise<unknown>)[] = [];
  beforeAll(async () => {
    redis = await redisServer();
    client = new Redis(redis.url);
    fixture = await startFixture();
    three = await start({ name: "exact", key: ["principal"], limit: LIMIT, window: `${WINDOW_MS}ms` });
    // cold, they would not let the limit be reached
    const endMs = performance.now() + 2000;
    await Promise.all(Array.from({ length: CLIENTS }, (_, at) => ask(three, { secret: carl.text, first: at, endMs })));
  });
  afterAll(async () => {
    client.disconnect();
    await Promise.all(stops.map((stop) => stop()));
    await fixture.close();
    await redis.stop();
  });

  const start = async (limit: object): Promise<readonly Portcullis[]> =>
    await Promise.all(
      ["a", "b", "c"].map(async () => {
        const folder = temporaryFolder();
        await shareCompiled(folder);
        const gateway = await portcullis({
          folder,
          config: {
            redis: redis.url,
            roles: { caller: ["demo:use"] },
            principals: [alice, bob, carl].map(({ entry }) => ({ id: entry.principal, roles: ["caller"] })),
            auth: { keys: [alice.entry, bob.entry, carl.entry] },
            servers: [
              {
                name: "fixture",
                instances: [{ http: { url: fixture.url, allowPrivate: true } }],
                permissions: ["demo:use"],
              },
            ],
            limits: [{ always: true, redisDown: "closed", ...limit }],
          },
          tools: { key: alice.text, ids: ["fixture__echo"] },
        });
        stops.push(async () => {
          await gateway.stop();
          await rm(folder, { recursive: true, force: true });
        });
        return gateway;
      }),
    );

  test.for([
    ["all three stay", alice, false],
    ["one is killed in the middle", bob, true],
  ] as const)(
    "never let more pass than the limit in any window, and refuse 99.5 % only while it is used up, when %s",
    async ([, { text, entry }, kill]) => {
      const history = follow(client, `portcullis:{limits}:log|exact|u=${entry.principal}`);
      const endMs = performance.now() + WINDOWS * WINDOW_MS + 500;
      const load = Promise.all(
        Array.from({ length: CLIENTS }, (_, at) => ask(three, { secret: text, first: at, endMs })),
      );
      if (kill) {
        await sleep((WINDOWS * WINDOW_MS) / 2);
        process.kill(three[0]?.pid ?? 0, "SIGKILL");
      }
      const answers = (await load).flat();
      const passed = await history();
      expect(new Set(answers.map(({ code }) => code))).toEqual(new Set(["ok", "rate_limited"]));
      const known = new Set(passed.map(({ id }) => id));
      expect(answers.filter(({ code, id }) => code === "ok" && !known.has(id))).toEqual([]);
      expect(overLimit(passed)).toEqual([]);
      const refused = answers.filter(({ code, detail }) => code === "rate_limited" && detail === "A limit is used up.");
      expect(refused.length).toBeGreaterThan(0);
      expect(refused.filter((one) => !wasFull(passed, one)).length).toBeLessThanOrEqual(0.005 * refused.length);
    },
  );

  test("what a killed gateway held comes free when its lease is over, and what a living one holds does not", async () => {
    const [killed, living, third] = await start({ name: "two", kind: "concurrent", key: ["principal"], limit: 2 });
    if (killed === undefined || living === undefined || third === undefined) throw new Error("Not three.");
    const before = fixture.state.arrivals.length;
    const held = new AbortController();
    for (const { url } of [killed, living])
      void fetch(`${url}/tools/fixture__slow/call`, {
        method: "POST",
        headers: { "x-api-key": bob.text, "content-type": "application/json" },
        body: JSON.stringify({ arguments: { ms: 40_000 } }),
        signal: held.signal,
      }).catch(() => null);
    await expect.poll(() => fixture.state.arrivals.length).toBe(before + 2);
    const begun = performance.now();
    expect((await echo(third.url, bob.text)).code).toBe("rate_limited");
    process.kill(killed.pid, "SIGKILL");
    await sleep(1000);
    expect((await echo(third.url, bob.text)).code).toBe("rate_limited");
    const code = async () => (await echo(third.url, bob.text)).code;
    await expect.poll(code, { timeout: LEASE_MS + 2000, interval: 200 }).toBe("ok");
    // the living one's is held for longer than a lease, by now
    await sleep(Math.max(LEASE_MS + 1500 - (performance.now() - begun), 0));
    const holders = await client.zcount("portcullis:{limits}:places|two|u=bob", String(Date.now() * 1000), "+inf");
    expect(holders).toBe(1);
    held.abort();
    await expect.poll(() => client.zcard("portcullis:{limits}:places|two|u=bob"), { timeout: 2000 }).toBeLessThan(2);
  });
});

/** Everything that Redis ever counted, while it still holds it. Resolves to it in order. */
function follow(client: Redis, name: string): () => Promise<readonly Passed[]> {
  const seen = new Map<string, number>();
  const state = { ended: false };
  const look = async (): Promise<void> => {
    const entries = await client.zrange(name, "0", "-1", "WITHSCORES");
    for (let at = 0; at < entries.length; at += 2) seen.set(entries[at] ?? "", Number(entries[at + 1]));
  };
  const looking = (async () => {
    while (!state.ended) {
      await look();
      await sleep(WINDOW_MS / 10);
    }
  })();
  return async () => {
    state.ended = true;
    await looking;
    await look();
    return [...seen].map(([id, at]) => ({ id, at })).toSorted((one, other) => one.at - other.at);
  };
}

/** `check()` of the article that this project came from, asked about each call that passed. */
function overLimit(passed: readonly Passed[]): readonly Passed[] {
  let timestamps: number[] = [];
  return passed.filter(({ at }) => {
    const recent = timestamps.filter((time) => at - time < WINDOW_MS * 1000);
    timestamps = [...recent, at];
    return recent.length >= LIMIT;
  });
}

/** Whether the limit was used up at any moment while this was asked; Redis and the clients have one clock. */
function wasFull(passed: readonly Passed[], { sentMs, heardMs }: Answer): boolean {
  return passed.some(({ at }, index) => {
    const last = passed[index + LIMIT - 1];
    // full from the last of so many until the first of them is over; a wait is told in whole milliseconds
    return last !== undefined && last.at / 1000 <= heardMs && at / 1000 + WINDOW_MS >= sentMs - 2;
  });
}

type Answer = {
  readonly code: string;
  readonly detail: string;
  readonly id: string;
  /** Unix epoch, milliseconds. */
  readonly sentMs: number;
  readonly heardMs: number;
};

async function echo(url: string, secret: string): Promise<Answer> {
  const sentMs = Date.now();
  const { response, json } = await post(`${url}/tools/fixture__echo/call`, secret, { arguments: { text: "x" } });
  const id = response.headers.get("portcullis-call-id") ?? "";
  return { code: response.ok ? "ok" : json.code, detail: json.detail, id, sentMs, heardMs: Date.now() };
}

/** One client after the other's way: where a gateway is gone, it goes to the next. */
async function ask(
  gateways: readonly Portcullis[],
  { secret, first, endMs }: { readonly secret: string; readonly first: number; readonly endMs: number },
): Promise<readonly Answer[]> {
  const answers: Answer[] = [];
  let at = first;
  while (performance.now() < endMs) {
    const answer = await echo(gateways[at % gateways.length]?.url ?? "", secret).catch(() => null);
    if (answer === null) at++;
    else answers.push(answer);
    if (answer?.code !== "ok") await sleep(20);
  }
  return answers;
}
