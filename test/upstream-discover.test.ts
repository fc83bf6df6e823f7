/** Discovery finds every tool of a server, as the server said it, and ends; a change is heard. */
import { afterEach, describe, expect, test } from "vitest";
import { codeOf, http, until, upstreamsOf } from "./support/upstreams/calling.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";
import type { Upstreams } from "../src/upstream/forward.ts";

const open: { close: () => Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one.close();
});

async function meet(
  options: Parameters<typeof startFixture>[0],
  more?: Parameters<typeof upstreamsOf>[1],
): Promise<{ fixture: Fixture; upstreams: Upstreams }> {
  const fixture = await startFixture(options);
  const upstreams = upstreamsOf([http(fixture.url)], more);
  open.push(fixture, upstreams);
  return { fixture, upstreams };
}

const never = new AbortController().signal;
const discover = (upstreams: Upstreams) => upstreams.discover("s", "1", never);

describe.each(["modern", "legacy"] as const)("discovery of a %s server", (era) => {
  test("brings what it said of itself and its tools, unknown fields kept", async () => {
    const { upstreams, fixture } = await meet({ era });
    const found = await discover(upstreams);
    expect(found).toMatchObject({
      era,
      protocol: era === "modern" ? "2026-07-28" : "2025-11-25",
      serverInfo: { name: "fixture", version: "1.0.0", odd: true },
      capabilities: { tools: { listChanged: true }, odd: { kept: 1 } },
      instructions: "Be kind.",
    });
    expect(found.tools).toEqual(fixture.state.tools);
  });

  test.each([1, 2, 7])("walks every page of %i, an empty cursor included", async (pageSize) => {
    const { upstreams, fixture } = await meet({ era, pageSize });
    expect((await discover(upstreams)).tools).toEqual(fixture.state.tools);
  });

  test.each(["loop", "endless"] as const)("ends when the list does not: %s", async (cursors) => {
    const { upstreams, fixture } = await meet({ era, cursors });
    expect(await discover(upstreams).catch(codeOf)).toBe("upstream_error");
    expect(fixture.requests.length).toBeLessThan(cursors === "loop" ? 6 : 110);
  });

  test("ends when all pages together are too much", async () => {
    const tools = Array.from({ length: 100 }, (_, at) => ({
      name: `t${at}`,
      description: "x".repeat(1000),
      inputSchema: {},
    }));
    const { upstreams } = await meet({ era, pageSize: 10, tools }, { resultBytesMax: 50_000 });
    expect(await discover(upstreams).catch(codeOf)).toBe("upstream_error");
  });

  test("ends when one page alone holds too many", async () => {
    const tools = Array.from({ length: 5001 }, (_, at) => ({ name: `t${at}` }));
    const { upstreams } = await meet({ era, tools });
    expect(await discover(upstreams).catch(codeOf)).toBe("upstream_error");
  });

  test("refuses a list that holds something else", async () => {
    for (const tools of [[{ title: "nameless" }], ["text"], [{ name: "" }]]) {
      const { upstreams } = await meet({ era, tools: tools as never });
      expect(await discover(upstreams).catch(codeOf)).toBe("upstream_error");
    }
  });

  test("hears that the list changed, and finds the new one", async () => {
    const { upstreams, fixture } = await meet({ era });
    let heard = 0;
    upstreams.onListChanged(() => void heard++);
    await discover(upstreams);
    await until(() => fixture.requests.some(({ method, rpc }) => method === "GET" || rpc === "subscriptions/listen"));
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(heard).toBe(0);
    fixture.define([{ name: "new", inputSchema: { type: "object" } }]);
    await until(() => heard === 1);
    expect((await discover(upstreams)).tools).toEqual([{ name: "new", inputSchema: { type: "object" } }]);
  });

  test("counts a broken stream as a change once it stands again", async () => {
    const { upstreams, fixture } = await meet({ era });
    let heard = 0;
    upstreams.onListChanged(() => void heard++);
    await discover(upstreams);
    await until(() => fixture.streams() === 1);
    fixture.cutStreams();
    await until(() => heard === 1 && fixture.streams() === 1);
  });

  test("stops when nobody waits for it any more", async () => {
    const { upstreams, fixture } = await meet({ era });
    fixture.mute(true);
    const controller = new AbortController();
    const found = upstreams.discover("s", "1", controller.signal).catch(codeOf);
    await until(() => fixture.requests.length === 1);
    controller.abort();
    expect(await found).toBe("cancelled");
  });
});

describe("discovery", () => {
  test("drops a modern tool whose header parameters break the rules, and keeps a legacy one", async () => {
    const bad = (schema: object) => ({ name: "bad", inputSchema: schema });
    const tools = [
      { name: "good", inputSchema: { type: "object", properties: { a: { type: "string", "x-mcp-header": "A" } } } },
      bad({ properties: { a: { type: "number", "x-mcp-header": "A" } } }),
      bad({ properties: { a: { type: "string", "x-mcp-header": "A b" } } }),
      bad({ properties: { a: { type: "string", "x-mcp-header": "A" }, b: { type: "string", "x-mcp-header": "a" } } }),
      bad({ properties: { a: { type: "array", items: { type: "string", "x-mcp-header": "A" } } } }),
      bad({ anyOf: [{ properties: { a: { type: "string", "x-mcp-header": "A" } } }] }),
      bad({ $defs: { x: { type: "string", "x-mcp-header": "A" } } }),
      bad({ type: "string", "x-mcp-header": "A" }),
    ];
    const modern = await meet({ era: "modern", tools });
    expect((await discover(modern.upstreams)).tools.map(({ name }) => name)).toEqual(["good"]);
    const legacy = await meet({ era: "legacy", tools });
    expect((await discover(legacy.upstreams)).tools).toHaveLength(8);
  });

  test("asks the next instance when the first is away, and one set aside last", async () => {
    const up = await startFixture();
    const away = await startFixture();
    await away.close();
    const upstreams = upstreamsOf([http(away.url), http(up.url)], { backoffFirstMs: 60_000, backoffMaxMs: 60_000 });
    open.push(up, upstreams);
    expect((await discover(upstreams)).tools.length).toBeGreaterThan(10);
    expect(upstreams.status().map(({ state }) => state)).toEqual(["set_aside", "ready"]);
  });

  test("says unavailable when no instance answers", async () => {
    const away = await startFixture();
    await away.close();
    const upstreams = upstreamsOf([http(away.url)]);
    open.push(upstreams);
    expect(await discover(upstreams).catch(codeOf)).toBe("upstream_unavailable");
  });

  test("leaves a server alone that offers no standing stream", async () => {
    const { upstreams, fixture } = await meet({ era: "legacy", getStream: false });
    await discover(upstreams);
    await until(() => fixture.requests.some(({ method }) => method === "GET"));
    await new Promise((resolve) => setTimeout(resolve, 1200));
    expect(fixture.requests.filter(({ method }) => method === "GET")).toHaveLength(1);
  });
});
