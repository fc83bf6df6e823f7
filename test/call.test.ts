/** One tool call, told as the manual would: what happens, in which order, and what is true when a part fails. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { callTool } from "../src/call.ts";
import type { Gateway } from "../src/gateway.ts";
import type { Answer, CallRequest, Outcome, Stage } from "../src/model.ts";
import { discovered, fixtureServer, keyOf, KEYS, startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

let fixture: Fixture;
let second: Fixture;
let running: TestGateway;

beforeAll(async () => {
  fixture = await startFixture();
  second = await startFixture();
  const instances = [fixture, second].map(({ url }) => ({ http: { url, allowPrivate: true } }));
  running = await startGateway({
    servers: [
      fixtureServer(fixture, { timeout: "2s" }),
      fixtureServer(fixture, { name: "pair", instances, timeout: "2s" }),
    ],
  });
  await discovered(running, "fixture");
  await discovered(running, "pair");
});
afterAll(async () => {
  await running.close();
  await fixture.close();
  await second.close().catch(() => undefined);
});

function call(
  changes: Partial<Gateway> = {},
  request: Partial<CallRequest> & { key?: string; name?: string } = {},
): Promise<Outcome<Answer>> {
  const { key = KEYS.alice, name = "fixture__echo", ...rest } = request;
  return callTool(
    { ...running.gateway, ...changes },
    {
      interface: "rest",
      protocol: "",
      path: "/tools",
      ip: "127.0.0.1",
      credential: { kind: "secret", value: key },
      traceparent: null,
      tracestate: null,
      signal: new AbortController().signal,
      tool: { kind: "name", name, version: null },
      arguments: { text: "hello" },
      meta: null,
      onProgress: null,
      ...rest,
    },
  );
}

const arrivals = (): number => fixture.state.arrivals.length + second.state.arrivals.length;
const code = (outcome: Outcome<unknown>): string => (outcome.ok ? "ok" : outcome.refusal.code);

describe("a tool call", () => {
  test("is answered losslessly, and recorded before the upstream hears and before the caller does", async () => {
    const outcome = await call();
    expect(outcome).toMatchObject({
      ok: true,
      value: { kind: "result", result: { odd: { kept: true }, structuredContent: { text: "hello" } } },
    });
    expect(outcome.call).toMatchObject({
      executed: "yes",
      attempts: 1,
      recorded: true,
      stage: "redact" satisfies Stage,
    });
    const own = (await running.records()).filter((record) => record["portcullis.call.id"] === outcome.call.id);
    expect(own.map((record) => record["portcullis.record"])).toEqual(["intent", "outcome"]);
  });

  test("of a stranger is refused before policy is asked", async () => {
    const outcome = await call({}, { key: keyOf("eve") });
    expect([code(outcome), outcome.call.stage, outcome.call.decision]).toEqual([
      "unauthenticated",
      "authenticate",
      null,
    ]);
  });

  test("that policy denies never reaches the upstream, nor a limit", async () => {
    const before = arrivals();
    const outcome = await call({}, { key: KEYS.ada });
    expect([code(outcome), outcome.call.stage, outcome.call.limit]).toEqual(["forbidden", "authorize", null]);
    expect(arrivals()).toBe(before);
  });

  test("is not sent when its intent cannot be written", async () => {
    const before = arrivals();
    const { audit } = running.gateway;
    const outcome = await call({ audit: { ...audit, intent: () => Promise.reject(new Error("disk full")) } });
    expect([code(outcome), outcome.call.executed]).toEqual(["audit_unavailable", "no"]);
    expect(arrivals()).toBe(before);
  });

  test("whose outcome cannot be written is not told, but that it was executed is", async () => {
    const before = arrivals();
    const { audit } = running.gateway;
    const outcome = await call({ audit: { ...audit, ending: () => Promise.reject(new Error("disk full")) } });
    expect([code(outcome), outcome.call.executed]).toEqual(["audit_unavailable", "yes"]);
    expect(arrivals()).toBe(before + 1);
    expect(JSON.stringify(outcome.ok ? outcome.value : outcome.refusal.message)).not.toContain("hello");
  });

  test("that meets a fault of ours is an audited internal refusal that says nothing of its cause", async () => {
    const broken = {
      ...running.gateway.upstreams,
      group: () => {
        throw new TypeError("secret detail");
      },
    };
    const outcome = await call({ upstreams: broken });
    expect(code(outcome)).toBe("internal");
    expect(outcome.ok ? "" : outcome.refusal.message).not.toContain("secret");
    const own = (await running.records()).filter((record) => record["portcullis.call.id"] === outcome.call.id);
    expect(own.at(-1)).toMatchObject({ "error.type": "internal" });
    expect(JSON.stringify(own)).not.toContain("secret detail");
  });

  test("keeps the snapshot it began with, whatever is put in force meanwhile", async () => {
    const slow = call({}, { name: "fixture__slow", arguments: { ms: 300 } });
    await until(() => fixture.state.arrivals.some(({ name }) => name === "slow"), "the call is out");
    await running.rewrite({ roles: {} });
    expect(code(await call())).toBe("forbidden");
    const outcome = await slow;
    expect(code(outcome)).toBe("ok");
    expect(outcome.call.snapshot.revision).not.toBe(running.gateway.snapshot().revision);
    await running.rewrite({});
  });

  test("is cancelled by its caller, upstream too", async () => {
    const gone = new AbortController();
    const slow = call({}, { name: "fixture__slow", arguments: { ms: 1500 }, signal: gone.signal });
    const before = fixture.state.cancelled.length;
    setTimeout(() => gone.abort(), 100);
    const outcome = await slow;
    expect([code(outcome), outcome.call.executed]).toEqual(["cancelled", "unknown"]);
    await until(() => fixture.state.cancelled.length > before, "the upstream hears of it");
  });

  test("goes to the other instance when one is down, and nothing was sent", async () => {
    await second.close();
    for (let round = 0; round < 6; round++)
      expect(code(await call({}, { name: "pair__test_error_handling", arguments: {} }))).toBe("ok");
  });
});
