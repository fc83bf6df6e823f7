/** The promise: a tool that runs into its deadline again and again is left alone by who asks for it so, and by nobody else. */
import { describe, expect, test } from "vitest";
import { Refusal } from "../src/refusal.ts";
import { createTools } from "../src/upstream/tools.ts";
import type { Tools } from "../src/upstream/tools.ts";
import { post } from "./support/ask.ts";
import { discovered, fixtureServer, KEYS, startGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const FAILURES = 5;

function stand(): { readonly tools: Tools; readonly later: (ms: number) => void } {
  let nowMs = 0;
  return {
    tools: createTools(
      () => FAILURES,
      () => nowMs,
    ),
    later: (ms) => void (nowMs += ms),
  };
}

const late = (tools: Tools, tenant: string, times = FAILURES): void => {
  for (let call = 0; call < times; call++) tools.report(tools.admit("dig", tenant), "failed");
};
const passes = (tools: Tools, tool: string, tenant: string): boolean => {
  try {
    tools.report(tools.admit(tool, tenant), "worked");
    return true;
  } catch (refusal) {
    if (refusal instanceof Refusal && refusal.code === "upstream_unavailable") return false;
    throw refusal;
  }
};

describe("a tool that does not answer in time", () => {
  test("is not called for a while by the tenant that found it so", () => {
    const { tools } = stand();
    late(tools, "acme");
    expect(passes(tools, "dig", "acme")).toBe(false);
    expect(tools.open()).toEqual(["dig"]);
    expect(passes(tools, "echo", "acme")).toBe(true);
  });

  test("is called by every other tenant, whoever takes the one call that tries it", () => {
    const { tools, later } = stand();
    late(tools, "acme");
    for (let pause = 0; pause < 4; pause++) {
      expect(passes(tools, "dig", "other")).toBe(true);
      later(120_000);
      // the call that tries it, and takes all its time
      tools.report(tools.admit("dig", "acme"), "failed");
      expect(passes(tools, "dig", "acme")).toBe(false);
    }
  });

  test("says in whole milliseconds when to try again, at a real gateway", async () => {
    const fixture = await startFixture();
    const gateway = await startGateway({
      servers: [fixtureServer(fixture, { tools: { slow: { timeout: "250ms" } } })],
    });
    try {
      await discovered(gateway, "fixture");
      const call = (tool: string, args: object) =>
        post(`${gateway.url}/tools/fixture__${tool}/call`, KEYS.alice, { arguments: args });
      const refusals: { readonly code: string; readonly retryAfterMs?: number }[] = [];
      for (let made = 0; made < 20 && refusals.at(-1)?.retryAfterMs === undefined; made++) {
        // the instance answers otherwise
        expect((await call("echo", { text: "x" })).response.status).toBe(200);
        refusals.push((await call("slow", { ms: 5_000 })).json);
      }
      const last = refusals.at(-1);
      expect(last?.code).toBe("upstream_unavailable");
      expect(Number.isInteger(last?.retryAfterMs)).toBe(true);
    } finally {
      await gateway.close();
      await fixture.close();
    }
  });

  test("is known by one duration, whoever calls it", () => {
    const { tools } = stand();
    const use = tools.admit("dig", "acme");
    use.tool.usualMs = 7;
    expect(tools.admit("dig", "other").tool.usualMs).toBe(7);
  });
});
