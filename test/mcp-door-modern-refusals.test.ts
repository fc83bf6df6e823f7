/** A request of MCP 2026-07-28 that is not as its specification says is refused in that specification's words. */
import { request } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { ENVELOPE, modern, notification, send, setUp } from "./mcp-door-client.ts";
import type { Rpc, Sent, Setup } from "./mcp-door-client.ts";
import { KEYS } from "./support/gateway.ts";

let it: Setup;
beforeAll(async () => {
  it = await setUp();
});
afterAll(() => it.close());

const VERSION = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES = "io.modelcontextprotocol/clientCapabilities";
const echo = (id: unknown = 1) => modern("tools/call", { name: "new__echo", arguments: { a: 1 } }, id);

const changed = (
  change: (sent: { headers: Record<string, string | null>; body: { params: Record<string, unknown> } }) => void,
) => {
  const sent = structuredClone(echo());
  change(sent);
  return sent;
};
const withMeta = (meta: object | undefined) =>
  changed(({ body }) => void (meta === undefined ? delete body.params["_meta"] : (body.params["_meta"] = meta)));
const withHeaders = (headers: Record<string, string | null>) =>
  changed((sent) => void Object.assign(sent.headers, headers));

test.each<[string, Sent, number, number]>([
  ["Mcp-Method is missing", withHeaders({ "mcp-method": null }), 400, -32020],
  ["Mcp-Method differs", withHeaders({ "mcp-method": "tools/list" }), 400, -32020],
  ["Mcp-Name is missing", withHeaders({ "mcp-name": null }), 400, -32020],
  ["Mcp-Name differs", withHeaders({ "mcp-name": "new__secret" }), 400, -32020],
  ["MCP-Protocol-Version is missing", withHeaders({ "mcp-protocol-version": null }), 400, -32020],
  [
    "MCP-Protocol-Version names an older revision than the envelope",
    withHeaders({ "mcp-protocol-version": "2025-11-25" }),
    400,
    -32020,
  ],
  [
    "the envelope names another revision than MCP-Protocol-Version",
    withMeta({ ...ENVELOPE, [VERSION]: "v999" }),
    400,
    -32020,
  ],
  ["there is no envelope", withMeta(undefined), 400, -32602],
  ["the envelope names no revision", withMeta({ [CAPABILITIES]: {} }), 400, -32602],
  ["the envelope has no capabilities", withMeta({ [VERSION]: "2026-07-28" }), 400, -32602],
  ["the capabilities are no object", withMeta({ ...ENVELOPE, [CAPABILITIES]: [] }), 400, -32602],
])("a call is refused, recorded and not made where %s", async (_, sent, status, code) => {
  const before = it.modern.calls.length;
  const records = (await it.gateway.records()).length;
  const answer = await send(it.gateway, sent);
  expect([answer.status, answer.body.error?.code, answer.body.id]).toEqual([status, code, 1]);
  expect(it.modern.calls.length).toBe(before);
  const fresh = (await it.gateway.records()).slice(records);
  expect(fresh).toEqual([
    expect.objectContaining({ "portcullis.record": "refusal", "portcullis.principal.id": "alice" }),
  ]);
});

test("an unknown revision is refused with the list of the known ones", async () => {
  const sent = changed(({ headers, body }) => {
    headers["mcp-protocol-version"] = "v999.0.0";
    body.params["_meta"] = { ...ENVELOPE, [VERSION]: "v999.0.0" };
  });
  const { status, body } = await send(it.gateway, sent);
  expect([status, body.error]).toEqual([
    400,
    { code: -32022, message: expect.any(String) as string, data: { supported: ["2026-07-28"], requested: "v999.0.0" } },
  ]);
});

test.each([
  "initialize",
  "ping",
  "logging/setLevel",
  "resources/subscribe",
  "resources/unsubscribe",
  "prompts/list",
  "subscriptions/listen",
  "no/such",
  "constructor",
  "__proto__",
])("the method %s is not found", async (method) => {
  const { status, body } = await send(it.gateway, modern(method, {}, "q"));
  expect([status, body.error?.code, body.id]).toEqual([404, -32601, "q"]);
});

test("who only lacks clientInfo, or looks for a name with spaces round it, is served", async () => {
  const { "io.modelcontextprotocol/clientInfo": _, ...meta } = ENVELOPE;
  expect((await send(it.gateway, withMeta(meta))).status).toBe(200);
  expect(
    await raw(
      { ...(echo().headers as Record<string, string>), "Mcp-Name": "  new__echo \t" },
      JSON.stringify(echo().body),
    ),
  ).toMatchObject({ status: 200 });
});

test("a header that must occur once and occurs twice is refused, even if the two agree", async () => {
  const headers = { ...(echo().headers as Record<string, string>), "Mcp-Name": ["new__echo", "new__echo"] };
  delete (headers as Record<string, unknown>)["mcp-name"];
  const before = it.modern.calls.length;
  expect((await raw(headers, JSON.stringify(echo().body))).status).toBeGreaterThanOrEqual(400);
  expect(it.modern.calls.length).toBe(before);
});

test.each(["GET", "DELETE"])("%s has no use here", async (method) => {
  const { status, headers } = await send(it.gateway, { method, headers: { "mcp-protocol-version": "2026-07-28" } });
  expect([status, headers.get("allow")]).toEqual([405, "POST"]);
});

test.each<[string, unknown, number]>([
  ["no JSON", '{"jsonrpc":', -32700],
  ["a key twice", '{"jsonrpc":"2.0","id":1,"method":"tools/list","method":"tools/call"}', -32700],
  ["a key __proto__", '{"jsonrpc":"2.0","id":1,"method":"x","params":{"__proto__":{}}}', -32700],
  ["no message", [], -32600],
  ["a batch", [echo().body], -32600],
  ["an answer", { jsonrpc: "2.0", id: 1, result: {} }, -32600],
  ["another JSON-RPC", { ...echo().body, jsonrpc: "1.0" }, -32600],
  ["parameters in a list", { ...echo().body, params: [] }, -32602],
  ["text", '"tools/call"', -32600],
])("a body that is %s is refused", async (_, body, code) => {
  const answer = await send(it.gateway, { headers: echo().headers, body });
  expect([answer.status, answer.body.error?.code]).toEqual([400, code]);
});

test.each<[string, Rpc["params"]]>([
  ["no name", { arguments: {} }],
  ["arguments in a list", { name: "new__echo", arguments: [] }],
  ["a version that is no text", { name: "new__echo", _meta: { "portcullis/version": 1 } }],
])("a call with %s has invalid parameters", async (_, params) => {
  const { status, body } = await send(it.gateway, modern("tools/call", params));
  expect([status, body.error?.code]).toEqual([200, -32602]);
});

test("a cursor of nobody's making has invalid parameters", async () => {
  for (const cursor of ["x", "", 7]) {
    const { status, body } = await send(it.gateway, modern("tools/list", { cursor }));
    expect([status, body.error?.code]).toEqual([200, -32602]);
  }
});

test("a notification is accepted and does nothing", async () => {
  const before = it.modern.calls.length;
  const sent = modern("tools/call", { name: "new__echo" });
  const { status, text } = await send(it.gateway, {
    headers: sent.headers,
    body: notification("tools/call", sent.body.params),
  });
  expect([status, text, it.modern.calls.length]).toEqual([202, "", before]);
});

test("headers that repeat a tool's arguments are compared, for those who may see the tool", async () => {
  const marked = (tool: string, headers: object, region: unknown = "eu") => {
    const sent = modern("tools/call", { name: tool, arguments: { region } });
    return { headers: { ...sent.headers, ...headers }, body: sent.body };
  };
  const code = async (sent: Sent) => (await send(it.gateway, sent)).body.error?.code;
  expect(await code(marked("new__marked", { "mcp-param-region": "eu" }))).toBeUndefined();
  expect(it.modern.calls.at(-1)?.headers["mcp-param-region"]).toBe("eu");
  expect(await code(marked("new__marked", { "mcp-param-region": "us" }))).toBe(-32020);
  expect(await code(marked("new__marked", {}))).toBe(-32020);
  expect(await code(marked("new__marked", { "mcp-param-other": "x", "mcp-param-region": "eu" }))).toBeUndefined();
  expect(await code({ key: KEYS.oscar, ...marked("new__secret", {}) })).toBe(-32020);
  const hidden = await send(it.gateway, marked("new__secret", {}));
  expect(hidden.body.result?._meta?.["portcullis/refusal"]).toMatchObject({ code: "forbidden" });
});

test("nobody is told anything without a credential", async () => {
  for (const sent of [
    echo(),
    modern("server/discover"),
    modern("no/such"),
    withHeaders({ "mcp-method": null }),
    { path: "/mcp/none", ...echo() },
    { method: "GET" },
    { body: "{" },
  ]) {
    const { status, headers, body } = await send(it.gateway, { ...sent, key: null });
    expect([status, body.error?.code, headers.get("www-authenticate")]).toEqual([
      401,
      -31401,
      'Bearer realm="portcullis"',
    ]);
  }
});

test.each(["/mcp/none", "/mcp/new@9", "/mcp/", "/mcp/new/tools", "/mcp/%ff", "/mcp/new@%ff"])(
  "there is nothing at %s",
  async (path) => {
    for (const sent of [echo(), modern("server/discover"), modern("tools/list")])
      expect((await send(it.gateway, { path, ...sent })).status).toBe(404);
  },
);

function raw(headers: Record<string, string | string[]>, body: string): Promise<{ status: number }> {
  return new Promise((resolve, reject) => {
    const all = {
      ...headers,
      "content-type": "application/json",
      authorization: `Bearer ${KEYS.alice}`,
      "content-length": String(Buffer.byteLength(body)),
    };
    request(`${it.gateway.url}/mcp`, { method: "POST", headers: all }, (answer) => {
      answer.resume();
      resolve({ status: answer.statusCode ?? 0 });
    })
      .on("error", reject)
      .end(body);
  });
}
