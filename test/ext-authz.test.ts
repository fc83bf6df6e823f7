/** A check of Envoy's lets through what policy allows, whole and unambiguous, and nothing else; over HTTP and over gRPC. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { call, openFront } from "./ext-authz-front.ts";
import type { Front } from "./ext-authz-front.ts";
import { rpc, use } from "./support/ext-authz.ts";
import type { Checked } from "./support/ext-authz.ts";
import { keyOf, KEYS } from "./support/gateway.ts";

const alice = KEYS.alice;
let front: Front;
beforeAll(async () => {
  front = await openFront();
});
afterAll(() => front.close());

const META = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientCapabilities": {},
};
const MODERN = { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": "echo" };
const modern = rpc("tools/call", { name: "echo", arguments: { text: "hi" }, _meta: META });
const event = { accept: "text/event-stream" };

const PASSES: readonly (readonly [string, Checked])[] = [
  ["a call that policy allows", { key: alice, body: call }],
  ["a call of 2026-07-28 whose headers repeat its body", { key: alice, body: modern, headers: MODERN }],
  [
    "a body that says that it is UTF-8",
    { key: alice, body: call, headers: { "content-type": 'application/json; charset="UTF-8"' } },
  ],
  ["initialize", { key: alice, body: rpc("initialize", { protocolVersion: "2025-11-25" }) }],
  ["a ping, of whoever may know the server", { key: KEYS.ada, body: rpc("ping") }],
  ["a notification", { key: alice, body: '{"jsonrpc":"2.0","method":"notifications/initialized"}' }],
  ["what the client answers to the server", { key: alice, body: '{"jsonrpc":"2.0","id":1,"result":{}}' }],
  ["a standing stream", { key: alice, method: "GET", headers: event }],
  ["the end of a session", { key: alice, method: "DELETE", headers: { "mcp-session-id": "s" } }],
  ["a list, for one who may see all that is on it", { key: keyOf("olga"), body: rpc("tools/list") }],
];
const REFUSED: readonly (readonly [string, Checked, string, number])[] = [
  ["a call without a credential", { body: call }, "unauthenticated", 401],
  ["a ping without a credential", { body: rpc("ping") }, "unauthenticated", 401],
  ["a list, for one who may not see all", { key: alice, body: rpc("tools/list") }, "forbidden", 403],
  ["prompts", { key: alice, body: rpc("prompts/list") }, "forbidden", 403],
  ["resources", { key: alice, body: rpc("resources/read", { uri: "x" }) }, "forbidden", 403],
  ["completions", { key: alice, body: rpc("completion/complete", {}) }, "forbidden", 403],
  ["tasks", { key: alice, body: rpc("tasks/get", {}) }, "forbidden", 403],
  ["a method that nobody knows", { key: alice, body: rpc("tools/callx", {}) }, "forbidden", 403],
  ["tools/call as a notification", { key: alice, body: call.replace(/"id":"[^"]+",/, "") }, "forbidden", 403],
  ["a batch", { key: alice, body: `[${call}]` }, "invalid_request", 400],
  ["no body where one is due", { key: alice }, "invalid_request", 400],
  ["duplicate keys", { key: alice, body: call.replace('"name"', '"name":"x","name"') }, "invalid_request", 400],
  ["a key of __proto__", { key: alice, body: call.replace('"text"', '"__proto__"') }, "invalid_request", 400],
  [
    "a key in another case",
    { key: alice, body: call.replace('"name"', '"Name":"big","name"') },
    "invalid_request",
    400,
  ],
  [
    "a key with a long s",
    { key: alice, body: call.replace('"name"', '"argumentſ":{},"name"') },
    "invalid_request",
    400,
  ],
  [
    "a method in another case besides",
    { key: alice, body: call.replace('"method"', '"Method":"ping","method"') },
    "invalid_request",
    400,
  ],
  ["a message that asks and answers", { key: alice, body: rpc("ping", {}, { result: {} }) }, "invalid_request", 400],
  ["no name", { key: alice, body: rpc("tools/call", { arguments: {} }) }, "invalid_request", 400],
  [
    "arguments that are a list",
    { key: alice, body: rpc("tools/call", { name: "echo", arguments: [] }) },
    "invalid_request",
    400,
  ],
  [
    "bytes that are no UTF-8",
    { key: alice, body: Buffer.from([...Buffer.from('{"a":"'), 0xff, 0x22, 0x7d]) },
    "invalid_request",
    400,
  ],
  ["what is no JSON", { key: alice, body: "{" }, "invalid_request", 400],
  [
    "a body of another type",
    { key: alice, body: call, headers: { "content-type": "text/plain" } },
    "invalid_request",
    415,
  ],
  [
    "a body in a charset of which a server would read another call",
    { key: alice, body: call, headers: { "content-type": "application/json; charset=utf-7" } },
    "invalid_request",
    415,
  ],
  [
    "a body of two types",
    { key: alice, body: call, headers: { "content-type": "application/json;a,text/plain" } },
    "invalid_request",
    415,
  ],
  [
    "arguments whose keys differ in case only",
    { key: alice, body: use("echo", { text: "even", Text: "odd" }) },
    "invalid_request",
    400,
  ],
  [
    "the same deep in a list",
    { key: alice, body: use("echo", { text: "x", more: [{ path: "a", PATH: "b" }] }) },
    "invalid_request",
    400,
  ],
  [
    "a parameter in a header, in the older era",
    { key: alice, body: call, headers: { "mcp-param-text": "odd" } },
    "invalid_request",
    400,
  ],
  [
    "a request that asks to be taken for another method",
    { key: alice, body: call, headers: { "x-http-method-override": "DELETE" } },
    "invalid_request",
    400,
  ],
  ["an encoded body", { key: alice, body: call, headers: { "content-encoding": "gzip" } }, "invalid_request", 415],
  ["a body that is too large", { key: alice, body: use("echo", { text: "x".repeat(9000) }) }, "payload_too_large", 413],
  [
    "a body that did not come whole",
    { key: alice, body: call, headers: { "x-envoy-auth-partial-body": "true" } },
    "payload_too_large",
    413,
  ],
  [
    "a body that was cut off",
    { key: alice, body: call.slice(0, 40), headers: { "x-envoy-auth-partial-body": "true" } },
    "payload_too_large",
    413,
  ],
  [
    "a body of which both is said",
    { key: alice, body: call, headers: { "x-envoy-auth-partial-body": "false,true" } },
    "payload_too_large",
    413,
  ],
  ["two keys in one header", { key: `${alice},${KEYS.oscar}`, body: call }, "unauthenticated", 401],
  [
    "two tokens in one header",
    { key: alice, body: call, headers: { authorization: `Bearer ${alice},Bearer x` } },
    "invalid_request",
    400,
  ],
  [
    "key and token that differ",
    { key: alice, body: call, headers: { authorization: `Bearer ${KEYS.oscar}` } },
    "invalid_request",
    400,
  ],
  [
    "an Origin of elsewhere",
    { key: alice, body: call, headers: { origin: "https://evil.example" } },
    "invalid_request",
    403,
  ],
  [
    "a method in the header that differs",
    { key: alice, body: modern, headers: { ...MODERN, "mcp-method": "ping" } },
    "invalid_request",
    400,
  ],
  [
    "a name in the header that differs",
    { key: alice, body: modern, headers: { ...MODERN, "mcp-name": "big" } },
    "invalid_request",
    400,
  ],
  [
    "a parameter in the header that differs",
    {
      key: alice,
      body: rpc("tools/call", { name: "with_headers", arguments: { region: "eu" }, _meta: META }),
      headers: { ...MODERN, "mcp-name": "with_headers", "mcp-param-region": "us" },
    },
    "invalid_request",
    400,
  ],
  [
    "a method in the header, in the older era",
    { key: alice, body: call, headers: { "mcp-method": "ping" } },
    "invalid_request",
    400,
  ],
  [
    "a name in the header, in the older era",
    { key: alice, body: call, headers: { "mcp-name": "big", "mcp-method": "tools/call" } },
    "invalid_request",
    400,
  ],
  [
    "a revision in the header that differs",
    { key: alice, body: modern, headers: { ...MODERN, "mcp-protocol-version": "2025-11-25" } },
    "invalid_request",
    400,
  ],
  [
    "a revision that nobody knows",
    { key: alice, body: call, headers: { "mcp-protocol-version": "2099-01-01" } },
    "invalid_request",
    400,
  ],
  ["a GET that is no stream", { key: alice, method: "GET", headers: { accept: "text/html" } }, "invalid_request", 405],
  ["a DELETE of no session", { key: alice, method: "DELETE" }, "invalid_request", 405],
  ["another method", { key: alice, method: "PUT", body: call }, "invalid_request", 405],
];

for (const form of ["overHttp", "overGrpc"] as const) {
  const ask: Front["overGrpc"] = (checked) => front[form](checked);
  describe(`a check ${form}`, () => {
    test.each(PASSES)("lets through %s", async (_, checked) => {
      expect(await ask(checked)).toMatchObject({ code: "ok" });
    });
    test.each(REFUSED)("refuses %s", async (_, checked, code, status) => {
      expect(await ask(checked)).toMatchObject({ code, status });
    });
  });
}

test.each([
  ["announces a body", { headers: { ...event, "transfer-encoding": "chunked" } }],
  ["has one", { headers: { ...event, "content-length": "7" }, body: '{"a":1}' }],
  ["would become another protocol", { headers: { ...event, upgrade: "websocket" } }],
])("a stream that %s is refused", async (_, checked) => {
  const told = await front.overGrpc({ key: alice, method: "GET", ...checked });
  expect(told.code).toBe("invalid_request");
});

describe("which server is meant", () => {
  test.each(["", "nowhere", "FIXTURE", "fixture@", "fixture@9.9.9", "..", "..%2ffixture", "@1.0.0"])(
    "says the path that Envoy puts before the client's: /ext_authz/%s lets nothing through",
    async (place) => {
      expect((await front.overHttp({ key: alice, body: call }, place)).status).toBe(404);
    },
  );
  test("with its version, if one is named", async () => {
    expect(await front.overHttp({ key: alice, body: call }, "fixture@1.0.0/mcp")).toMatchObject({ code: "ok" });
    expect(await front.overHttp({ key: alice, body: call }, "fixture%401.0/mcp")).toMatchObject({ code: "ok" });
  });
  test.each([
    [{}, 404],
    [{ "portcullis.server": "nowhere" }, 404],
    [{ "portcullis.server": "fixture", "portcullis.version": "9" }, 404],
    [{ "portcullis.version": "1.0.0" }, 404],
  ])("says the route's context extension: %o lets nothing through", async (extensions, status) => {
    expect(await front.overGrpc({ key: alice, body: call, extensions })).toMatchObject({ status });
    expect(await front.overGrpc({ key: alice, body: rpc("ping"), extensions })).toMatchObject({ status });
  });
  test("is not said by a client, nor is the version", async () => {
    const headers = { "portcullis.server": "fixture", "x-portcullis-server": "fixture" };
    expect(await front.overGrpc({ key: alice, body: call, extensions: {}, headers })).toMatchObject({ status: 404 });
    const versioned = rpc("tools/call", {
      name: "echo",
      arguments: { text: "" },
      _meta: { "portcullis/version": "9" },
    });
    expect(await front.overGrpc({ key: alice, body: versioned })).toMatchObject({ code: "ok" });
  });
  test("decides who may come without a credential, and the client's path does not", async () => {
    const http = { headers: { ":path": "/mcp/fixture" } };
    expect(await front.overGrpc({ body: call, ...http })).toMatchObject({ code: "unauthenticated" });
    expect(await front.overGrpc({ body: call, extensions: { "portcullis.server": "open" } })).toMatchObject({
      code: "ok",
    });
    expect(await front.overHttp({ body: call }, "open/mcp")).toMatchObject({ code: "ok" });
    expect(await front.overHttp({ body: call }, "fixture/ext_authz/open")).toMatchObject({ code: "unauthenticated" });
  });
});
