/**
 * Behind a real Envoy, with the example configurations as they are shipped: what policy allows arrives at the server,
 * without credential and with the gateway's word for who it is; all else is refused, also while the gateway is gone.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { join } from "node:path";
import { Client as SdkClient } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as SdkTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  BASE_CONFIG,
  discovered,
  fixtureServer,
  keyEntry,
  keyOf,
  KEYS,
  startGateway,
  until,
} from "../support/gateway.ts";
import type { TestGateway } from "../support/gateway.ts";
import { envoyProxy, freePort, lacks, started } from "../support/parts.ts";
import type { Part } from "../support/parts.ts";
import { key, portcullis } from "../support/portcullis.ts";
import { startFixture } from "../support/upstreams/fixture.ts";
import type { Fixture } from "../support/upstreams/fixture.ts";
import { example, EXAMPLES, patient, send, use } from "./envoy-front.ts";
import type { Sent } from "./envoy-front.ts";

const alice = KEYS.alice;
const portOf = (address: string): number => Number(/:(\d+)(?:\/|$)/.exec(address)?.[1]);
type Envoy = Part & { readonly url: string };

describe.skipIf(lacks("envoy")).each(EXAMPLES)("%s", (name) => {
  let fixture: Fixture;
  let gateway: TestGateway;
  let envoy: Envoy;
  const front = (text: string): Promise<Envoy> =>
    envoyProxy(patient(text), {
      3001: portOf(fixture.url),
      8484: portOf(gateway.traffic),
      9191: portOf(gateway.grpc ?? ""),
    });

  beforeAll(async () => {
    fixture = await startFixture({ era: "both", sessions: false });
    gateway = await startGateway({
      extAuthz: { http: true, grpc: "127.0.0.1:0" },
      maxBody: 16 * 1024 * 1024,
      roles: { ...BASE_CONFIG.roles, owner: ["demo:use", "demo:rare"] },
      principals: [...BASE_CONFIG.principals, { id: "olga", roles: ["owner"] }],
      auth: { keys: [...BASE_CONFIG.auth.keys, keyEntry("olga")] },
      servers: [
        fixtureServer(fixture, {
          name: "everything",
          tools: { big: { permissions: ["demo:rare"] }, test_image_content: { rateLimit: 1 } },
        }),
      ],
    });
    await discovered(gateway, "everything");
    envoy = await front(example(name));
    // the very first checks of a process may take longer than Envoy waits
    const first = { key: alice, body: use("echo", { text: "hi" }) };
    await until(async () => (await send(envoy.url, first)).status === 200, "a check is answered in time");
  }, 60_000);
  afterAll(async () => {
    await envoy.stop();
    await gateway.close();
    await fixture.close();
  });

  const arrived = async (sent: Sent, url = envoy.url) => {
    const before = fixture.state.arrivals.length;
    const got = await send(url, sent);
    return { ...got, arrivals: fixture.state.arrivals.slice(before) };
  };

  test("a call that policy allows is answered by the server, which learns who it was and no secret", async () => {
    const forged = [
      ["x-portcullis-principal", "root"],
      ["X-Portcullis-Principal", "root"],
      ["x-portcullis-call-id", "forged"],
      ["x-envoy-auth-partial-body", "true"],
      ["x-envoy-auth-headers-to-remove", "x-portcullis-principal"],
    ] as const;
    const got = await arrived({ key: alice, body: use("echo", { text: "hi" }), headers: forged });
    expect(got.json).toMatchObject({ result: { structuredContent: { text: "hi" } } });
    expect(got.arrivals).toHaveLength(1);
    const { headers } = got.arrivals[0] ?? {};
    expect(headers).toMatchObject({
      "x-portcullis-principal": "alice",
      "x-portcullis-call-id": got.headers["portcullis-call-id"],
    });
    expect(JSON.stringify(headers)).not.toContain(alice);
    const records = (await gateway.records()).filter(
      (record) => record["portcullis.call.id"] === got.headers["portcullis-call-id"],
    );
    expect(records).toMatchObject([
      { "portcullis.record": "outcome", "portcullis.interface": "ext_authz", "portcullis.executed": "unknown" },
    ]);
    const bearer = await arrived({
      body: use("echo", { text: "hi" }),
      headers: [["authorization", `Bearer ${alice}`]],
    });
    expect(bearer.status).toBe(200);
    expect(bearer.arrivals[0]?.headers).not.toHaveProperty("authorization");
  });

  const evil: readonly (readonly [string, Sent, number, string | null])[] = [
    ["a tool that policy refuses", { key: alice, body: use("big") }, 403, "forbidden"],
    ["an unknown tool", { key: alice, body: use("nothing") }, 404, "tool_not_found"],
    ["arguments that the schema refuses", { key: alice, body: use("echo", { text: 7 }) }, 400, "invalid_arguments"],
    ["no credential", { body: use("echo", { text: "hi" }) }, 401, "unauthenticated"],
    ["a wrong key", { key: keyOf("eve"), body: use("echo", { text: "hi" }) }, 401, "unauthenticated"],
    ["two keys", { key: alice, body: use("echo", { text: "hi" }), headers: [["x-api-key", KEYS.oscar]] }, 401, null],
    [
      "two tokens",
      {
        body: use("echo", { text: "hi" }),
        headers: [
          ["authorization", `Bearer ${alice}`],
          ["authorization", `Bearer ${alice}`],
        ],
      },
      401,
      null,
    ],
    [
      "duplicate keys",
      { key: alice, body: '{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}' },
      400,
      null,
    ],
    ["a batch", { key: alice, body: [use("echo", { text: "hi" })] }, 400, null],
    ["no JSON", { key: alice, body: "{" }, 400, null],
    ["no body", { key: alice }, 400, null],
    ["a list, for one who may not see all of it", { key: alice, body: rpc("tools/list") }, 403, "forbidden"],
    ["prompts", { key: alice, body: rpc("prompts/list") }, 403, "forbidden"],
    [
      "a header that says another tool than the body",
      {
        key: alice,
        body: use("echo", { text: "hi" }),
        headers: [
          ["mcp-method", "tools/call"],
          ["mcp-name", "big"],
        ],
      },
      400,
      null,
    ],
    ["a size that Envoy does not hold", { key: alice, body: use("echo", { text: "x".repeat(5_000_000) }) }, 413, null],
    [
      "such a size, said to be whole",
      {
        key: alice,
        body: use("echo", { text: "x".repeat(5_000_000) }),
        headers: [["x-envoy-auth-partial-body", "false"]],
      },
      413,
      null,
    ],
  ];
  test.each(evil)("refuses %s", async (_, sent, status, code) => {
    const got = await arrived(sent);
    // the MCP filter in front is asked first, and has an opinion of its own on sizes
    const own = name === "envoy-edge.yaml" && status === 413 ? 400 : status;
    expect([got.status, got.arrivals]).toEqual([own, []]);
    if (code === null) return;
    expect(got.headers["content-type"]).toBe("application/problem+json");
    expect(got.json).toMatchObject({ code, executed: "no", status });
    expect(got.json.callId).toBe(got.headers["portcullis-call-id"]);
  });

  test.each([
    "//mcp",
    "/mcp/../mcp",
    "/x/../mcp",
    "/%6dcp",
    "/mcp?x=1",
    "/mcp/%2e%2e/mcp",
    "/mcp;a=b",
    "/MCP",
    "/./mcp",
  ])("the path %s is no way around", async (path) => {
    const got = await arrived({ key: alice, path, body: use("big") });
    expect([403, 404]).toContain(got.status);
    const stranger = await arrived({ path, body: use("echo", { text: "hi" }) });
    expect([401, 404]).toContain(stranger.status);
    expect([...got.arrivals, ...stranger.arrivals]).toEqual([]);
  });

  test("a limit holds, and says so", async () => {
    const first = await arrived({ key: alice, body: use("test_image_content") });
    expect([first.status, first.headers["ratelimit"]]).toEqual([200, '"tool:everything__test_image_content";r=0;t=60']);
    const second = await arrived({ key: alice, body: use("test_image_content") });
    expect(second).toMatchObject({ status: 429, json: { code: "rate_limited" }, arrivals: [] });
    expect(Number(second.headers["retry-after"])).toBeGreaterThan(0);
  });

  test("a body of which Envoy sends a part only is refused, whatever the client says of it", async () => {
    const text = example(name)
      .replace("allow_partial_message: false", "allow_partial_message: true")
      .replace("max_request_bytes: 4194304", "max_request_bytes: 200");
    const other = await front(text);
    try {
      expect((await arrived({ key: alice, body: use("echo", { text: "hi" }) }, other.url)).status).toBe(200);
      const padded = `${JSON.stringify(use("echo", { text: "hi" }))}${" ".repeat(300)}`;
      for (const body of [padded, use("echo", { text: "x".repeat(300) })]) {
        for (const said of ["false", "true"]) {
          const got = await arrived({ key: alice, body, headers: [["x-envoy-auth-partial-body", said]] }, other.url);
          expect([got.status, got.arrivals]).toEqual([413, []]);
        }
      }
    } finally {
      await other.stop();
    }
  });

  test("an official client of each era connects, calls and is refused", async () => {
    const requestInit = { headers: { "x-api-key": keyOf("olga") } };
    const url = new URL(`${envoy.url}/mcp`);
    const clients = [
      { client: new SdkClient({ name: "v1", version: "1" }), transport: new SdkTransport(url, { requestInit }) },
      {
        client: new Client({ name: "v2", version: "1" }),
        transport: new StreamableHTTPClientTransport(url, { requestInit }),
      },
    ];
    for (const { client, transport } of clients) {
      await client.connect(transport);
      const answer = await client.callTool({ name: "echo", arguments: { text: "hi" } });
      expect(answer["structuredContent"]).toEqual({ text: "hi" });
      expect((await client.listTools()).tools.map((tool) => tool.name)).toContain("big");
      await expect(client.callTool({ name: "echo", arguments: { text: 7 } })).rejects.toThrow(/invalid_arguments/);
      await client.close();
    }
  });
});

describe.skipIf(lacks("envoy")).each(EXAMPLES)("%s, when the gateway fails", (name) => {
  test("a gateway that hangs, and one that is killed, let nothing through; one that is back does", async () => {
    const fixture = await startFixture({ era: "both", sessions: false });
    const caller = key("caller", "caller");
    const grpc = await freePort();
    const config = {
      extAuthz: { http: true, grpc: `127.0.0.1:${grpc}` },
      roles: { caller: ["demo:use"] },
      principals: [{ id: "caller", roles: ["caller"] }],
      auth: { keys: [caller.entry] },
      servers: [fixtureServer(fixture, { name: "everything" })],
    };
    const gateway = await portcullis({ config, tools: { key: caller.text, ids: ["everything__echo"] } });
    expect(gateway.output()).toContain(`127.0.0.1:${grpc} (gRPC)`);
    const envoy = await envoyProxy(example(name), { 3001: portOf(fixture.url), 8484: gateway.port, 9191: grpc });
    const ask = () => send(envoy.url, { key: caller.text, body: use("echo", { text: "hi" }) });
    try {
      // the very first checks of a process may take longer than Envoy waits
      await until(async () => (await ask()).status === 200, "a check is answered in time");
      const before = fixture.state.arrivals.length;
      process.kill(gateway.pid, "SIGSTOP");
      const began = performance.now();
      expect((await ask()).status).toBe(403);
      expect(performance.now() - began).toBeGreaterThan(200);
      process.kill(gateway.pid, "SIGCONT");
      // what was asked meanwhile is answered to nobody
      await sleep(300);
      expect(fixture.state.arrivals.length).toBe(before);
      await until(async () => (await ask()).status === 200, "it is back");
      const passed = fixture.state.arrivals.length;
      process.kill(gateway.pid, "SIGKILL");
      await sleep(200);
      expect((await ask()).status).toBe(403);
      expect(fixture.state.arrivals.length).toBe(passed);
    } finally {
      await envoy.stop();
      await gateway.stop();
      await fixture.close();
    }
  }, 90_000);
});

test.skipIf(lacks("envoy"))(
  "a server of others' making, over Streamable HTTP, works behind Envoy as before",
  async () => {
    const port = await freePort();
    const script = join(
      import.meta.dirname,
      "../../node_modules/@modelcontextprotocol/server-everything/dist/index.js",
    );
    const stops: (() => Promise<unknown>)[] = [];
    try {
      const server = await started(process.execPath, [script, "streamableHttp"], port, { env: { PORT: String(port) } });
      stops.push(server.stop);
      const instances = [{ http: { url: `http://127.0.0.1:${port}/mcp`, allowPrivate: true } }];
      const gateway = await startGateway({
        extAuthz: { http: true, grpc: "127.0.0.1:0" },
        servers: [{ name: "everything", instances, permissions: ["demo:use"] }],
      });
      stops.push(gateway.close);
      await discovered(gateway, "everything");
      const envoy = await envoyProxy(patient(example("envoy-sidecar.yaml")), {
        3001: port,
        8484: portOf(gateway.traffic),
      });
      stops.push(envoy.stop);
      const client = new SdkClient({ name: "v1", version: "1" });
      const transport = new SdkTransport(new URL(`${envoy.url}/mcp`), {
        requestInit: { headers: { "x-api-key": alice } },
      });
      await client.connect(transport);
      const answer = await client.callTool({ name: "echo", arguments: { message: "hello" } });
      expect(JSON.stringify(answer)).toContain("hello");
      expect((await client.listTools()).tools.length).toBeGreaterThan(5);
      await expect(client.listPrompts()).rejects.toThrow(/forbidden/);
      await transport.terminateSession();
      await client.close();
    } finally {
      for (const stop of stops.toReversed()) await stop();
    }
  },
  60_000,
);

function rpc(method: string): object {
  return { jsonrpc: "2.0", id: 1, method };
}
