/**
 * A gateway whose process is stopped for a moment, again and again, while calls are under way: Redis was there all the time,
 * so it is never taken for away, and no call passes above a limit.
 */
import { rm } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { post } from "../support/ask.ts";
import { shareCompiled } from "../support/gateway.ts";
import { lacks, redisServer } from "../support/parts.ts";
import { key, portcullis, temporaryFolder } from "../support/portcullis.ts";
import type { Portcullis } from "../support/portcullis.ts";
import { startFixture } from "../support/upstreams/fixture.ts";

/** Longer than a command of the limits may take. */
const STOPPED_MS = 160;
const ROUNDS = process.env["FULL"] === "1" ? 10 : 2;
const LIMIT = 20;
/** Of each round: each has the whole of its limit before it. */
const callers = Array.from({ length: ROUNDS }, (_, round) =>
  Array.from({ length: 64 }, (__, at) => key(`r${round}c${at}`, `r${round}c${at}`)),
);

test.skipIf(lacks("redis-server"))("a process that is stopped again and again lets no call too many pass", async () => {
  const redis = await redisServer();
  onTestFinished(redis.stop);
  const gateway = await start(redis.url);
  for (const some of callers) {
    const state = { ended: false };
    const load = Promise.all(some.map(({ text }) => useUp(gateway, text))).finally(() => (state.ended = true));
    for (let at = 0; !state.ended; at++) {
      await sleep(10 + (at % 7) * 5);
      process.kill(gateway.pid, "SIGSTOP");
      await sleep(STOPPED_MS);
      process.kill(gateway.pid, "SIGCONT");
    }
    expect(await load).toEqual(some.map(() => LIMIT));
  }
  expect(gateway.output()).not.toContain("The limit store is away.");
});

/** How many of its calls passed. */
async function useUp({ url }: Portcullis, secret: string): Promise<number> {
  let passed = 0;
  for (let at = 0; at < LIMIT + 10; at++) {
    const { response, json } = await post(`${url}/tools/fixture__echo/call`, secret, { arguments: { text: "x" } });
    if (response.ok) passed++;
    else if (json.code !== "rate_limited") at--;
  }
  return passed;
}

async function start(redis: string): Promise<Portcullis> {
  const fixture = await startFixture();
  onTestFinished(fixture.close);
  const folder = temporaryFolder();
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  await shareCompiled(folder);
  const gateway = await portcullis({
    folder,
    config: {
      redis,
      roles: { caller: ["demo:use"] },
      principals: callers.flat().map(({ entry }) => ({ id: entry.principal, roles: ["caller"] })),
      auth: { keys: callers.flat().map(({ entry }) => entry) },
      servers: [
        { name: "fixture", instances: [{ http: { url: fixture.url, allowPrivate: true } }], permissions: ["demo:use"] },
      ],
      limits: [{ name: "few", always: true, key: ["principal"], limit: LIMIT, window: "60s", redisDown: "local" }],
    },
    tools: { key: callers[0]?.[0]?.text ?? "", ids: ["fixture__echo"] },
  });
  onTestFinished(async () => void (await gateway.stop()));
  return gateway;
}
