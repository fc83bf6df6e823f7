/** Operators see with each server how much the limits of its tools are used, from the shell and in the graph. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { portcullis } from "./cli-io.ts";
import { DOORS, post } from "./support/ask.ts";
import { discovered, fixtureServer, KEYS, startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

let fixture: Fixture;
let gateway: TestGateway;
beforeAll(async () => {
  fixture = await startFixture();
  const tools = { echo: { rateLimit: 2, limits: ["named"] } };
  gateway = await startGateway({
    servers: [fixtureServer(fixture, { tools }), fixtureServer(fixture, { name: "other" })],
    limits: [
      { name: "at-once", always: true, kind: "concurrent", key: ["principal"], limit: 5, redisDown: "closed" },
      { name: "at-once2", always: true, kind: "concurrent", key: ["tenant"], limit: 7, redisDown: "closed" },
      { name: "named", kind: "bucket", key: ["server"], limit: 60, burst: 9, window: "60s" },
      { name: "of-nobody", key: ["server"], limit: 1, window: "1s" },
    ],
  });
  await discovered(gateway, "fixture");
});
afterAll(async () => {
  await gateway.close();
  await fixture.close();
});

const rest = (tool: string, args: object = {}) =>
  (DOORS["rest"] as (typeof DOORS)[string])(gateway, { key: KEYS.alice, tool, arguments: args });

test("servers show and health name each limit that concerns a server, what it let through, refused, and who holds a place", async () => {
  const codes = [];
  for (let at = 0; at < 3; at++) codes.push((await rest("echo", { text: "a" })).code);
  expect(codes).toEqual(["ok", "ok", "rate_limited"]);
  const before = fixture.state.arrivals.length;
  const slow = rest("slow", { ms: 3000 });
  await until(() => fixture.state.arrivals.length > before, "the call is out");
  const always = [
    { name: "at-once", kind: "concurrent", limit: 5, windowMs: 0, charged: 3, refused: 0, held: 1 },
    { name: "at-once2", kind: "concurrent", limit: 7, windowMs: 0, charged: 3, refused: 0, held: 1 },
  ];
  const limits = [
    ...always,
    { name: "named", kind: "bucket", limit: 9, windowMs: 60_000, charged: 2, refused: 0, held: null },
    { name: "tool:fixture__echo", kind: "sliding", limit: 2, windowMs: 60_000, charged: 2, refused: 1, held: null },
  ];
  const query = `{server(name: "fixture") {health {limits {name kind limit windowMs charged refused held}}}}`;
  const graph = await post(`${gateway.url}/graphql`, KEYS.oscar, { query });
  expect(graph.json.data.server.health).toEqual([{ limits }]);
  const show = async (...words: readonly string[]) =>
    (await portcullis(["servers", "show", ...words, "--config", gateway.configFile])).stdout;
  expect(JSON.parse(await show("fixture", "--json"))).toMatchObject([{ limits }]);
  expect(JSON.parse(await show("other", "--json"))).toMatchObject([{ limits: always }]);
  const text = await show("fixture");
  expect(text).toMatch(/limit +at-once, kind concurrent, limit 5, charged 3, refused 0, held 1\n/);
  expect(text).toMatch(/limit +tool:fixture__echo, kind sliding, limit 2, charged 2, refused 1, windowMs 60000\n/);
  expect((await slow).code).toBe("ok");
  expect(await show("fixture")).toContain("charged 3, refused 0, held 0");
});
