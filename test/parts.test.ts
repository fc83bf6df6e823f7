/** Do the real parts start, answer, hang and end as a test asks? What else rests on them is tested where it lives. */
import { createConnection } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { freePort, lacks, redisServer, rotel } from "./support/parts.ts";

describe.skipIf(lacks("redis-server"))("a Redis of the test's own", () => {
  test("answers, hangs while it is paused, answers again, and is gone after stop", async () => {
    const redis = await redisServer();
    expect(await ping(redis.port)).toBe("+PONG");
    redis.pause();
    expect(await ping(redis.port)).toBe("silence");
    redis.resume();
    expect(await ping(redis.port)).toBe("+PONG");
    await redis.stop();
    expect(await ping(redis.port)).toBe("refused");
  });

  test("comes back on the port it had", async () => {
    const port = await freePort();
    for (const _ of ["first", "second"]) {
      const redis = await redisServer({ port });
      expect(await ping(port)).toBe("+PONG");
      await redis.stop();
    }
  });
});

test.skipIf(lacks("rotel"))("the collector prints the attributes of a span that it receives", async () => {
  const collector = await rotel();
  const attributes = [{ key: "gen_ai.tool.name", value: { stringValue: "read_file" } }];
  const span = {
    traceId: "5b8efff798038103d269b633813fc60c",
    spanId: "eee19b7ec3c1b174",
    name: "tools/call",
    kind: 3,
    attributes,
  };
  const times = { startTimeUnixNano: "1763800000000000000", endTimeUnixNano: "1763800000001000000" };
  const body = JSON.stringify({ resourceSpans: [{ scopeSpans: [{ spans: [{ ...span, ...times }] }] }] });
  const answer = await fetch(`${collector.url}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
  });
  expect(answer.status).toBe(200);
  await expect.poll(() => collector.output(), { timeout: 5_000 }).toMatch(/gen_ai\.tool\.name.*read_file/);
  await collector.stop();
});

async function ping(port: number): Promise<string> {
  return await new Promise((settle) => {
    const socket = createConnection({ host: "127.0.0.1", port });
    const done = (answer: string) => {
      socket.destroy();
      settle(answer);
    };
    socket.once("error", () => done("refused"));
    socket.once("connect", () => socket.write("PING\r\n"));
    socket.once("data", (bytes) => done(bytes.toString().trim()));
    void sleep(300).then(() => done("silence"));
  });
}
