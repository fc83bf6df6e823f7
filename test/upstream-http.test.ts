/** A call reaches an http instance of either era whole, and comes back whole; what breaks the protocol never does. */
import { afterEach, describe, expect, test } from "vitest";
import { callOn, codeOf, http, textOf, until, upstreamsOf } from "./support/upstreams/calling.ts";
import type { Wish } from "./support/upstreams/calling.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";
import { GARBAGE } from "./support/upstreams/fixture-tools.ts";
import type { Upstreams } from "../src/upstream/forward.ts";
import { retryAfter } from "../src/upstream/status.ts";

const open: { close: () => Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one.close();
});

async function meet(
  options: Parameters<typeof startFixture>[0] = {},
): Promise<{ fixture: Fixture; upstreams: Upstreams }> {
  const fixture = await startFixture(options);
  const upstreams = upstreamsOf([
    http(fixture.url, { headers: { authorization: "Bearer upstream", "mcp-session-id": "forged" } }),
  ]);
  open.push(fixture, upstreams);
  return { fixture, upstreams };
}

async function callOnce(options: Parameters<typeof startFixture>[0], name: string, wish?: Wish) {
  const { fixture, upstreams } = await meet(options);
  const { call, came, answer } = callOn(upstreams, name, wish);
  return { came: await came(), call, fixture, upstreams, text: await answer.then(textOf, () => "") };
}

const WAYS = [
  { era: "modern", reply: "json" },
  { era: "modern", reply: "sse" },
  { era: "legacy", reply: "json" },
  { era: "legacy", reply: "sse" },
] as const;

describe.each(WAYS)("a $era server that answers as $reply", (way) => {
  test("gets the arguments as they are, and its result comes back with every field", async () => {
    const { upstreams, fixture } = await meet(way);
    const args = { text: "été ☂", deep: { list: [1, null, { a: "\u0000" }] } };
    const { call, answer } = callOn(upstreams, "echo", { args });
    expect(await answer).toMatchObject({
      kind: "result",
      result: { content: [{ type: "text", text: "été ☂", unheard: 1 }], structuredContent: args, odd: { kept: true } },
    });
    expect(fixture.state.arrivals[0]?.arguments).toEqual(args);
    expect(call).toMatchObject({ executed: "yes", attempts: 1 });
  });

  test("gets the caller's own _meta, but envelope, progress token, trace and baggage are the gateway's", async () => {
    const { fixture } = await callOnce(way, "echo", {
      meta: {
        "example.com/kept": { a: 1 },
        "io.modelcontextprotocol/clientInfo": { name: "forged", version: "0" },
        "io.modelcontextprotocol/logLevel": "debug",
        "portcullis/version": "2",
        progressToken: "theirs",
        traceparent: "00-11111111111111111111111111111111-1111111111111111-01",
        baggage: "secret=1",
      },
      tracestate: "vendor=1",
      parentSpanId: "1111111111111111",
    });
    const trace = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203321-01", tracestate: "vendor=1" };
    const envelope = {
      "io.modelcontextprotocol/protocolVersion": "2026-07-28",
      "io.modelcontextprotocol/clientInfo": { name: "portcullis", version: expect.any(String) },
      "io.modelcontextprotocol/clientCapabilities": {},
    };
    const arrival = fixture.state.arrivals[0];
    expect(arrival?.meta).toEqual({
      "example.com/kept": { a: 1 },
      "portcullis/timeLeftMs": expect.any(Number) as number,
      ...trace,
      ...(way.era === "modern" ? envelope : {}),
    });
    expect(arrival?.headers).toMatchObject({ ...trace, authorization: "Bearer upstream" });
    expect(arrival?.headers["baggage"]).toBeUndefined();
  });

  test("is not given another trace's state", async () => {
    const { fixture } = await callOnce(way, "echo", { tracestate: "vendor=1" });
    expect(fixture.state.arrivals[0]?.meta["tracestate"]).toBeUndefined();
    expect(fixture.state.arrivals[0]?.headers["tracestate"]).toBeUndefined();
  });

  test("answers with a tool's own failure as a result, and with its own JSON-RPC error as it is", async () => {
    const { upstreams } = await meet(way);
    expect(await callOn(upstreams, "fail").answer).toMatchObject({ kind: "result", result: { isError: true } });
    const failed = callOn(upstreams, "rpc_error");
    expect(await failed.answer).toEqual({
      kind: "error",
      error: { code: -32602, message: "no such thing", data: { kept: [1] } },
    });
    expect(failed.call.executed).toBe("yes");
  });

  test.each(GARBAGE)("is refused when it answers garbage: %s", async (kind) => {
    const { came, call } = await callOnce(way, "garbage", { args: { kind } });
    expect(came).toBe("upstream_error");
    expect(call.executed).toBe("unknown");
  });

  test("is refused when it answers more than the gateway takes", async () => {
    const { came, call } = await callOnce(way, "big", { args: { bytes: 100 * 1024 * 1024 } });
    expect([came, call.executed]).toEqual(["upstream_error", "unknown"]);
  });

  test("may answer megabytes within the bound", async () => {
    expect((await callOnce(way, "big", { args: { bytes: 12_000_000 } })).text).toHaveLength(12_000_000);
  });

  test("is cut at what policy allows this call, when that is less", async () => {
    expect((await callOnce(way, "big", { args: { bytes: 200_000 }, resultBytesMax: 1000 })).came).toBe(
      "upstream_error",
    );
  });

  test("that dies in the middle leaves the call's fate unknown", async () => {
    const { came, call } = await callOnce(way, "die");
    expect([came, call.executed, call.attempts]).toEqual(["upstream_error", "unknown", 1]);
  });

  test("that never answers is given up at the deadline, and told so", async () => {
    const { came, call, fixture } = await callOnce(way, "hang", { timeoutMs: 200 });
    expect([came, call.executed]).toEqual(["upstream_timeout", "unknown"]);
    await until(() => fixture.state.cancelled.length === 1);
  });

  test("is told when the caller cancels", async () => {
    const { upstreams, fixture } = await meet(way);
    const controller = new AbortController();
    const { call, came } = callOn(upstreams, "slow", { args: { ms: 5000 }, signal: controller.signal });
    await until(() => fixture.state.arrivals.length === 1);
    controller.abort();
    expect([await came(), call.executed]).toEqual(["cancelled", "unknown"]);
    await until(() => fixture.state.cancelled.length === 1);
    expect(fixture.state.cancelled).toEqual(["slow"]);
  });

  test("hears nothing of a call that was cancelled before it began", async () => {
    const { upstreams, fixture } = await meet(way);
    const { call, came } = callOn(upstreams, "echo", { signal: AbortSignal.abort() });
    expect([await came(), call.executed]).toEqual(["cancelled", "no"]);
    expect(fixture.requests).toEqual([]);
  });

  test("carries a hundred calls at once without mixing them up", async () => {
    const { upstreams } = await meet(way);
    const texts = Array.from({ length: 100 }, (_, at) => String(at));
    const answers = await Promise.all(texts.map((text) => callOn(upstreams, "echo", { args: { text } }).answer));
    expect(answers.map(textOf)).toEqual(texts);
    expect(upstreams.status()).toMatchObject([{ state: "ready", inFlight: 0, lastError: null }]);
  });
});

describe.each(["modern", "legacy"] as const)("progress from a %s server", (era) => {
  test("reaches its own call, unknown fields kept and the token left out", async () => {
    const { upstreams } = await meet({ era, reply: "sse" });
    const heard: unknown[] = [];
    const other: unknown[] = [];
    const one = callOn(upstreams, "progress", { args: { steps: 2 }, onProgress: (params) => heard.push(params) });
    const two = callOn(upstreams, "stray_progress", { onProgress: (params) => other.push(params) });
    await Promise.all([one.answer, two.answer]);
    expect(heard).toEqual([
      { progress: 1, total: 2, odd: true },
      { progress: 2, total: 2, odd: true },
    ]);
    expect(other).toEqual([]);
  });

  test("does not extend the deadline", async () => {
    const { came } = await callOnce({ era, reply: "sse" }, "progress", {
      args: { steps: 100, ms: 20 },
      timeoutMs: 300,
      onProgress: () => {},
    });
    expect(came).toBe("upstream_timeout");
  });
});

describe("the modern envelope", () => {
  test("repeats marked arguments in headers, encoded where a header cannot carry them", async () => {
    const { upstreams, fixture } = await meet({ era: "modern" });
    const definition = fixture.state.tools.find(({ name }) => name === "with_headers") as never;
    for (const args of [
      { region: "eu", deep: { count: 3 } },
      { region: " spaced ", deep: { count: 0 } },
      { region: "größe" },
      { region: "=?base64?eA==?=" },
      { region: "" },
      { region: null },
      {},
    ]) {
      expect((await callOn(upstreams, "with_headers", { args, definition }).answer).kind).toBe("result");
    }
    expect(fixture.state.arrivals[2]?.headers["mcp-param-region"]).toBe("=?base64?Z3LDtsOfZQ==?=");
  });

  test("that the server refuses was not executed", async () => {
    const { came, call } = await callOnce({ era: "modern" }, "with_headers", { args: { region: "eu" } });
    expect([came, call.executed]).toEqual(["upstream_error", "no"]);
  });

  test.each([-32020, -32022])("refused by code %i is a fault of this hop, and nothing was executed", async (code) => {
    const { came, call } = await callOnce({ era: "modern" }, "rpc_error", { args: { code } });
    expect([came, call.executed]).toEqual(["upstream_error", "no"]);
  });

  test("declares no capability: that a tool needs one is the server's own answer, for the caller", async () => {
    const { upstreams } = await meet({ era: "modern" });
    const { answer } = callOn(upstreams, "rpc_error", { args: { code: -32021 } });
    expect(await answer).toEqual({
      kind: "error",
      error: { code: -32021, message: "no such thing", data: { kept: [1] } },
    });
  });

  test("is an interim answer nowhere: input_required is refused by its name, unknown kinds as a broken protocol", async () => {
    const { upstreams } = await meet({ era: "modern" });
    expect(await callOn(upstreams, "input_required").came()).toBe("input_required");
    expect(await callOn(upstreams, "odd_kind").came()).toBe("upstream_error");
  });
});

describe("a legacy session", () => {
  test("is opened once for all who wait, and ended with the gateway", async () => {
    const { upstreams, fixture } = await meet({ era: "legacy" });
    await Promise.all(Array.from({ length: 20 }, () => callOn(upstreams, "echo").answer));
    expect(fixture.state.handshakes).toBe(1);
    expect(fixture.sessions.size).toBe(1);
    await upstreams.close();
    expect(fixture.sessions.size).toBe(0);
  });

  test("that is lost is opened anew once for all, and the refused calls are sent again", async () => {
    const { upstreams, fixture } = await meet({ era: "legacy" });
    await callOn(upstreams, "echo").answer;
    fixture.forgetSessions();
    const made = Array.from({ length: 5 }, () => callOn(upstreams, "echo"));
    expect(await Promise.all(made.map(({ came }) => came()))).toEqual(Array(5).fill("result"));
    expect(made.map(({ call }) => call.executed)).toEqual(Array(5).fill("yes"));
    expect(fixture.state.arrivals).toHaveLength(6);
    expect(fixture.state.handshakes).toBe(2);
  });

  test("is not minted by a server that keeps none", async () => {
    const { upstreams, fixture } = await meet({ era: "legacy", sessions: false });
    await callOn(upstreams, "echo").answer;
    expect(fixture.requests.every(({ session }) => session === undefined)).toBe(true);
  });

  test.each(["2025-11-25", "2025-06-18", "2025-03-26"])("may be of revision %s", async (protocol) => {
    const { upstreams, fixture } = await meet({ era: "legacy", protocol });
    await callOn(upstreams, "echo").answer;
    expect(fixture.state.arrivals[0]?.headers["mcp-protocol-version"]).toBe(protocol);
  });

  test("of an unknown revision is refused", async () => {
    expect((await callOnce({ era: "legacy", protocol: "2031-01-01" }, "echo")).came).toBe("upstream_error");
  });
});

describe("a server of both eras", () => {
  test("is spoken to in the modern one", async () => {
    const { upstreams, fixture } = await meet({ era: "both" });
    await callOn(upstreams, "echo").answer;
    expect(fixture.requests.map(({ rpc }) => rpc)).toEqual(["server/discover", "tools/call"]);
  });
});

describe("a server that asks", () => {
  test("over HTTP is told that it lives, and that nothing else is offered, each on its own", async () => {
    const { text } = await callOnce({ era: "legacy", reply: "sse" }, "asks");
    const refused = { code: -32601, message: "Method not found" };
    expect(JSON.parse(text)).toEqual(
      expect.arrayContaining([
        { jsonrpc: "2.0", id: "q1", result: {} },
        { jsonrpc: "2.0", id: "q2", error: refused },
        { jsonrpc: "2.0", id: "q3", error: refused },
      ]),
    );
  });
});

describe("a status instead of an answer", () => {
  test.each([
    [401, "upstream_error", "no"],
    [403, "upstream_error", "no"],
    [429, "upstream_unavailable", "unknown"],
    [503, "upstream_unavailable", "unknown"],
    [500, "upstream_error", "unknown"],
    [307, "upstream_error", "unknown"],
    [204, "upstream_error", "unknown"],
  ])("%i is %s, executed: %s", async (status, code, executed) => {
    const { upstreams, fixture } = await meet({ era: "modern" });
    await callOn(upstreams, "echo").answer;
    fixture.answerWith(status);
    const { call, came } = callOn(upstreams, "echo");
    expect([await came(), call.executed]).toEqual([code, executed]);
  });

  test.each([
    ["7", 7000],
    ["86400", 60_000],
    ["Sun, 29 Nov 2026 08:00:20 GMT", 20_000],
    ["Sun, 29 Nov 2026 07:59:59 GMT", undefined],
    ["0", undefined],
    ["-1", undefined],
    ["99999999999", undefined],
    ["soon", undefined],
  ])("with Retry-After %s says that many milliseconds: %s", (value, ms) => {
    expect(retryAfter(value, Date.parse("Sun, 29 Nov 2026 08:00:00 GMT"))).toBe(ms);
  });

  test("that means the server changed its era is learnt from", async () => {
    const { upstreams, fixture } = await meet({ era: "modern" });
    await callOn(upstreams, "echo").answer;
    (fixture.state as { era: string }).era = "legacy";
    expect(await callOn(upstreams, "echo").came()).toBe("upstream_error");
    expect(await callOn(upstreams, "echo").came()).toBe("result");
  });
});

test("no refusal quotes the server", async () => {
  const { upstreams } = await meet({ era: "modern" });
  const refusal = await callOn(upstreams, "garbage", { args: { kind: "SECRET{" } }).answer.catch(
    (thrown: unknown) => thrown,
  );
  expect(codeOf(refusal)).toBe("upstream_error");
  expect((refusal as Error).message).not.toContain("SECRET");
});
