/** A call is drawn from its record as the conventions want it: what decided and what was asked are children, each once. */
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { spansOf } from "../src/audit/export-spans.ts";
import { parseSpan } from "../src/audit/span.ts";
import type { RecordedSpan } from "../src/audit/span.ts";
import { post } from "./support/ask.ts";
import type { Body } from "./support/ask.ts";
import { discovered, fixtureServer, KEYS, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";
import { startIll } from "./support/upstreams/ill.ts";

let fixture: Fixture;
let gateway: TestGateway;
let closing: () => Promise<unknown>;
const LIMIT = { name: "per-user", always: true, key: ["principal", "tool"], limit: 5, window: "60s" };

beforeAll(async () => {
  fixture = await startFixture();
  const [well, ill] = [await startIll(), await startIll()];
  const two = { name: "two", permissions: ["demo:use"], balance: "round-robin" };
  const places = [ill, well].map(({ url }, at) => ({ name: `place-${at}`, http: { url, allowPrivate: true } }));
  gateway = await startGateway({
    servers: [fixtureServer(fixture), { ...two, version: "1.0.0", instances: places }],
    limits: [LIMIT],
  });
  await discovered(gateway, "fixture");
  await discovered(gateway, "two");
  ill.falls("reset");
  closing = async () => [await gateway.close(), await fixture.close(), await well.close(), await ill.close()];
});
afterAll(() => closing());

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const OTHER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/** Over MCP, with what its `_meta` and its HTTP request say of a trace. */
async function call(
  name: string,
  { args = {}, meta = {}, headers = {} }: { args?: object; meta?: object; headers?: Record<string, string> } = {},
): Promise<{ readonly json: Body; readonly drawn: readonly RecordedSpan[] }> {
  const before = new Set((await lines()).map((line) => parseSpan(line)?.spanId));
  const _meta = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    ...meta,
  };
  const body = { jsonrpc: "2.0", id: "r-7", method: "tools/call", params: { name, arguments: args, _meta } };
  const own = { "mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": name };
  const { json } = await post(`${gateway.url}/mcp`, KEYS.alice, body, { ...own, ...headers });
  const fresh = (await lines()).map(parseSpan).filter((span) => span !== null && !before.has(span.spanId));
  return { json, drawn: fresh.flatMap((span) => (span === null ? [] : spansOf(span))) };
}

async function lines(): Promise<readonly string[]> {
  const directory = join(gateway.folder, "data/audit");
  const files = (await readdir(directory)).filter((file) => file.endsWith(".jsonl"));
  const texts = await Promise.all(files.map((file) => readFile(join(directory, file), "utf8")));
  return texts.flatMap((text) => text.split("\n").filter((line) => line !== ""));
}

const named = (drawn: readonly RecordedSpan[], name: string) => drawn.filter((span) => span.name === name);
const attributes = (span: RecordedSpan | undefined) => Object.fromEntries(span?.attributes ?? []);

describe("a call that is answered", () => {
  test("is one server span, with route, policy, limit, intent and one client span below it", async () => {
    const { drawn } = await call("fixture__echo", { args: { text: "hello" } });
    const [server, ...others] = drawn.filter(({ kind }) => kind === "server");
    expect(others).toEqual([]);
    const children = drawn.filter((span) => span !== server);
    expect(children.map(({ name, kind }) => `${name}, ${kind}`).toSorted()).toEqual([
      "intent, internal",
      "limit, internal",
      "policy, internal",
      "route, internal",
      "tools/call fixture__echo, client",
    ]);
    expect(server).toMatchObject({ name: "tools/call fixture__echo", status: "ok", links: [] });
    expect(attributes(server)).toMatchObject({
      "mcp.method.name": "tools/call",
      "gen_ai.operation.name": "execute_tool",
      "gen_ai.tool.name": "fixture__echo",
      "mcp.protocol.version": "2026-07-28",
      "jsonrpc.request.id": "r-7",
    });
    expect(new Set(drawn.map(({ spanId }) => spanId)).size).toBe(6);
    for (const child of children) {
      expect(child).toMatchObject({ traceId: server?.traceId, parentSpanId: server?.spanId, status: "unset" });
      expect(BigInt(child.start) >= BigInt(server?.start ?? 0)).toBe(true);
      expect(BigInt(child.end) <= BigInt(server?.end ?? 0)).toBe(true);
    }
    expect(attributes(named(drawn, "policy")[0])).toMatchObject({ "portcullis.decision": "allow" });
    expect(attributes(named(drawn, "limit")[0])).toMatchObject({ "portcullis.limit.name": "per-user" });
    expect(attributes(named(drawn, "route")[0])).toMatchObject({ "portcullis.server.version": "1.0.0" });
  });

  test("takes as long in its client span as the server took, and no longer in the others", async () => {
    const { drawn } = await call("fixture__slow", { args: { ms: 60 } });
    const took = (span: RecordedSpan | undefined) => Number(BigInt(span?.end ?? 0) - BigInt(span?.start ?? 0)) / 1e6;
    const client = drawn.find(({ kind }) => kind === "client");
    expect(took(client)).toBeGreaterThan(55);
    for (const name of ["policy", "limit", "route"]) expect(took(named(drawn, name)[0])).toBeLessThan(took(client));
    expect(took(named(drawn, "intent")[0])).toBe(0);
  });

  test("is heard of by the server as the attempt that is drawn, without the caller's baggage", async () => {
    const meta = { traceparent: `00-${TRACE}-00f067aa0ba902b7-00`, tracestate: "vendor=1", baggage: "who=me" };
    const { drawn } = await call("fixture__echo", { meta, headers: { baggage: "who=me" } });
    const client = drawn.find(({ kind }) => kind === "client");
    const { headers, meta: heard } = fixture.state.arrivals.at(-1)!;
    const traceparent = `00-${TRACE}-${client?.spanId}-01`;
    expect(heard).toMatchObject({ traceparent, tracestate: "vendor=1" });
    expect(headers).toMatchObject({ traceparent, tracestate: "vendor=1" });
    expect([heard["baggage"], headers["baggage"]]).toEqual([undefined, undefined]);
  });

  test("says of a tool's own error that it is one, at both ends", async () => {
    const { drawn } = await call("fixture__fail");
    for (const kind of ["server", "client"] as const) {
      const span = drawn.find((one) => one.kind === kind);
      expect(span?.status).toBe("error");
      expect(attributes(span)["error.type"]).toBe("tool_error");
    }
    const failed = await call("fixture__rpc_error", { args: { code: -32055 } });
    expect(attributes(failed.drawn.find(({ kind }) => kind === "client"))).toMatchObject({
      "error.type": "-32055",
      "rpc.response.status_code": "-32055",
    });
  });

  test("has a client span for each attempt, with its instance and how it failed", async () => {
    // whichever the turn begins with, one of two begins with the instance that is ill
    const both = [await call("two__echo", { args: { text: "a" } }), await call("two__echo", { args: { text: "b" } })];
    const tried = both.map(({ drawn }) => drawn.filter(({ kind }) => kind === "client"));
    const twice = tried.find((spans) => spans.length === 2) ?? [];
    expect(twice.map(({ status }) => status)).toEqual(["error", "unset"]);
    expect(twice.map((span) => attributes(span)["portcullis.instance"])).toEqual([
      "two@1.0.0#place-0",
      "two@1.0.0#place-1",
    ]);
    expect(attributes(twice[0])["error.type"]).toBe("upstream_error");
    expect(BigInt(twice[1]?.start ?? 0) >= BigInt(twice[0]?.end ?? 0)).toBe(true);
  });
});

describe("a call that is refused", () => {
  test("by policy has a policy span and nothing that was executed", async () => {
    const arrived = fixture.state.arrivals.length;
    const { drawn } = await refusedByPolicy();
    expect(drawn.map(({ name, kind }) => `${name}, ${kind}`)).toEqual([
      "tools/call fixture__echo, server",
      "route, internal",
      "policy, internal",
    ]);
    const policy = named(drawn, "policy")[0];
    expect(policy?.status).toBe("error");
    expect(attributes(policy)).toMatchObject({ "portcullis.decision": "deny", "error.type": "forbidden" });
    expect(fixture.state.arrivals).toHaveLength(arrived);
  });

  test("by a limit has a limit span that says so", async () => {
    let last = await call("fixture__long_number");
    for (let turn = 0; turn < LIMIT.limit; turn++) last = await call("fixture__long_number");
    expect(last.drawn.map(({ name }) => name)).toEqual(["tools/call fixture__long_number", "route", "policy", "limit"]);
    expect(attributes(named(last.drawn, "limit")[0])).toMatchObject({
      "portcullis.limit.remaining": 0,
      "error.type": "rate_limited",
    });
  });

  test("because nobody knows the tool has a route span alone", async () => {
    const { drawn } = await call("fixture__nothing");
    expect(drawn.map(({ name }) => name)).toEqual(["tools/call", "route"]);
    expect(attributes(drawn[1])["error.type"]).toBe("tool_not_found");
  });

  async function refusedByPolicy() {
    const before = new Set((await lines()).map((line) => parseSpan(line)?.spanId));
    // an auditor may use no tool
    await post(`${gateway.url}/tools/fixture__echo/call`, KEYS.ada, { arguments: {} });
    const fresh = (await lines()).map(parseSpan).filter((span) => span !== null && !before.has(span.spanId));
    return { drawn: fresh.flatMap((span) => (span === null ? [] : spansOf(span))) };
  }
});

describe("the caller's trace", () => {
  test("in _meta is the parent, and that of the HTTP request a link", async () => {
    const meta = { traceparent: `00-${TRACE}-00f067aa0ba902b7-01` };
    const { drawn } = await call("fixture__echo", { meta, headers: { traceparent: OTHER } });
    expect(drawn.find(({ kind }) => kind === "server")).toMatchObject({
      traceId: TRACE,
      parentSpanId: "00f067aa0ba902b7",
      parentIsRemote: true,
      links: [{ traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331" }],
    });
  });

  test.each([
    ["alone in the header, is the parent", {}],
    ["the same in both", { traceparent: OTHER }],
  ])("%s, without a link", async (_, meta) => {
    const { drawn } = await call("fixture__echo", { meta, headers: { traceparent: OTHER } });
    const server = drawn.find(({ kind }) => kind === "server");
    expect(server).toMatchObject({ parentSpanId: "b7ad6b7169203331", links: [] });
  });
});
