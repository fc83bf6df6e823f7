/** A client of MCP 2025-03-26 to 2025-11-25 is served with a sealed session, or with none. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { initialize, modern, notification, rpc, send, setUp } from "./mcp-door-client.ts";
import type { Setup } from "./mcp-door-client.ts";
import { ODD_RESULT, TOOLS } from "./mcp-door-upstream.ts";
import { KEYS } from "./support/gateway.ts";

let it: Setup;
beforeAll(async () => {
  it = await setUp();
});
afterAll(() => it.close());

const echo = (id: unknown = 1, name = "old__echo") => rpc("tools/call", { name, arguments: { a: id } }, id);

test.each([
  ["2025-11-25", "2025-11-25"],
  ["2025-06-18", "2025-06-18"],
  ["2025-03-26", "2025-03-26"],
  ["2024-11-05", "2025-11-25"],
  ["2026-07-28", "2025-11-25"],
  ["nonsense", "2025-11-25"],
])("who asks for %s gets %s", async (wanted, given) => {
  const { answer } = await initialize(it.gateway, { protocol: wanted });
  expect(answer.body.result).toEqual({
    protocolVersion: given,
    capabilities: { tools: {} },
    serverInfo: { name: "portcullis", version: expect.any(String) as string },
  });
});

test("one server's endpoint introduces that server", async () => {
  const { answer } = await initialize(it.gateway, { path: "/mcp/new" });
  expect(answer.body.result).toMatchObject({
    instructions: "Be kind.",
    serverInfo: { name: "raw-server", version: "9.9.9", title: "Raw" },
  });
});

test("a session calls, lists and pings", async () => {
  const { headers } = await initialize(it.gateway);
  expect((await send(it.gateway, { headers, body: notification("notifications/initialized") })).status).toBe(202);
  expect((await send(it.gateway, { headers, body: rpc("ping", undefined, "p") })).body).toEqual({
    jsonrpc: "2.0",
    id: "p",
    result: {},
  });
  const { body } = await send(it.gateway, { headers, body: rpc("tools/list") });
  expect(Object.keys(body.result ?? {})).toEqual(["tools"]);
  expect(body.result?.tools?.find(({ name }) => name === "new__echo")).toEqual({ ...TOOLS[0], name: "new__echo" });
  expect((await send(it.gateway, { headers, body: echo("x") })).body).toEqual({
    jsonrpc: "2.0",
    id: "x",
    result: { content: [{ type: "text", text: '{"a":"x"}' }] },
  });
});

test.each(["new", "old"])(
  "a result of the server %s passes without loss, and without the later revision's resultType",
  async (server) => {
    const { headers } = await initialize(it.gateway);
    expect((await send(it.gateway, { headers, body: echo(1, `${server}__odd`) })).body.result).toEqual(ODD_RESULT);
  },
);

test("a client without a session is served, in the revision that it names or in the oldest", async () => {
  expect(
    (await send(it.gateway, { headers: { "mcp-protocol-version": "2025-06-18" }, body: echo() })).body.result,
  ).toBeDefined();
  expect((await send(it.gateway, { body: echo() })).body.result).toBeDefined();
});

test.each(["2024-11-05", "v999", ""])("the revision %j in the header is refused", async (version) => {
  const { status, body } = await send(it.gateway, { headers: { "mcp-protocol-version": version }, body: echo() });
  expect([status, body.error?.code]).toEqual([400, -32022]);
});

test("a header that names another revision than the session was negotiated for is refused", async () => {
  const { headers } = await initialize(it.gateway, { protocol: "2025-06-18" });
  const { status } = await send(it.gateway, {
    headers: { ...headers, "mcp-protocol-version": "2025-11-25" },
    body: echo(),
  });
  expect(status).toBe(400);
  expect(
    (await send(it.gateway, { headers: { "mcp-session-id": headers["mcp-session-id"] }, body: echo() })).status,
  ).toBe(200);
});

test("a session of another principal, a changed one and none at all are not found, and nothing is called", async () => {
  const { headers } = await initialize(it.gateway);
  const id = headers["mcp-session-id"];
  const before = it.legacy.calls.length;
  const changed = `${id.slice(0, -2)}${id.at(-2) === "A" ? "B" : "A"}${id.slice(-1)}`;
  for (const [key, session] of [
    [KEYS.oscar, id],
    [KEYS.alice, changed],
    [KEYS.alice, "x"],
    [KEYS.alice, ""],
  ] as const) {
    const { status, body } = await send(it.gateway, {
      key,
      headers: { ...headers, "mcp-session-id": session },
      body: echo("q"),
    });
    expect([status, body.id, body.result]).toEqual([404, "q", undefined]);
  }
  expect((await send(it.gateway, { key: null, headers, body: echo() })).status).toBe(401);
  expect(it.legacy.calls.length).toBe(before);
});

test("a session lives a week and no longer", async () => {
  const { gateway } = it.gateway;
  const { headers } = await initialize(it.gateway);
  const clock = gateway.ports.clock as { nowMs: () => number };
  const now = clock.nowMs;
  const day = 24 * 3_600_000;
  try {
    clock.nowMs = () => now() + 6.9 * day;
    expect((await send(it.gateway, { headers, body: echo() })).status).toBe(200);
    clock.nowMs = () => now() + 7.1 * day;
    expect((await send(it.gateway, { headers, body: echo() })).status).toBe(404);
  } finally {
    clock.nowMs = now;
  }
});

test.each(["GET", "DELETE", "PUT"])(
  "%s has no use here: there is nothing to listen to and no session to end",
  async (method) => {
    const { headers } = await initialize(it.gateway);
    const answer = await send(it.gateway, { method, headers });
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, "POST"]);
    expect((await send(it.gateway, { headers, body: echo() })).status).toBe(200);
  },
);

test.each([
  "prompts/list",
  "resources/read",
  "completion/complete",
  "logging/setLevel",
  "tasks/list",
  "server/discover",
  "toString",
])("the method %s is not found", async (method) => {
  const { status, body } = await send(it.gateway, { body: rpc(method, {}, 5) });
  expect([status, body.error?.code, body.id]).toEqual([200, -32601, 5]);
});

test("an answer from the client is accepted, since an old one may believe that it was asked", async () => {
  expect((await send(it.gateway, { body: { jsonrpc: "2.0", id: 1, result: {} } })).status).toBe(202);
});

test("a batch is answered in order, each element decided, limited and recorded on its own", async () => {
  const { headers } = await initialize(it.gateway, { protocol: "2025-03-26" });
  const records = (await it.gateway.records()).length;
  const elements = [
    echo("a"),
    notification("notifications/initialized"),
    rpc("no/such", {}, 2),
    { id: 3 },
    echo(4, "old__secret"),
    rpc("initialize", {}, 5),
    rpc("ping", {}, 6),
    echo("b", "old__none"),
  ];
  const { status, body } = await send(it.gateway, { headers, body: elements });
  const answers = body as unknown as { id?: unknown; result?: Record<string, unknown>; error?: { code: number } }[];
  expect(status).toBe(200);
  expect(answers.map(({ id, error }) => [id, error?.code])).toEqual([
    ["a", undefined],
    [2, -32601],
    [3, -32600],
    [4, undefined],
    [5, -32600],
    [6, undefined],
    ["b", -32602],
  ]);
  expect(answers[3]?.result).toMatchObject({ isError: true, _meta: { "portcullis/refusal": { code: "forbidden" } } });
  const fresh = (await it.gateway.records()).slice(records).map((record) => record["portcullis.record"]);
  expect(fresh).toEqual(["intent", "outcome", "refusal", "refusal", "refusal", "refusal"]);
});

test("a batch of notifications is accepted without a body", async () => {
  const { status, text } = await send(it.gateway, {
    body: [notification("notifications/a"), notification("notifications/b")],
  });
  expect([status, text]).toEqual([202, ""]);
});

test("a batch that is empty, too long, or of a revision without batches is refused whole", async () => {
  const before = it.legacy.calls.length;
  const later = await initialize(it.gateway, { protocol: "2025-06-18" });
  const many = Array.from({ length: 101 }, (_, at) => echo(at));
  for (const sent of [
    { body: [] },
    { body: many },
    { body: [echo()], headers: later.headers },
    { body: [echo()], headers: { "mcp-protocol-version": "2025-11-25" } },
  ]) {
    const { status, body } = await send(it.gateway, sent);
    expect([status, body.error?.code]).toEqual([400, -32600]);
  }
  expect((await send(it.gateway, { key: null, body: [echo()] })).status).toBe(401);
  expect(it.legacy.calls.length).toBe(before);
});

test("a batch is charged element by element", async () => {
  const own = await setUp({ limits: [{ name: "few", always: true, key: ["principal"], limit: 3, window: "60s" }] });
  try {
    const { body } = await send(own.gateway, { body: Array.from({ length: 5 }, (_, at) => echo(at)) });
    const answers = body as unknown as { result: { isError?: boolean; _meta?: Record<string, { code: string }> } }[];
    expect(answers.map(({ result }) => result._meta?.["portcullis/refusal"]?.code)).toEqual([
      undefined,
      undefined,
      undefined,
      "rate_limited",
      "rate_limited",
    ]);
  } finally {
    await own.close();
  }
});

test("an initialize in the later revision's envelope is no handshake", async () => {
  const { status, headers } = await send(it.gateway, modern("initialize", { protocolVersion: "2025-11-25" }));
  expect([status, headers.get("mcp-session-id")]).toEqual([404, null]);
});
