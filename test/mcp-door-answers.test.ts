/** What the MCP door says when a call is refused, and what comes with every answer. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { initialize, modern, rpc, send, setUp } from "./mcp-door-client.ts";
import type { Answered, Setup } from "./mcp-door-client.ts";

let it: Setup;
beforeAll(async () => {
  it = await setUp({
    limits: [{ name: "per-user", always: true, key: ["principal", "tool"], limit: 30, window: "60s" }],
  });
});
afterAll(() => it.close());

const ERAS = ["modern", "legacy"] as const;
type Era = (typeof ERAS)[number];

async function call(setup: Setup, era: Era, params: Record<string, unknown>, path = "/mcp"): Promise<Answered> {
  if (era === "modern") return send(setup.gateway, { path, ...modern("tools/call", params) });
  const { headers } = await initialize(setup.gateway);
  return send(setup.gateway, { path, headers, body: rpc("tools/call", params) });
}

test.each(ERAS)(
  "%s: a forbidden call is a result that a model can read, with the same call id everywhere",
  async (era) => {
    const { status, headers, body } = await call(it, era, { name: "new__secret", arguments: {} });
    const id = headers.get("portcullis-call-id");
    expect([status, body.error, body.result?.isError]).toEqual([200, undefined, true]);
    expect(body.result?._meta?.["portcullis/refusal"]).toMatchObject({
      code: "forbidden",
      callId: id,
      retryable: false,
      executed: "no",
    });
    expect(body.result?.content).toEqual([{ type: "text", text: expect.stringContaining(String(id)) as string }]);
    expect(body.result?.content?.[0]?.text).toContain("The tool did not run.");
    expect(body.result?.["resultType"]).toBe(era === "modern" ? "complete" : undefined);
    expect((await it.gateway.records()).at(-1)).toMatchObject({ "portcullis.record": "refusal" });
  },
);

test.each(ERAS)("%s: arguments that the schema refuses are named by JSON pointer", async (era) => {
  const { body } = await call(it, era, { name: "new__slow", arguments: { ms: "x" } });
  expect(body.result?._meta?.["portcullis/refusal"]).toMatchObject({
    code: "invalid_arguments",
    errors: [{ pointer: "/ms" }],
  });
  expect(body.result?.content?.[0]?.text).toContain("/ms: ");
});

test.each(ERAS)("%s: an unknown tool, server or version has invalid parameters", async (era) => {
  for (const params of [
    { name: "new__none" },
    { name: "echo" },
    { name: "new__echo", _meta: { "portcullis/version": "7" } },
  ]) {
    const { status, body } = await call(it, era, params);
    expect([status, body.error?.code, body.error?.data?.["code"]]).toEqual([200, -32602, "tool_not_found"]);
  }
});

test.each(ERAS)("%s: a server's own JSON-RPC error passes as it is", async (era) => {
  for (const server of ["new", "old"]) {
    const { status, body } = await call(it, era, { name: `${server}__broken` });
    expect([status, body.error]).toEqual([200, { code: -31999, message: "upstream's own", data: { why: 1 } }]);
  }
});

test.each(ERAS)("%s: a capability that a server misses in its caller has the status of that revision", async (era) => {
  for (const server of ["new", "old"]) {
    const { status, body } = await call(it, era, { name: `${server}__broken`, arguments: { code: -32021 } });
    expect([status, body.error]).toEqual([
      era === "modern" ? 400 : 200,
      { code: -32021, message: "upstream's own", data: { why: 1 } },
    ]);
  }
});

test.each(ERAS)("%s: every answer of a call carries its limit, and one too many the time to wait", async (era) => {
  const name = era === "modern" ? "new__echo" : "old__echo";
  const first = await call(it, era, { name });
  expect(first.headers.get("ratelimit")).toMatch(/^"per-user";r=29;t=\d+$/);
  expect(first.headers.get("ratelimit-policy")).toBe('"per-user";q=30;w=60');
  for (let n = 1; n < 30; n++) await call(it, era, { name });
  const { status, headers, body } = await call(it, era, { name });
  expect([status, body.result?.isError]).toEqual([200, true]);
  expect(body.result?._meta?.["portcullis/refusal"]).toMatchObject({
    code: "rate_limited",
    retryable: true,
    retryAfterMs: expect.any(Number) as number,
  });
  expect(Number(headers.get("retry-after"))).toBeGreaterThan(0);
  expect(headers.get("ratelimit")).toMatch(/r=0/);
});

test("with refusals: error, a refused call is a JSON-RPC error of our own range", async () => {
  const own = await setUp({ refusals: "error" });
  try {
    for (const era of ERAS) {
      const { status, body } = await call(own, era, { name: "new__secret" });
      expect([status, body.error?.code, body.error?.data?.["code"], body.result]).toEqual([
        200,
        -31403,
        "forbidden",
        undefined,
      ]);
    }
  } finally {
    await own.close();
  }
});

test("with disclosure: hidden, what may not be listed looks like what is not there, to the byte", async () => {
  const limits = [{ name: "per-user", always: true, key: ["principal"], limit: 1000, window: "60s" }];
  const hidden = await setUp({ disclosure: "hidden", limits });
  try {
    const bare = ({ status, text, headers }: Answered) => [
      status,
      text.replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, "ID"),
      // not that there are limits on it either
      [...headers.keys()].toSorted(),
    ];
    for (const era of ERAS) {
      const [secret, none] = [
        await call(hidden, era, { name: "new__secret" }),
        await call(hidden, era, { name: "new__nothing" }),
      ];
      expect(bare(secret)).toEqual(bare(none));
    }
    // alice may use nothing of this server, so its endpoint is as absent as one of no server
    for (const sent of [
      modern("server/discover"),
      modern("tools/list"),
      modern("tools/call", { name: "echo" }),
      { body: rpc("initialize", { protocolVersion: "2025-11-25" }) },
      { body: rpc("ping") },
    ]) {
      const [there, nowhere] = [
        await send(hidden.gateway, { path: "/mcp/closed", ...sent }),
        await send(hidden.gateway, { path: "/mcp/nowhere", ...sent }),
      ];
      expect(bare(there)).toEqual(bare(nowhere));
    }
  } finally {
    await hidden.close();
  }
});
