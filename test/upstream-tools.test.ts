/** The promise: a tool that runs into its deadline again and again is left alone by who asks for it so, and by nobody else. */
import { describe, expect, test } from "vitest";
import { Refusal } from "../src/refusal.ts";
import { createTools } from "../src/upstream/tools.ts";
import type { Tools } from "../src/upstream/tools.ts";

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

  test("is known by one duration, whoever calls it", () => {
    const { tools } = stand();
    const use = tools.admit("dig", "acme");
    use.tool.usualMs = 7;
    expect(tools.admit("dig", "other").tool.usualMs).toBe(7);
  });
});
