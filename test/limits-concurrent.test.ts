/** Calls at once: a call holds its place from when it is let through until it is over, however it ends, and no longer. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { callTool, checkCall } from "../src/call.ts";
import type { Gateway } from "../src/gateway.ts";
import type { Answer, CallRequest, Outcome } from "../src/model.ts";
import { mayCall } from "../src/view.ts";
import { post } from "./support/ask.ts";
import { discovered, fixtureServer, KEYS, startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { lacks, redisServer } from "./support/parts.ts";
import type { RedisServer } from "./support/parts.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

describe("over memory", () => {
  places(async () => null);
});
describe.skipIf(lacks("redis-server"))("over Redis", () => {
  places(redisServer);
});

function places(store: () => Promise<RedisServer | null>): void {
  let redis: RedisServer | null;
  let fixture: Fixture;
  let running: TestGateway;
  beforeAll(async () => {
    redis = await store();
    fixture = await startFixture();
    running = await startGateway({
      ...(redis === null ? {} : { redis: redis.url }),
      servers: [fixtureServer(fixture, { timeout: "1s", tools: { echo: { cost: 5 } } })],
      limits: [
        { name: "one", always: true, kind: "concurrent", key: ["principal"], limit: 1, redisDown: "closed" },
        { name: "plenty", always: true, key: ["principal"], limit: 100_000, window: "1h" },
      ],
    });
    await discovered(running, "fixture");
  });
  afterAll(async () => {
    await running.close();
    await fixture.close();
    await redis?.stop();
  });

  const call = (tool: string, { args = {}, signal = new AbortController().signal, with: changes = {} }: Wish = {}) =>
    callTool({ ...running.gateway, ...changes }, request(tool, args, signal));
  const begun = (ms: number, signal?: AbortSignal): { readonly over: Promise<Outcome<Answer>> } => ({
    over: call("slow", { args: { ms }, ...(signal === undefined ? {} : { signal }) }),
  });
  const isOut = (before: number) => until(() => fixture.state.arrivals.length > before, "the call is out");

  test("while one call is under way a second is refused, and when it is over the next passes", async () => {
    const before = fixture.state.arrivals.length;
    const { over } = begun(300);
    await isOut(before);
    const second = await call("echo");
    expect(codeOf(second)).toBe("rate_limited");
    expect(second).toMatchObject({ refusal: { detail: { retryAfterMs: 1000 } }, call: { limit: { name: "one" } } });
    expect(codeOf(await over)).toBe("ok");
    expect(codeOf(await call("echo"))).toBe("ok");
  });

  test.for([
    ["the tool fails", { tool: "fail" }],
    ["the server answers with an error", { tool: "rpc_error" }],
    ["the server breaks the protocol", { tool: "garbage" }],
    ["the server does not answer in time", { tool: "slow", args: { ms: 5000 } }],
    ["the tool asks back", { tool: "input_required" }],
    ["the intent cannot be written", { tool: "echo", fault: "intent" }],
    ["the outcome cannot be written", { tool: "echo", fault: "ending" }],
    ["a fault of ours ends it", { tool: "echo", fault: "pick" }],
  ] as const)("its place is free again when %s", async ([, { tool, ...how }]) => {
    const { audit, upstreams } = running.gateway;
    const faults = {
      intent: { audit: { ...audit, intent: () => Promise.reject(new Error("disk full")) } },
      ending: { audit: { ...audit, ending: () => Promise.reject(new Error("disk full")) } },
      pick: {
        upstreams: {
          ...upstreams,
          pick: () => {
            throw new TypeError("a fault");
          },
        },
      },
    };
    const args = "args" in how ? how.args : {};
    const broken = "fault" in how ? faults[how.fault] : {};
    await call(tool, { args, with: broken });
    // the first may stand aside for a moment after what the server did
    await until(async () => codeOf(await call("echo")) !== "upstream_unavailable", "the server is asked again");
    expect(codeOf(await call("echo"))).toBe("ok");
  });

  test("its place is free again when the caller cancels, or goes away", async () => {
    const gone = new AbortController();
    let before = fixture.state.arrivals.length;
    const { over } = begun(900, gone.signal);
    await isOut(before);
    gone.abort();
    expect(codeOf(await over)).toBe("cancelled");
    expect(codeOf(await call("echo"))).toBe("ok");
    before = fixture.state.arrivals.length;
    const leaving = new AbortController();
    const lost = fetch(`${running.url}/tools/fixture__slow/call`, {
      method: "POST",
      headers: { "x-api-key": KEYS.alice, "content-type": "application/json" },
      body: JSON.stringify({ arguments: { ms: 900 } }),
      signal: leaving.signal,
    }).catch(() => null);
    await isOut(before);
    expect(codeOf(await call("echo"))).toBe("rate_limited");
    leaving.abort();
    await lost;
    await until(async () => codeOf(await call("echo")) === "ok", "the place is free", 800);
  });

  test("a call that another limit refuses, or policy, takes no place", async () => {
    const denied = await callTool(running.gateway, {
      ...request("echo", {}, new AbortController().signal),
      credential: { kind: "secret", value: KEYS.ada },
    });
    expect(codeOf(denied)).toBe("forbidden");
    const { limits } = running.gateway;
    const [place] = [...running.gateway.snapshot().limits.values()];
    const full = { ...place, name: "full", kind: "sliding", limit: 1, windowMs: 60_000 } as NonNullable<typeof place>;
    const charges = [
      { limit: place as NonNullable<typeof place>, key: "places|test" },
      { limit: full, key: "log|test" },
    ];
    const charge = async (id: string) => (await limits.counters.charge(charges, { id, cost: 1 })).at(-1)?.verdict;
    expect(await charge("a")).toBe("charged");
    limits.counters.release("a");
    expect(await charge("b")).toBe("exhausted");
    const [free] = await limits.counters.look(charges.slice(0, 1), 1);
    expect(free?.state.remaining).toBe(1);
  });

  test("it is told without a window, and asking whether a call may be made takes no place", async () => {
    const may = async () =>
      await mayCall(running.gateway, request("echo", {}, new AbortController().signal), {
        tool: { kind: "name", name: "fixture__echo", version: null },
        arguments: {},
      });
    const before = fixture.state.arrivals.length;
    expect(await may()).toMatchObject({ ok: true, value: { allowed: true } });
    const { over } = begun(300);
    await isOut(before);
    expect(await may()).toMatchObject({ ok: true, value: { allowed: false } });
    const { response } = await post(`${running.url}/tools/fixture__echo/call`, KEYS.alice, { arguments: {} });
    expect(response.status).toBe(429);
    expect(response.headers.get("ratelimit")).toBe('"one";r=0');
    expect(response.headers.get("ratelimit-policy")).toBe('"one";q=1');
    expect(response.headers.get("retry-after")).toBe("1");
    await over;
    expect(await may()).toMatchObject({ ok: true, value: { allowed: true } });
  });

  test("a check for a proxy is refused under such a limit: nobody would say when the call is over", async () => {
    const asked = { ...request("echo", {}, new AbortController().signal), interface: "ext_authz" } as const;
    const outcome = await checkCall(running.gateway, asked);
    expect(outcome).toMatchObject({
      ok: false,
      refusal: { code: "forbidden", detail: { reasons: ["obligation_not_enforceable"] } },
      call: { decision: { allow: false } },
    });
    expect(codeOf(await call("echo"))).toBe("ok");
  });
}

type Wish = {
  readonly args?: CallRequest["arguments"];
  readonly signal?: AbortSignal;
  readonly with?: Partial<Gateway>;
};

function request(tool: string, args: CallRequest["arguments"], signal: AbortSignal): CallRequest {
  return {
    interface: "rest",
    protocol: "",
    path: "/tools",
    ip: "127.0.0.1",
    credential: { kind: "secret", value: KEYS.alice },
    traceparent: null,
    tracestate: null,
    signal,
    tool: { kind: "name", name: `fixture__${tool}`, version: null },
    arguments: args,
    meta: null,
    onProgress: null,
  };
}

function codeOf(outcome: Outcome<unknown>): string {
  return outcome.ok ? "ok" : outcome.refusal.code;
}
