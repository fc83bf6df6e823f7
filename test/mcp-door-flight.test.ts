/** While a call runs: progress reaches the caller, and only the caller's own word or departure ends it. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { openProgress } from "../src/doors/mcp/use.ts";
import type { Call } from "../src/model.ts";
import { events, initialize, modern, notification, open, rpc, send, setUp } from "./mcp-door-client.ts";
import type { Sent, Setup } from "./mcp-door-client.ts";
import { KEYS, until } from "./support/gateway.ts";

let it: Setup;
beforeAll(async () => {
  it = await setUp({ limits: [{ name: "per-user", always: true, key: ["principal"], limit: 1000, window: "60s" }] });
});
afterAll(() => it.close());
beforeEach(() => {
  it.modern.cancelled.length = 0;
  it.legacy.cancelled.length = 0;
});

const SERVERS = ["new", "old"] as const;
const serverOf = (name: (typeof SERVERS)[number]) => (name === "new" ? it.modern : it.legacy);
const slow = (server: string, ms: number, meta: object = {}) => ({
  name: `${server}__slow`,
  arguments: { ms },
  _meta: meta,
});
/** When the server has begun, since only then is there something to cancel. */
async function begun(server: (typeof SERVERS)[number], before: number): Promise<void> {
  await until(() => serverOf(server).calls.length > before, "the call has arrived");
}

const cells = SERVERS.flatMap((server) => (["modern", "legacy"] as const).map((era) => [era, server] as const));

test.each(cells)(
  "a %s caller of the server %s gets progress under its own token, type and all, then the answer",
  async (era, server) => {
    const { headers } = await initialize(it.gateway);
    for (const token of ["mine", 7, 0]) {
      const params = slow(server, 100, { progressToken: token });
      const sent: Sent =
        era === "modern" ? modern("tools/call", params, "id") : { headers, body: rpc("tools/call", params, "id") };
      const answer = await open(it.gateway, sent);
      expect(answer.headers.get("content-type")).toBe("text/event-stream");
      expect(answer.headers.get("x-accel-buffering")).toBe("no");
      const messages = events(await answer.text());
      const last = messages.pop();
      expect(last).toMatchObject({ id: "id", result: { content: [{ type: "text", text: "done" }] } });
      expect(messages.length).toBeGreaterThan(1);
      for (const { method, params: sent } of messages) {
        expect(method).toBe("notifications/progress");
        expect(sent).toEqual({
          progressToken: token,
          progress: expect.any(Number) as number,
          total: 100,
          message: "on it",
        });
      }
    }
  },
);

test.each(["modern", "legacy"])("the stream of a %s caller opens with the call's id and its limit", async (era) => {
  const params = slow("new", 60, { progressToken: 1 });
  const { headers } = await initialize(it.gateway);
  const sent = era === "modern" ? modern("tools/call", params) : { headers, body: rpc("tools/call", params) };
  const answer = await open(it.gateway, sent);
  expect(answer.headers.get("content-type")).toBe("text/event-stream");
  expect(answer.headers.get("ratelimit")).toMatch(/^"per-user";r=\d+;t=\d+$/);
  expect(answer.headers.get("ratelimit-policy")).toBe('"per-user";q=1000;w=60');
  await answer.text();
  expect((await it.gateway.records()).at(-1)).toMatchObject({
    "portcullis.record": "outcome",
    "portcullis.call.id": answer.headers.get("portcullis-call-id"),
  });
});

test("who gave no token, or takes no event stream, gets plain JSON", async () => {
  const { headers } = await initialize(it.gateway);
  const withToken = slow("new", 60, { progressToken: 1 });
  const plain = { accept: "application/json" };
  for (const sent of [
    modern("tools/call", slow("new", 60)),
    { headers, body: rpc("tools/call", slow("new", 60)) },
    { ...modern("tools/call", withToken), headers: { ...modern("tools/call", withToken).headers, ...plain } },
    { headers: { ...headers, ...plain }, body: rpc("tools/call", withToken) },
  ]) {
    const answer = await send(it.gateway, sent);
    expect(answer.headers.get("content-type")).toBe("application/json");
    expect(answer.body.result?.content).toEqual([{ type: "text", text: "done" }]);
  }
});

test("a call that is refused is answered as JSON, whatever was asked for", async () => {
  const answer = await send(it.gateway, modern("tools/call", { name: "new__secret", _meta: { progressToken: 1 } }));
  expect(answer.headers.get("content-type")).toBe("application/json");
});

test.each(SERVERS)("a modern caller who goes away has cancelled, and the server %s hears of it", async (server) => {
  for (const meta of [{}, { progressToken: 1 }]) {
    const before = serverOf(server).calls.length;
    const gone = new AbortController();
    const answer = open(it.gateway, { ...modern("tools/call", slow(server, 5000, meta)), signal: gone.signal }).then(
      (opened) => opened.text(),
    );
    await begun(server, before);
    gone.abort();
    await expect(answer).rejects.toThrow("aborted");
    await until(() => serverOf(server).cancelled.length === 1, "the server heard");
    serverOf(server).cancelled.length = 0;
  }
  await until(async () => (await it.gateway.records()).at(-1)?.["error.type"] === "cancelled", "the record says so");
});

test.each(SERVERS)(
  "a legacy caller who goes away has not cancelled: the call on %s runs to its end",
  async (server) => {
    const { headers } = await initialize(it.gateway);
    const before = serverOf(server).calls.length;
    const gone = new AbortController();
    const answer = open(it.gateway, { headers, body: rpc("tools/call", slow(server, 200)), signal: gone.signal });
    await begun(server, before);
    gone.abort();
    await expect(answer).rejects.toThrow("aborted");
    await sleep(300);
    expect(serverOf(server).cancelled).toEqual([]);
    await until(
      async () => (await it.gateway.records()).at(-1)?.["portcullis.record"] === "outcome",
      "the outcome is recorded",
    );
  },
);

const cancel = (requestId: unknown) => notification("notifications/cancelled", { requestId, reason: "enough" });

test.each(SERVERS)("a legacy caller cancels its own call on %s by notification", async (server) => {
  const { headers } = await initialize(it.gateway);
  const before = serverOf(server).calls.length;
  const answer = send(it.gateway, { headers, body: rpc("tools/call", slow(server, 5000), 12) });
  await begun(server, before);
  expect((await send(it.gateway, { headers, body: cancel(12) })).status).toBe(202);
  expect((await answer).body).toMatchObject({ id: 12, error: { data: { code: "cancelled" } } });
  await until(() => serverOf(server).cancelled.length === 1, "the server heard");
});

test("a cancelled call with progress ends its stream without an answer", async () => {
  const { headers } = await initialize(it.gateway);
  const before = it.modern.calls.length;
  const answer = open(it.gateway, { headers, body: rpc("tools/call", slow("new", 5000, { progressToken: 1 }), 1) });
  await begun("new", before);
  const opened = await answer;
  await send(it.gateway, { headers, body: cancel(1) });
  expect(events(await opened.text()).every(({ method }) => method === "notifications/progress")).toBe(true);
  await until(() => it.modern.cancelled.length === 1, "the server heard");
});

test("nobody cancels by another session, another principal, no session, or an id of another type", async () => {
  const [mine, other, oscars] = [
    await initialize(it.gateway),
    await initialize(it.gateway),
    await initialize(it.gateway, { key: KEYS.oscar }),
  ];
  const before = it.modern.calls.length;
  const answer = send(it.gateway, { headers: mine.headers, body: rpc("tools/call", slow("new", 400), 1) });
  await begun("new", before);
  await send(it.gateway, { headers: other.headers, body: cancel(1) });
  await send(it.gateway, { headers: mine.headers, body: cancel("1") });
  await send(it.gateway, { body: cancel(1) });
  await send(it.gateway, { key: KEYS.oscar, headers: oscars.headers, body: cancel(1) });
  expect((await send(it.gateway, { key: KEYS.oscar, headers: mine.headers, body: cancel(1) })).status).toBe(404);
  expect((await answer).body.result?.content).toEqual([{ type: "text", text: "done" }]);
  expect(it.modern.cancelled).toEqual([]);
});

test("a finished call is forgotten: its id can be used again and cancelled again", async () => {
  const { headers } = await initialize(it.gateway);
  await send(it.gateway, { headers, body: rpc("tools/call", slow("new", 20), 1) });
  await send(it.gateway, { headers, body: cancel(1) });
  expect((await send(it.gateway, { headers, body: rpc("tools/call", slow("new", 20), 1) })).body.result).toBeDefined();
});

test("progress that comes after the answer is dropped", () => {
  const sent: string[] = [];
  const stream = {
    send: (data: string) => void sent.push(data),
    write: (text: string) => Promise.resolve(void sent.push(text)),
    close: () => void sent.push("closed"),
    closed: () => false,
  };
  const call = { id: "c", limit: null } as Call;
  const progress = openProgress(1, () => stream);
  progress?.onProgress({ progress: 1 }, call);
  expect(progress?.finish("answer")).toBe(true);
  progress?.onProgress({ progress: 2 }, call);
  expect(sent.slice(1)).toEqual(["answer", "closed"]);
  const quiet = openProgress(1, () => {
    throw new Error("opened too late");
  });
  expect(quiet?.finish("answer")).toBe(false);
  quiet?.onProgress({ progress: 1 }, call);
});
