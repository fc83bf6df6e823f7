/** A check of Envoy's lets through what policy allows, whole and unambiguous, and nothing else; over HTTP and over gRPC. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { credentials } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkCall } from "../src/call.ts";
import type { Exchange } from "../src/doors/exchange.ts";
import { extAuthzRoutes } from "../src/doors/ext-authz/http.ts";
import type { CallRequest } from "../src/model.ts";
import type { Body } from "./support/ask.ts";
import { checkClient, checkRequest, rpc, toldBy, use } from "./support/ext-authz.ts";
import type { Checked, CheckClient } from "./support/ext-authz.ts";
import { BASE_CONFIG, discovered, fixtureServer, keyEntry, keyOf, KEYS, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { lacks, requirePart, run } from "./support/parts.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

const alice = KEYS.alice;
const ROLES = { ...BASE_CONFIG.roles, owner: ["demo:use", "demo:rare"] };
const PEOPLE = {
  roles: ROLES,
  principals: [...BASE_CONFIG.principals, { id: "olga", roles: ["owner"] }, { id: "zoë %\n", roles: ["analyst"] }],
  auth: {
    keys: [...BASE_CONFIG.auth.keys, keyEntry("olga"), { ...keyEntry("zoe"), principal: "zoë %\n" }],
    anonymous: { principal: "alice", paths: ["/mcp", "/ext_authz/open"] },
  },
};

let fixture: Fixture;
let gateway: TestGateway;
let client: CheckClient;

beforeAll(async () => {
  fixture = await startFixture({ era: "both" });
  const settings = { tools: { big: { permissions: ["demo:rare"] } } };
  gateway = await startGateway({
    ...PEOPLE,
    extAuthz: { http: true, grpc: "127.0.0.1:0" },
    maxBody: 8192,
    servers: [fixtureServer(fixture, settings), fixtureServer(fixture, { ...settings, name: "open" })],
  });
  await discovered(gateway, "fixture");
  await discovered(gateway, "open");
  client = checkClient(gateway.grpc ?? "");
});
afterAll(async () => {
  client.close();
  await gateway.close();
  await fixture.close();
});

type Answer = {
  readonly code: string;
  readonly status: number;
  readonly text: string;
  readonly reasons: readonly string[] | null;
};

async function overGrpc(checked: Checked): Promise<Answer> {
  return toldBy(await client.check(checkRequest(checked)));
}

/** What of a check HTTP can say at all. */
async function overHttp(
  { key = null, method = "POST", body, headers = {} }: Checked,
  place = "fixture/mcp",
): Promise<Answer> {
  const response = await fetch(`${gateway.url}/ext_authz/${place}`, {
    method,
    headers: {
      accept: "application/json, text/event-stream",
      ...(key === null ? {} : { "x-api-key": key }),
      ...(body === undefined ? {} : { "content-type": "application/json", "x-envoy-auth-partial-body": "false" }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: body as BodyInit }),
  });
  const text = await response.text();
  const json: Body = text === "" ? null : JSON.parse(text);
  return {
    code: response.status === 200 ? "ok" : json.code,
    status: response.status,
    text,
    reasons: json?.reasons ?? null,
  };
}
const FORMS = { HTTP: overHttp, gRPC: overGrpc } as const;

const call = use("echo", { text: "hi" });
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
  ["an encoded body", { key: alice, body: call, headers: { "content-encoding": "gzip" } }, "invalid_request", 415],
  ["a body that is too large", { key: alice, body: use("echo", { text: "x".repeat(9000) }) }, "payload_too_large", 413],
  [
    "a body that did not come whole",
    { key: alice, body: call, headers: { "x-envoy-auth-partial-body": "true" } },
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

for (const [form, ask] of Object.entries(FORMS)) {
  describe(`a check over ${form}`, () => {
    test.each(PASSES)("lets through %s", async (_, checked) => {
      expect(await ask(checked)).toMatchObject({ code: "ok" });
    });
    test.each(REFUSED)("refuses %s", async (_, checked, code, status) => {
      expect(await ask(checked)).toMatchObject({ code, status });
    });
  });
}

describe("which server is meant", () => {
  test.each(["", "nowhere", "FIXTURE", "fixture@", "fixture@9.9.9", "..", "..%2ffixture", "@1.0.0"])(
    "says the path that Envoy puts before the client's: /ext_authz/%s lets nothing through",
    async (place) => {
      expect((await overHttp({ key: alice, body: call }, place)).status).toBe(404);
    },
  );
  test("with its version, if one is named", async () => {
    expect(await overHttp({ key: alice, body: call }, "fixture@1.0.0/mcp")).toMatchObject({ code: "ok" });
    expect(await overHttp({ key: alice, body: call }, "fixture%401.0/mcp")).toMatchObject({ code: "ok" });
  });
  test.each([
    [{}, 404],
    [{ "portcullis.server": "nowhere" }, 404],
    [{ "portcullis.server": "fixture", "portcullis.version": "9" }, 404],
    [{ "portcullis.version": "1.0.0" }, 404],
  ])("says the route's context extension: %o lets nothing through", async (extensions, status) => {
    expect(await overGrpc({ key: alice, body: call, extensions })).toMatchObject({ status });
    expect(await overGrpc({ key: alice, body: rpc("ping"), extensions })).toMatchObject({ status });
  });
  test("is not said by a client, nor is the version", async () => {
    const headers = { "portcullis.server": "fixture", "x-portcullis-server": "fixture" };
    expect(await overGrpc({ key: alice, body: call, extensions: {}, headers })).toMatchObject({ status: 404 });
    const versioned = rpc("tools/call", {
      name: "echo",
      arguments: { text: "" },
      _meta: { "portcullis/version": "9" },
    });
    expect(await overGrpc({ key: alice, body: versioned })).toMatchObject({ code: "ok" });
  });
  test("decides who may come without a credential, and the client's path does not", async () => {
    const http = { headers: { ":path": "/mcp/fixture" } };
    expect(await overGrpc({ body: call, ...http })).toMatchObject({ code: "unauthenticated" });
    expect(await overGrpc({ body: call, extensions: { "portcullis.server": "open" } })).toMatchObject({ code: "ok" });
    expect(await overHttp({ body: call }, "open/mcp")).toMatchObject({ code: "ok" });
    expect(await overHttp({ body: call }, "fixture/ext_authz/open")).toMatchObject({ code: "unauthenticated" });
  });
});

describe("over gRPC besides", () => {
  const at = { key: alice, body: call };
  test.each([
    ["a size that differs", { ...at, http: { size: 9999 } }, 413],
    ["a length that differs", { ...at, headers: { "content-length": "9999" } }, 413],
    ["a body that is there and did not come", { key: alice, http: { size: 10 } }, 413],
    ["no word on whether it is whole", { ...at, headers: { "x-envoy-auth-partial-body": "" } }, 413],
    [
      "a body as text, which Envoy may have mended",
      { key: alice, http: { body: Buffer.from(call), size: call.length } },
      400,
    ],
  ])("refuses %s", async (_, checked, status) => {
    expect(await overGrpc(checked)).toMatchObject({ status });
  });
  test("takes an unknown size, and headers kept apart", async () => {
    expect(await overGrpc({ ...at, http: { size: -1 } })).toMatchObject({ code: "ok" });
    const { attributes }: Body = checkRequest(at);
    const pairs = Object.entries(attributes.request.http.headers);
    const apart = (more: readonly (readonly [string, unknown])[]) => ({
      ...at,
      http: {
        headers: {},
        header_map: {
          headers: [...pairs, ...more].map(([key, value]) => ({ key, raw_value: Buffer.from(String(value)) })),
        },
      },
    });
    expect(await overGrpc(apart([]))).toMatchObject({ code: "ok" });
    expect(await overGrpc(apart([["X-API-Key", alice]]))).toMatchObject({ status: 400 });
  });
  const named = (method: string, name?: string) => ({
    method: { stringValue: method },
    ...(name === undefined ? {} : { params: { structValue: { fields: { name: { stringValue: name } } } } }),
  });
  test.each([
    ["agrees", named("tools/call", "echo"), "ok"],
    ["knows the method alone", named("tools/call"), "ok"],
    ["read another name", named("tools/call", "big"), "invalid_request"],
    ["read another method", named("ping"), "invalid_request"],
    ["read nothing", {}, "invalid_request"],
  ])("asks that Envoy's MCP filter read the same: where it %s", async (_, filter, code) => {
    expect(await overGrpc({ ...at, filter })).toMatchObject({ code });
  });
  test("and an answer of the client's as such", async () => {
    const body = '{"jsonrpc":"2.0","id":1,"result":{}}';
    expect(await overGrpc({ key: alice, body, filter: named("__jsonrpc_response") })).toMatchObject({ code: "ok" });
    expect(await overGrpc({ key: alice, body, filter: named("ping") })).toMatchObject({ code: "invalid_request" });
  });
  test("does not decide on what the filter read alone", async () => {
    expect(await overGrpc({ key: alice, filter: named("tools/call", "echo") })).toMatchObject({
      code: "invalid_request",
    });
  });
  test("a Host that nobody listed is refused", async () => {
    expect(await overGrpc({ ...at, http: { host: "evil.example" } })).toMatchObject({ status: 403 });
    expect(await overGrpc({ ...at, headers: { host: "127.0.0.1" }, http: { host: "evil.example" } })).toMatchObject({
      status: 403,
    });
  });
  test("bytes that are no message are refused like any other, and recorded", async () => {
    const fresh = await startGateway({ extAuthz: { grpc: "127.0.0.1:0" } });
    const other = checkClient(fresh.grpc ?? "");
    try {
      const garbage = Buffer.from([0x0a, 0xff, 0xff, 0x01]);
      const answer = await other.raw("/envoy.service.auth.v3.Authorization/Check", garbage);
      expect(toldBy(answer)).toMatchObject({ status: 400, code: "invalid_request" });
      expect(await fresh.records()).toMatchObject([
        { "portcullis.record": "refusal", "portcullis.interface": "ext_authz", "client.address": "127.0.0.1" },
      ]);
      expect(toldBy(await other.check({}))).toMatchObject({ status: 400, code: "invalid_request" });
    } finally {
      other.close();
      await fresh.close();
    }
  });
  test("a message larger than a body may be is not read", async () => {
    await expect(overGrpc({ key: alice, body: use("echo", { text: "x".repeat(300_000) }) })).rejects.toMatchObject({
      code: 8,
    });
  });
  test.each(["/envoy.service.auth.v3.Authorization/Other", "/envoy.service.auth.v2.Authorization/Check"])(
    "%s is not implemented",
    async (path) => {
      await expect(client.raw(path, Buffer.alloc(0))).rejects.toMatchObject({ code: 12 });
    },
  );
  test("policy sees the client's address, and the audit too; not what the client says of it", async () => {
    const told = toldBy(
      await client.check(checkRequest({ ...at, source: "203.0.113.9", headers: { "x-forwarded-for": "1.2.3.4" } })),
    );
    const record = (await gateway.records()).find((one) => one["portcullis.call.id"] === told.callId);
    expect(record).toMatchObject({ "client.address": "203.0.113.9", "portcullis.interface": "ext_authz" });
  });
  test("an answer says who it was, takes the credential away and tells Envoy more", async () => {
    const answer = await client.check(checkRequest({ ...at, key: keyOf("zoe") }));
    const headers = Object.fromEntries(
      answer.ok_response.headers.map(({ header }: Body) => [header.key, header.value]),
    );
    expect(headers).toEqual({
      "x-portcullis-call-id": expect.stringMatching(/^[0-9a-f-]{36}$/),
      "x-portcullis-principal": "zo%C3%AB%20%25%0A",
    });
    expect(answer.ok_response.headers_to_remove).toEqual(["authorization", "x-api-key"]);
    const { fields } = answer.dynamic_metadata;
    const said = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, (value as Body).stringValue]));
    expect(said).toEqual({
      call_id: headers["x-portcullis-call-id"],
      principal: "zoë %\n",
      tool: "echo",
      server: "fixture",
      version: "1.0.0",
      decision: "allow",
    });
    expect((await client.check(checkRequest({ body: call }))).status.code).toBe(16);
    expect((await client.check(checkRequest({ key: alice, body: use("big") }))).status.code).toBe(7);
  });
});

describe("where it is not switched on", () => {
  test("there is nothing at /ext_authz, and no port", async () => {
    const plain = await startGateway();
    try {
      const answer = await fetch(`${plain.url}/ext_authz/fixture/mcp`, { headers: { "x-api-key": alice } });
      expect(answer.status).toBe(404);
      expect(plain.grpc).toBeNull();
    } finally {
      await plain.close();
    }
  });
  test("a taken port is named, and nothing stays open", async () => {
    const taken = gateway.grpc ?? "";
    const port = Number(taken.split(":").at(-1));
    await expect(startGateway({ extAuthz: { grpc: taken } })).rejects.toMatchObject({ code: "EADDRINUSE", port });
  });
  test("beyond loopback gRPC needs clients with certificates", async () => {
    await expect(startGateway({ extAuthz: { grpc: "0.0.0.0:0" } })).rejects.toThrow(/clientCa/);
    await expect(startGateway({ extAuthz: { grpc: "127.evil.example:0" } })).rejects.toThrow(/clientCa/);
  });
});

test.skipIf(lacks("openssl"))("with TLS and clientCa, gRPC answers to clients of that authority alone", async () => {
  const folder = await mkdtemp(join(tmpdir(), "portcullis-tls-"));
  const file = (name: string): string => join(folder, name);
  const issue = async (name: string, args: readonly string[]): Promise<void> => {
    const own = ["-keyout", file(`${name}.key`), "-out", file(`${name}.crt`), "-subj", `/CN=${name}`, "-days", "2"];
    const made = await run(requirePart("openssl"), ["req", "-x509", "-nodes", "-newkey", "rsa:2048", ...own, ...args]);
    expect(made.code, made.stderr).toBe(0);
  };
  await issue("ca", []);
  const signed = ["-CA", file("ca.crt"), "-CAkey", file("ca.key"), "-addext", "subjectAltName=IP:127.0.0.1"];
  for (const name of ["server", "envoy"]) await issue(name, signed);
  const tls = { cert: file("server.crt"), key: file("server.key"), clientCa: file("ca.crt") };
  const secure = await startGateway({ tls, extAuthz: { grpc: "127.0.0.1:0" } });
  const [ca, key, cert] = await Promise.all(["ca.crt", "envoy.key", "envoy.crt"].map((name) => readFile(file(name))));
  const clients = {
    own: checkClient(secure.grpc ?? "", credentials.createSsl(ca, key, cert)),
    bare: checkClient(secure.grpc ?? "", credentials.createSsl(ca)),
    plain: checkClient(secure.grpc ?? ""),
  };
  try {
    expect(toldBy(await clients.own.check(checkRequest({ body: call })))).toMatchObject({ status: 401 });
    await expect(clients.bare.check(checkRequest({ body: call }))).rejects.toMatchObject({ code: 14 });
    await expect(clients.plain.check(checkRequest({ body: call }))).rejects.toMatchObject({ code: 14 });
  } finally {
    for (const client of Object.values(clients)) client.close();
    await secure.close();
    await rm(folder, { recursive: true });
  }
});

describe("a gateway that stops", () => {
  test("answers the checks that it has, and takes no more", async () => {
    const stopping = await startGateway({ extAuthz: { grpc: "127.0.0.1:0" }, servers: [fixtureServer(fixture)] });
    await discovered(stopping, "fixture");
    const other = checkClient(stopping.grpc ?? "");
    try {
      await other.check(checkRequest({ key: alice, body: rpc("ping") }));
      const running = Array.from({ length: 64 }, () => other.check(checkRequest({ key: alice, body: call })));
      await Promise.race(running);
      const [answers] = await Promise.all([Promise.all(running), stopping.stop()]);
      expect(answers.map((answer) => toldBy(answer).code)).toEqual(running.map(() => "ok"));
      await expect(other.check(checkRequest({ key: alice, body: call }))).rejects.toMatchObject({ code: 14 });
    } finally {
      other.close();
      await stopping.clean();
    }
  });
});

describe("in the audit", () => {
  const query = (callId: string | null) => ({ filter: { callId: callId ?? "" }, first: 5, after: null });

  test("a check that was let through is one finished row, of which nobody knows whether it ran", async () => {
    const told = toldBy(await client.check(checkRequest({ key: alice, body: call })));
    const { rows } = await gateway.gateway.audit.calls(query(told.callId));
    expect(rows).toMatchObject([
      {
        interface: "ext_authz",
        operation: "tools/call",
        outcome: "success",
        executed: "unknown",
        decision: "allow",
        attempts: 0,
      },
    ]);
  });
  const asked = (signal: AbortSignal): CallRequest => ({
    interface: "ext_authz",
    protocol: "",
    path: "/ext_authz/fixture",
    ip: "127.0.0.1",
    credential: { kind: "secret", value: alice },
    traceparent: null,
    tracestate: null,
    signal,
    tool: { kind: "upstream", server: "fixture", name: "echo", version: null },
    arguments: { text: "hi" },
    meta: null,
    onProgress: null,
  });
  test("what cannot be written is not let through, and was not executed", async () => {
    const audit = { ...gateway.gateway.audit, ending: () => Promise.reject(new Error("the disk is full")) };
    const outcome = await checkCall({ ...gateway.gateway, audit }, asked(new AbortController().signal));
    expect(outcome).toMatchObject({ ok: false, refusal: { code: "audit_unavailable" }, call: { executed: "no" } });
  });
  test("a check for which nobody waits any more lets nothing through", async () => {
    const outcome = await checkCall(gateway.gateway, asked(AbortSignal.abort()));
    expect(outcome).toMatchObject({ ok: false, refusal: { code: "cancelled" }, call: { executed: "no" } });
  });
  test("a failure of ours reaches Envoy over HTTP as a refusal, never as a status that it takes for a fault", async () => {
    const audit = { ...gateway.gateway.audit, ending: () => Promise.reject(new Error("the disk is full")) };
    const answers: { readonly status: number; readonly code: string }[] = [];
    const exchange: Exchange = {
      method: "POST",
      path: "/ext_authz/fixture/mcp",
      query: new URLSearchParams(),
      headers: { "x-envoy-auth-partial-body": "false" },
      body: JSON.parse(call),
      ip: "127.0.0.1",
      credential: { kind: "secret", value: alice },
      signal: new AbortController().signal,
      reply: (status, _, body) => void answers.push({ status, code: (JSON.parse(body) as Body).code }),
      stream: () => expect.unreachable(),
    };
    await extAuthzRoutes[1]?.door({ ...gateway.gateway, audit }, exchange);
    expect(answers).toEqual([{ status: 403, code: "audit_unavailable" }]);
  });
});

describe("obligations", () => {
  const rule = (obligations: string) =>
    `package portcullis\n\ndecision := {"allow": true, "reasons": ["r"], "obligations": ${obligations}}\n`;
  let own: TestGateway;
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "portcullis-policy-"));
    await writeFile(join(folder, "rule.rego"), rule("{}"));
    own = await startGateway({
      extAuthz: { http: true, grpc: "127.0.0.1:0" },
      policies: folder,
      limits: [{ name: "one", key: ["principal"], limit: 1, window: "60s" }],
      servers: [fixtureServer(fixture)],
    });
    await discovered(own, "fixture");
  });
  afterAll(async () => {
    await own.close();
    await rm(folder, { recursive: true });
  });

  const allowed = async (obligations: string): Promise<readonly Answer[]> => {
    await writeFile(join(folder, "rule.rego"), rule(obligations));
    await own.reload();
    const response = await fetch(`${own.url}/ext_authz/fixture`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-api-key": alice, "x-envoy-auth-partial-body": "false" },
      body: call,
    });
    const text = await response.text();
    const json: Body = text === "" ? null : JSON.parse(text);
    const http = { code: json?.code ?? "ok", status: response.status, text, reasons: json?.reasons ?? null };
    const other = checkClient(own.grpc ?? "");
    const grpc = toldBy(await other.check(checkRequest({ key: alice, body: call })));
    other.close();
    return [http, grpc];
  };
  test.each(['{"redact": [{"pattern": "email"}]}', '{"max_result_bytes": 1000}', '{"max_result_bytes": 0}'])(
    "that nobody would carry out deny: %s",
    async (obligations) => {
      for (const answer of await allowed(obligations)) {
        expect(answer).toMatchObject({ code: "forbidden", status: 403, reasons: ["r", "obligation_not_enforceable"] });
      }
      const last = (await own.records()).at(-1);
      expect(last).toMatchObject({ "portcullis.record": "refusal", "portcullis.decision": "deny" });
    },
  );
  test("that hold before a call do: mask_audit and limits", async () => {
    for (const answer of await allowed('{"mask_audit": ["/arguments/text"]}')) expect(answer.code).toBe("ok");
    expect(JSON.stringify((await own.records()).at(-1))).not.toContain('"hi"');
    expect((await allowed('{"limits": ["one"]}')).map(({ code }) => code)).toEqual(["ok", "rate_limited"]);
  });
});
