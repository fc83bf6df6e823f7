/** A client of MCP 2026-07-28 is served without any state. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { modern, send, setUp } from "./mcp-door-client.ts";
import type { Setup } from "./mcp-door-client.ts";
import { ODD_RESULT, startUpstream, TOOLS } from "./mcp-door-upstream.ts";
import { discovered, KEYS, startGateway } from "./support/gateway.ts";

let it: Setup;
beforeAll(async () => {
  it = await setUp();
});
afterAll(() => it.close());

const SERVER_INFO = "io.modelcontextprotocol/serverInfo";
const echo = (id: unknown = 1, args: object = { a: 1 }) =>
  modern("tools/call", { name: "new__echo", arguments: args }, id);

test("discovery names the revision, tools alone, and who answers", async () => {
  const { status, headers, body } = await send(it.gateway, modern("server/discover"));
  expect(status).toBe(200);
  expect(headers.get("portcullis-call-id")).toMatch(/^[0-9a-f-]{36}$/);
  expect(body.result).toEqual({
    resultType: "complete",
    supportedVersions: ["2026-07-28"],
    capabilities: { tools: {} },
    ttlMs: expect.any(Number) as number,
    cacheScope: "private",
    _meta: { [SERVER_INFO]: { name: "portcullis", version: expect.any(String) as string } },
  });
});

test("discovery of one server speaks in that server's name", async () => {
  const { body } = await send(it.gateway, { path: "/mcp/old", ...modern("server/discover") });
  expect(body.result).toMatchObject({
    instructions: "Be kind.",
    _meta: { [SERVER_INFO]: { name: "raw-server", version: "9.9.9", title: "Raw" } },
  });
});

test("a list holds what this principal may see, in one order, under gateway names, with all that the server said", async () => {
  const { body } = await send(it.gateway, modern("tools/list"));
  const names = TOOLS.map(({ name }) => name)
    .filter((name) => name !== "secret")
    .toSorted();
  expect(body.result?.tools?.map(({ name }) => name)).toEqual([
    ...names.map((name) => `new__${name}`),
    ...names.map((name) => `old__${name}`),
  ]);
  expect(body.result?.tools?.[1]).toEqual({ ...TOOLS[0], name: "new__echo" });
  expect(body.result).toMatchObject({ resultType: "complete", cacheScope: "private" });
  const operator = await send(it.gateway, { key: KEYS.oscar, ...modern("tools/list") });
  expect(operator.body.result?.tools?.map(({ name }) => name)).toContain("new__secret");
});

test.each(["/mcp/new", "/mcp/new@1.0.0", "/mcp/new@v1", "/mcp/new%401.0.0"])(
  "%s lists one server's tools as the server gave them",
  async (path) => {
    const { body } = await send(it.gateway, { path, key: KEYS.oscar, ...modern("tools/list") });
    const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
    expect(body.result?.tools).toEqual(TOOLS.toSorted(byName));
  },
);

test.each(["new", "old"])("a result of the server %s passes without loss, and is complete", async (server) => {
  const { body } = await send(it.gateway, modern("tools/call", { name: `${server}__odd` }));
  const { _meta, ...rest } = body.result ?? {};
  const { _meta: sent, ...given } = ODD_RESULT;
  expect(rest).toEqual({ ...given, resultType: "complete" });
  expect(_meta).toEqual({ ...sent, [SERVER_INFO]: expect.objectContaining({ name: "portcullis" }) as object });
});

test("a call carries the caller's own _meta, but neither its envelope nor ours", async () => {
  const meta = { "example.com/mine": { x: 1 }, "portcullis/version": "1.0.0", progressToken: "mine", baggage: "b=1" };
  await send(it.gateway, modern("tools/call", { name: "old__echo", arguments: {}, _meta: meta }));
  const sent = it.legacy.calls.at(-1)?.body.params._meta ?? {};
  expect(sent["example.com/mine"]).toEqual({ x: 1 });
  // what is left of the time, and the key of a tool that may be called twice, are the gateway's own
  expect(
    Object.keys(sent).filter((key) => key.startsWith("io.modelcontextprotocol/") || key.startsWith("portcullis/")),
  ).toEqual(["portcullis/idempotencyKey", "portcullis/timeLeftMs"]);
  expect(sent["progressToken"]).not.toBe("mine");
});

test.each([1, 0, -7, "1", "", "a\u2028b", Number.MAX_SAFE_INTEGER])(
  "the id %j comes back as it is, in a result and in an error",
  async (id) => {
    expect((await send(it.gateway, echo(id))).body.id).toBe(id);
    expect((await send(it.gateway, modern("no/such", {}, id))).body.id).toBe(id);
  },
);

test.each([null, 1.5, 2 ** 53, true, {}, []])("the id %j is refused, and not echoed", async (id) => {
  const { status, body } = await send(it.gateway, echo(id));
  expect([status, body.error?.code, "id" in body]).toEqual([400, -32600, false]);
});

test("a long list comes in pages, each tool once, and goes on after the last one seen though the list has changed", async () => {
  const many = Array.from({ length: 1001 }, (_, at) => ({
    name: `t${String(at).padStart(4, "0")}`,
    inputSchema: { type: "object" },
  }));
  const upstream = await startUpstream("modern", many);
  const server = {
    name: "many",
    instances: [{ http: { url: upstream.url, allowPrivate: true } }],
    permissions: ["demo:use"],
  };
  const gateway = await startGateway({ servers: [server] });
  try {
    await discovered(gateway, "many");
    const names: string[] = [];
    let cursor: unknown;
    do {
      const { body } = await send(gateway, modern("tools/list", cursor === undefined ? {} : { cursor }));
      names.push(...(body.result?.tools ?? []).map(({ name }) => name));
      cursor = body.result?.["nextCursor"];
      if (names.length === 500)
        await gateway.rewrite({
          servers: [
            { ...server, tools: { t0499: { permissions: ["files:write"] }, t0500: { permissions: ["files:write"] } } },
          ],
        });
    } while (cursor !== undefined);
    expect(names).toEqual(many.map(({ name }) => `many__${name}`).filter((name) => name !== "many__t0500"));
  } finally {
    await gateway.close();
    await upstream.close();
  }
});
