/** Is a call by GraphQL a call like any other: decided, charged, recorded one by one, and refused in the same words? */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { startStand } from "./graphql-client.ts";
import type { Stand } from "./graphql-client.ts";
import { until } from "./support/gateway.ts";

let stand: Stand;
beforeAll(async () => {
  stand = await startStand();
});
afterAll(() => stand.close());
beforeEach(() => {
  stand.upstream.state.arrivals.splice(0);
});

const CALL =
  "mutation($tool: String!, $arguments: JSON!, $version: String) {callTool(tool: $tool, arguments: $arguments, version: $version) {callId content structuredContent isError meta limit {name remaining}}}";
const UUID = /^[0-9a-f]{8}-[0-9a-f-]{27}$/;

describe("a call", () => {
  test("answers with the tool's result and its call id, which its records carry", async () => {
    const { status, data, errors, headers } = await stand.ask(CALL, {
      tool: "docs__read_file",
      arguments: { path: "a" },
    });
    expect(errors).toEqual([]);
    expect(status).toBe(200);
    expect(data.callTool).toEqual({
      callId: expect.stringMatching(UUID) as string,
      content: [{ type: "text", text: '{"path":"a"}' }],
      structuredContent: null,
      isError: false,
      meta: { "example.org/kept": 1 },
      limit: null,
    });
    expect(headers.get("portcullis-call-id")).toBe(data.callTool.callId);
    const records = (await stand.gateway.records()).filter(
      (record) => record["portcullis.call.id"] === data.callTool.callId,
    );
    expect(records.map((record) => [record["portcullis.record"], record["portcullis.interface"]])).toEqual([
      ["intent", "graphql"],
      ["outcome", "graphql"],
    ]);
  });

  test("may have its arguments in the document, variables among them", async () => {
    const query =
      'mutation($path: String, $left: String) {callTool(tool: "docs__read_file", arguments: {path: $path, left: $left, list: [1, 2.5, null, true, {a: "b"}]}) {isError}}';
    const { errors } = await stand.ask(query, { path: "a" });
    expect(errors).toEqual([]);
    expect(stand.upstream.state.arrivals.map((call) => ({ name: call.name, arguments: call.arguments }))).toEqual([
      { name: "read_file", arguments: { path: "a", list: [1, 2.5, null, true, { a: "b" }] } },
    ]);
  });

  test.each([
    ["{__proto__: 1}", "__proto__"],
    ["{a: 1, a: 2}", 'only one input field named "a"'],
    ["{a: WORD}", "without quotes"],
    ["{a: 1e999}", "too large"],
    ["{a: 12345678901234567890}", "more digits"],
    [`{a: ${"[".repeat(70)}${"]".repeat(70)}}`, "64 deep"],
  ])("is not made with the arguments %s", async (args, message) => {
    const { status, errors, data } = await stand.ask(
      `mutation {callTool(tool: "docs__read_file", arguments: ${args}) {isError}}`,
    );
    expect(status).toBe(400);
    expect(data).toBeUndefined();
    expect(errors[0]?.message).toContain(message);
    expect(errors[0]?.extensions).toMatchObject({ code: "invalid_request" });
    expect(stand.upstream.state.arrivals).toEqual([]);
  });

  test("that the tool itself reports as failed is a success here", async () => {
    const { data, errors } = await stand.ask(CALL, { tool: "docs__sorry", arguments: {} });
    expect(errors).toEqual([]);
    expect(data.callTool.isError).toBe(true);
  });

  test("goes to the version that is named", async () => {
    const { data } = await stand.ask(CALL, { tool: "docs__read_file", version: "2.0.0", arguments: { path: "a" } });
    const record = (await stand.gateway.records()).find((each) => each["portcullis.call.id"] === data.callTool.callId);
    expect(record).toMatchObject({ "portcullis.server.version": "2.0.0" });
  });
});

describe("a refusal", () => {
  test.each([
    ["forbidden", { tool: "docs__write_file", arguments: { path: "a" } }, "no"],
    ["tool_not_found", { tool: "docs__nothing", arguments: {} }, "no"],
    ["tool_not_found", { tool: "docs__read_file", version: "9", arguments: { path: "a" } }, "no"],
    ["invalid_arguments", { tool: "docs__read_file", arguments: { path: 1 } }, "no"],
    ["invalid_request", { tool: "docs__read_file", arguments: [1] }, "no"],
    ["upstream_error", { tool: "docs__fails", arguments: {} }, "yes"],
  ])("%s is a GraphQL error with its fields, on HTTP 200", async (code, variables, executed) => {
    const { status, data, errors } = await stand.ask(CALL, variables);
    expect(status).toBe(200);
    expect(data).toEqual({ callTool: null });
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatchObject({
      path: ["callTool"],
      extensions: { code, executed, retryable: false, callId: expect.stringMatching(UUID) as string },
    });
    const callId = errors[0]?.extensions["callId"];
    expect(
      (await stand.gateway.records()).filter((record) => record["portcullis.call.id"] === callId).length,
    ).toBeGreaterThan(0);
  });

  test("tells nothing of what an upstream said", async () => {
    const { errors } = await stand.ask(CALL, { tool: "docs__fails", arguments: {} });
    expect(JSON.stringify(errors)).not.toContain("db.internal");
    expect(errors[0]?.message).toBe("The server answered with an error.");
  });

  test("names what is wrong with the arguments", async () => {
    const { errors } = await stand.ask(CALL, { tool: "docs__read_file", arguments: { path: 1 } });
    expect(errors[0]?.extensions["errors"]).toMatchObject([{ pointer: "/path" }]);
  });
});

describe("aliases", () => {
  let shared: Stand;
  beforeEach(async () => {
    shared = stand;
    stand = await startStand();
  });
  afterEach(async () => {
    await stand.close();
    stand = shared;
  });
  const aliased = (count: number, tool = "docs__listFolder"): string =>
    `mutation {${Array.from({ length: count }, (_, index) => `c${index}: callTool(tool: "${tool}", arguments: {n: ${index}}) {callId limit {remaining}}`).join(" ")}}`;

  test("are calls of their own: each has its id, and each is charged, in the order written", async () => {
    const { data, errors, headers } = await stand.ask(aliased(3));
    expect(errors).toEqual([]);
    const results = [data.c0, data.c1, data.c2];
    expect(new Set(results.map(({ callId }) => callId)).size).toBe(3);
    expect(results.map(({ limit }) => limit.remaining)).toEqual([2, 1, 0]);
    expect(stand.upstream.state.arrivals.map((call) => call.arguments)).toEqual([{ n: 0 }, { n: 1 }, { n: 2 }]);
    expect(headers.get("ratelimit")).toMatch(/r=0/);
    expect(headers.get("portcullis-call-id")).toBeNull();
  });

  test("beyond the limit are refused one by one, and take no other result with them", async () => {
    const { status, data, errors } = await stand.ask(aliased(5));
    expect(status).toBe(200);
    expect(errors.map(({ path }) => path)).toEqual([["c3"], ["c4"]]);
    expect(errors[0]).toMatchObject({ extensions: { code: "rate_limited", retryable: true, executed: "no" } });
    expect(errors[0]?.extensions["retryAfterMs"]).toBeGreaterThan(0);
    expect([data.c0, data.c1, data.c2].every((result) => result !== null)).toBe(true);
    expect([data.c3, data.c4]).toEqual([null, null]);
    expect(stand.upstream.state.arrivals).toHaveLength(3);
  });

  test("of more than twenty calls are refused before one is made", async () => {
    const { status, errors } = await stand.ask(aliased(21, "docs__sorry"));
    expect(status).toBe(400);
    expect(errors).toMatchObject([{ extensions: { code: "invalid_request", executed: "no" } }]);
    expect(stand.upstream.state.arrivals).toEqual([]);
  });

  test("stop where the caller goes away, and the running call is cancelled", async () => {
    const gone = new AbortController();
    const query = `mutation {a: callTool(tool: "docs__slow", arguments: {}) {callId} b: callTool(tool: "docs__sorry", arguments: {}) {callId}}`;
    const asked = stand.ask(query, {}, { signal: gone.signal });
    await until(() => stand.upstream.state.arrivals.length === 1, "the call is under way");
    gone.abort();
    await expect(asked).rejects.toThrow("abort");
    await until(() => stand.upstream.state.cancelled.length === 1, "the upstream hears of it");
    await until(
      async () => (await stand.gateway.records()).some((record) => record["error.type"] === "cancelled"),
      "it is recorded",
    );
    await new Promise((next) => setTimeout(next, 100));
    expect(stand.upstream.state.arrivals.map(({ name }) => name)).toEqual(["slow"]);
  });
});

describe("mayCall", () => {
  const MAY =
    "query($tool: String!, $arguments: JSON) {mayCall(tool: $tool, arguments: $arguments) {allowed reasons limits {name remaining} errors {pointer message}}}";

  test("says yes with the limits as they stand, and charges nothing however often", async () => {
    for (let turn = 0; turn < 5; turn++) {
      // oxlint-disable-next-line no-await-in-loop -- one after the other, as charges would be
      const { data } = await stand.ask(MAY, { tool: "docs__listFolder", arguments: {} });
      expect(data.mayCall).toMatchObject({ allowed: true, limits: [{ remaining: 3 }], errors: [] });
    }
    await stand.ask(CALL, { tool: "docs__listFolder", arguments: {} });
    const { data } = await stand.ask('{tool(name: "docs__listFolder") {limits {remaining limit}}}');
    expect(data.tool.limits).toEqual([{ remaining: 2, limit: 3 }]);
    expect(stand.upstream.state.arrivals).toHaveLength(1);
  });

  test("says what is wrong with the arguments, if there are any", async () => {
    const { data } = await stand.ask(MAY, { tool: "docs__read_file", arguments: {} });
    expect(data.mayCall).toMatchObject({ allowed: false });
    expect(data.mayCall.errors).not.toEqual([]);
    const { data: without } = await stand.ask(MAY, { tool: "docs__read_file" });
    expect(without.mayCall).toMatchObject({ allowed: true, errors: [] });
  });

  test.each([
    ["open", { data: { mayCall: { allowed: false, limits: [], errors: [] } }, errors: [] }, "forbidden"],
    ["hidden", { errors: [{ path: ["mayCall"], extensions: { code: "tool_not_found" } }] }, "tool_not_found"],
  ])(
    "says of a tool that may not be seen what the call says, and no more: disclosure %s",
    async (disclosure, told, code) => {
      await stand.gateway.rewrite({ disclosure });
      const asked = { tool: "docs__write_file", arguments: { mode: 7 } };
      expect(await stand.ask(MAY, asked)).toMatchObject(told);
      expect((await stand.ask(CALL, asked)).errors).toMatchObject([{ extensions: { code } }]);
      await stand.gateway.rewrite({});
    },
  );

  test("knows no tool that is not there", async () => {
    const { errors } = await stand.ask(MAY, { tool: "docs__nothing" });
    expect(errors).toMatchObject([{ path: ["mayCall"], extensions: { code: "tool_not_found" } }]);
  });
});

describe("the audit trail", () => {
  const CALLS =
    "query($filter: CallFilter, $first: Int, $after: String) {calls(filter: $filter, first: $first, after: $after) {totalCount pageInfo {hasNextPage endCursor} edges {cursor node {callId time principal tenant interface operation tool server version decision outcome errorType executed durationMs attempts count}}}}";

  test("is shown to who may read it, latest first", async () => {
    const as = "oscar";
    const { data: called } = await stand.ask(CALL, { tool: "docs__read_file", arguments: { path: "a" } }, { as });
    await stand.ask(CALL, { tool: "vault__read_file", arguments: { path: "a" } }, { as });
    const { data, errors } = await stand.ask(CALLS, { filter: { principal: as } }, { as: "ada" });
    expect(errors).toEqual([]);
    expect(data.calls.totalCount).toBe(2);
    expect(data.calls.edges.map(({ node }: { node: object }) => node)).toMatchObject([
      { tool: "vault__read_file", decision: "DENY", outcome: "REFUSED", errorType: "forbidden", executed: "NO" },
      {
        callId: called.callTool.callId,
        tool: "docs__read_file",
        server: "docs",
        version: "1.0.0",
        decision: "ALLOW",
        outcome: "SUCCESS",
        executed: "YES",
        principal: "oscar",
        tenant: "acme",
        interface: "graphql",
        operation: "tools/call",
      },
    ]);
  });

  test("is filtered, and read a page at a time", async () => {
    const since = new Date().toISOString();
    for (const path of ["a", "b", "c"]) {
      // oxlint-disable-next-line no-await-in-loop -- in this order
      await stand.ask(CALL, { tool: "docs__read_file", arguments: { path } });
    }
    await stand.ask(CALL, { tool: "docs__sorry", arguments: {} });
    const filter = { tool: "docs__read_file", outcome: "SUCCESS", since, until: "2100-01-01T00:00:00+01:00" };
    const pages: number[] = [];
    const all = new Set<string>();
    let after: string | null = null;
    do {
      // oxlint-disable-next-line no-await-in-loop -- each page needs the cursor of the one before
      const { data } = await stand.ask(CALLS, { filter, first: 2, after }, { as: "ada" });
      pages.push(data.calls.edges.length);
      for (const { node } of data.calls.edges) all.add(node.callId);
      after = data.calls.pageInfo.hasNextPage ? data.calls.pageInfo.endCursor : null;
    } while (after !== null && pages.length < 10);
    expect(pages.slice(0, 2)).toEqual([2, 1]);
    expect(all.size).toBe(3);
    const { data: none } = await stand.ask(CALLS, { filter: { until: "2020-01-01T00:00:00Z" } }, { as: "ada" });
    expect(none.calls.edges).toEqual([]);
    const { data: zero } = await stand.ask(CALLS, { first: 0 }, { as: "ada" });
    expect(zero.calls).toMatchObject({ edges: [], pageInfo: { hasNextPage: true } });
  });

  test("is refused to others, by policy and in its words", async () => {
    const { data, errors } = await stand.ask(CALLS);
    expect(data).toBeNull();
    expect(errors).toMatchObject([{ path: ["calls"], extensions: { code: "forbidden", executed: "no" } }]);
    expect((await stand.ask(CALLS, { first: 0 })).errors).toMatchObject([{ extensions: { code: "forbidden" } }]);
  });

  test.each([{ filter: { since: "yesterday" } }, { filter: { since: "2026-01-01" } }])(
    "is not asked about %o",
    async (variables) => {
      const { status, errors } = await stand.ask(CALLS, variables, { as: "ada" });
      expect(status).toBe(400);
      expect(errors).toMatchObject([{ extensions: { code: "invalid_request" } }]);
    },
  );
});
