/** The promise: every administrative procedure is authenticated, decided by policy and recorded; its door adds nothing and leaks nothing. */
import { stat } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createTRPCClient, httpLink, TRPCClientError } from "@trpc/client";
import type { TRPCClient } from "@trpc/client";
import { dial } from "../src/cli/dial.ts";
import type { Exchange } from "../src/doors/exchange.ts";
import { trpcDoor } from "../src/doors/trpc/door.ts";
import { adminRouter } from "../src/doors/trpc/router.ts";
import type { AdminRouter } from "../src/doors/trpc/router.ts";
import { ADMIN_PERMISSIONS, OPERATIONS } from "../src/operations.ts";
import { BASE_CONFIG, discovered, KEYS, keyOf, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

let fixture: Fixture;
let gateway: TestGateway;
type Client = TRPCClient<AdminRouter>;

beforeAll(async () => {
  fixture = await startFixture({ era: "both" });
  gateway = await startGateway({
    roles: { ...BASE_CONFIG.roles, admin: ADMIN_PERMISSIONS },
    servers: [
      {
        name: "fixture",
        version: "1.0.0",
        instances: [
          { http: { url: fixture.url, allowPrivate: true, headers: { authorization: "Bearer upstream-secret" } } },
        ],
        permissions: ["demo:use"],
        tools: { big: { permissions: ["files:write"] } },
      },
    ],
  });
  await discovered(gateway, "fixture");
});
afterAll(async () => {
  await gateway.close();
  await fixture.close();
});

/** Over the Unix socket, or with a key over the admin listener. */
function client(key: string | null, over: "socket" | "tcp" = key === null ? "socket" : "tcp"): Client {
  const target = over === "socket" ? { socket: gateway.socket } : { url: `http://${gateway.admin}` };
  const url = over === "socket" ? "http://portcullis/trpc" : `http://${gateway.admin}/trpc`;
  const headers = key === null ? {} : { "x-api-key": key };
  return createTRPCClient<AdminRouter>({
    links: [httpLink({ url, headers, methodOverride: "POST", fetch: dial(target, 10_000) })],
  });
}

type Told = { readonly code: string; readonly callId: string; readonly executed: string };

/** What the gateway told of its refusal. */
async function refusalOf(asked: Promise<unknown>): Promise<Told> {
  const fault: unknown = await asked.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(fault instanceof TRPCClientError)) throw new Error("not refused", { cause: fault });
  return (fault.data as { portcullis: Told }).portcullis;
}

const codeOf = (asked: Promise<unknown>) =>
  asked.then(
    () => "ok",
    () => refusalOf(asked).then(({ code }) => code),
  );

/** Each procedure, asked so that an administrator gets past policy. `after`: what it says to one. */
const PROCEDURES: {
  readonly [path: string]: { readonly ask: (to: Client) => Promise<unknown>; readonly after: string };
} = {
  "keys.list": { ask: (to) => to.keys.list.query(), after: "ok" },
  "keys.issue": { ask: (to) => to.keys.issue.mutate({ principal: "alice" }), after: "ok" },
  "keys.revoke": { ask: (to) => to.keys.revoke.mutate({ id: "nosuchkey" }), after: "invalid_request" },
  "keys.rotate": { ask: (to) => to.keys.rotate.mutate({ id: "nosuchkey" }), after: "invalid_request" },
  "servers.list": { ask: (to) => to.servers.list.query(), after: "ok" },
  "tools.list": { ask: (to) => to.tools.list.query({}), after: "ok" },
  "tools.inspect": { ask: (to) => to.tools.inspect.query({}), after: "ok" },
  "tools.callTool": {
    ask: (to) => to.tools.callTool.mutate({ tool: "fixture__echo", arguments: {} }),
    after: "forbidden",
  },
  "tools.approve": { ask: (to) => to.tools.approve.mutate({ tool: "nothing" }), after: "tool_not_found" },
  "audit.calls": { ask: (to) => to.audit.calls.query({}), after: "ok" },
  "config.show": { ask: (to) => to.config.show.query(), after: "ok" },
  "config.reload": { ask: (to) => to.config.reload.mutate(), after: "ok" },
  "health.check": { ask: (to) => to.health.check.query(), after: "ok" },
};
/** For everybody; what it shows is up to policy. */
const OPEN = new Set(["tools.list"]);

describe("every procedure", () => {
  test("stands in the table of this test", () => {
    expect(Object.keys(adminRouter._def.procedures).toSorted()).toEqual(Object.keys(PROCEDURES).toSorted());
  });

  describe.each(Object.entries(PROCEDURES))("%s", (path, { ask, after }) => {
    test("refuses who shows no key or a wrong one", async () => {
      for (const key of [null, keyOf("nobody"), `pc_root_${"0".repeat(64)}`]) {
        expect(await refusalOf(ask(client(key, "tcp")))).toMatchObject({ code: "unauthenticated", executed: "no" });
      }
    });

    test("refuses a principal without its permission, and records the refusal under the same id", async () => {
      if (OPEN.has(path)) return expect(await codeOf(ask(client(KEYS.ada)))).toBe("ok");
      // an auditor may read the trail and nothing else; a planner nothing
      const told = await refusalOf(ask(client(path === "audit.calls" ? KEYS.alice : KEYS.ada)));
      expect(told.code).toBe("forbidden");
      const record = (await gateway.records()).find((one) => one["portcullis.call.id"] === told.callId);
      expect(record).toMatchObject({
        "portcullis.record": "refusal",
        "error.type": "forbidden",
        "portcullis.interface": "trpc",
      });
    });

    test("answers an administrator by key, and the owner of the machine by socket", async () => {
      expect(await codeOf(ask(client(KEYS.root)))).toBe(after);
      expect(await codeOf(ask(client(null)))).toBe(after);
      expect(await codeOf(ask(client(KEYS.root, "socket")))).toBe(after);
    });
  });

  test("is offered by the table of operations at this door", () => {
    const offered = Object.entries(OPERATIONS).filter(([, { doors }]) => (doors as readonly string[]).includes("trpc"));
    expect(offered.length).toBeGreaterThan(0);
    // metrics have a path of their own; the two others are read through tools.list and servers.list
    const elsewhere = new Set(["metrics/read", "principal/read", "servers/list"]);
    const procedures = new Set(Object.keys(PROCEDURES));
    const named: { readonly [operation: string]: string } = {
      "tools/call": "tools.callTool",
      "calls/read": "audit.calls",
      "servers/inspect": "servers.list",
      "config/read": "config.show",
      "health/read": "health.check",
    };
    for (const [operation] of offered) {
      if (!elsewhere.has(operation)) expect(procedures).toContain(named[operation] ?? operation.replace("/", "."));
    }
  });
});

describe("a key", () => {
  test("is shown once, works at once, and stops when it is revoked or rotated", async () => {
    const admin = client(null);
    const issued = await admin.keys.issue.mutate({ principal: "alice" });
    expect(issued.text).toMatch(new RegExp(`^pc_${issued.id}_[0-9a-f]{64}$`));
    expect((await client(issued.text).tools.list.query({})).tools.length).toBeGreaterThan(0);
    const rotated = await admin.keys.rotate.mutate({ id: issued.id });
    expect(await codeOf(client(issued.text).tools.list.query({}))).toBe("unauthenticated");
    expect(await codeOf(client(rotated.text).tools.list.query({}))).toBe("ok");
    await admin.keys.revoke.mutate({ id: rotated.id });
    expect(await codeOf(client(rotated.text).tools.list.query({}))).toBe("unauthenticated");
    const written = JSON.stringify([await admin.keys.list.query(), await gateway.records()]);
    for (const secret of [issued.text, rotated.text].map((text) => text.slice(-64)))
      expect(written).not.toContain(secret);
    expect(written).toContain(issued.id);
  });

  test("of an agent acts for its user, and no more than what they both may", async () => {
    const { text } = await client(null).keys.issue.mutate({ agent: "planner", onBehalfOf: "alice" });
    const { id } = (await client(null).keys.list.query()).findLast((key) => key.kind === "agent") ?? { id: "" };
    expect(text).toContain(id);
    expect(await codeOf(client(text).keys.list.query())).toBe("forbidden");
  });
});

describe("a tool", () => {
  test("is called with a key, over TCP and over the socket; the owner of the machine has none", async () => {
    for (const over of ["tcp", "socket"] as const) {
      const result = await client(KEYS.alice, over).tools.callTool.mutate({
        tool: "fixture__echo",
        arguments: { text: "hi" },
      });
      expect(result).toMatchObject({ content: [{ type: "text", text: "hi" }], odd: { kept: true } });
    }
    expect(await codeOf(client(null).tools.callTool.mutate({ tool: "fixture__echo", arguments: {} }))).toBe(
      "forbidden",
    );
  });

  test("is listed to who may call it, and inspected by who may inspect servers", async () => {
    const names = async (asked: Promise<{ tools: readonly { name: string }[] }>) =>
      (await asked).tools.map(({ name }) => name);
    const alices = await names(client(KEYS.alice).tools.list.query({}));
    expect(alices).toContain("fixture__echo");
    expect(alices).not.toContain("fixture__big");
    expect(await names(client(null).tools.list.query({}))).toEqual([]);
    expect(await names(client(null).tools.inspect.query({}))).toEqual(
      expect.arrayContaining(["fixture__echo", "fixture__big"]),
    );
  });

  test("whose server answers with an error of its own is an upstream_error without the server's words", async () => {
    const asked = client(KEYS.alice).tools.callTool.mutate({ tool: "fixture__rpc_error", arguments: {} });
    await expect(asked).rejects.toMatchObject({ data: { portcullis: { code: "upstream_error", executed: "yes" } } });
    await expect(asked).rejects.not.toThrow("no such thing");
  });
});

describe("what is shown", () => {
  test("holds neither commands nor addresses with secrets", async () => {
    const admin = client(null);
    const shown = JSON.stringify([
      await admin.servers.list.query(),
      await admin.config.show.query(),
      await admin.health.check.query(),
    ]);
    expect(shown).not.toContain("upstream-secret");
    expect(shown).toContain("fixture");
  });

  test("the trail names who asked, page after page", async () => {
    await client(KEYS.alice).tools.callTool.mutate({ tool: "fixture__echo", arguments: { text: "one" } });
    const filter = { principal: "alice", tool: "fixture__echo", outcome: "success" } as const;
    const first = await client(KEYS.ada).audit.calls.query({ filter, first: 1 });
    expect(first.rows).toHaveLength(1);
    expect(first.rows[0]).toMatchObject({
      principal: "alice",
      tool: "fixture__echo",
      interface: "trpc",
      executed: "yes",
    });
    const next = await client(KEYS.ada).audit.calls.query({ filter, first: 1, after: first.endCursor });
    expect(next.rows.map(({ callId }) => callId)).not.toContain(first.rows[0]?.callId);
  });
});

type Sent = {
  readonly path: string;
  readonly key?: string | null;
  readonly method?: string;
  readonly body?: string;
  readonly headers?: { readonly [name: string]: string };
};

/** By hand, as no well-behaved client would. */
async function send({ path, key = KEYS.root, method = "POST", body, headers = {} }: Sent) {
  const credential: { [name: string]: string } = key === null ? {} : { "x-api-key": key };
  const response = await fetch(`http://${gateway.admin}/trpc/${path}`, {
    method,
    headers: { ...credential, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    ...(body === undefined ? {} : { body }),
  });
  const json = JSON.parse(await response.text()) as {
    error?: { code: number; message: string; data: { portcullis: Told & { errors?: object[] } } };
    result?: { data: object };
  };
  return { status: response.status, headers: response.headers, json, told: json.error?.data.portcullis };
}

describe("a malformed request", () => {
  const query = (input: string) => `?${new URLSearchParams({ input }).toString()}`;
  const ROWS: readonly (readonly [string, Sent, number])[] = [
    ["an unknown procedure", { path: "keys.steal", body: "{}" }, 404],
    ["a name of an object's prototype", { path: "toString", body: "{}" }, 404],
    ["a batch", { path: "keys.list?batch=1", body: "{}" }, 400],
    ["a batch of several", { path: "keys.list,keys.list?batch=1", body: "{}" }, 404],
    ["a change by GET", { path: `keys.revoke${query('{"id":"x"}')}`, method: "GET" }, 405],
    ["another method", { path: "keys.list", method: "DELETE" }, 405],
    [
      "another content type",
      { path: "keys.list", body: "a=1", headers: { "content-type": "application/x-www-form-urlencoded" } },
      415,
    ],
    [
      "a form, as a page of another site could send",
      { path: "keys.issue", body: "{}", headers: { "content-type": "text/plain" } },
      415,
    ],
    ["another site's Origin", { path: "keys.list", body: "{}", headers: { origin: "https://evil.example" } }, 403],
    ["duplicate keys in the body", { path: "keys.revoke", body: '{"id":"a","id":"b"}' }, 400],
    ["duplicate keys in the query", { path: `audit.calls${query('{"first":1,"first":2}')}`, method: "GET" }, 400],
    ["an unknown input", { path: "audit.calls", body: '{"filter":{"all":true}}' }, 400],
    ["no input at all", { path: "keys.revoke" }, 400],
    ["a list as input", { path: "keys.revoke", body: "[1]" }, 400],
  ];

  test.each(ROWS)("%s is refused and recorded", async (_, sent, status) => {
    const { told, headers, ...answer } = await send(sent);
    expect(answer.status).toBe(status);
    expect(told).toMatchObject({ code: "invalid_request", executed: "no" });
    expect(headers.get("portcullis-call-id")).toBe(told?.callId);
    expect((await gateway.records()).find((one) => one["portcullis.call.id"] === told?.callId)).toMatchObject({
      "error.type": "invalid_request",
    });
  });

  test.each(ROWS.filter(([, { headers }]) => headers === undefined))(
    "%s tells a stranger only that it is one",
    async (_, sent) => {
      const { status, told, headers } = await send({ ...sent, key: null });
      expect({ status, code: told?.code }).toEqual({ status: 401, code: "unauthenticated" });
      expect(headers.get("www-authenticate")).toContain("Bearer");
      expect(told).not.toHaveProperty("errors");
    },
  );

  test("names the place of what is wrong", async () => {
    const { told } = await send({ path: "audit.calls", body: '{"first":0,"filter":{"tool":5}}' });
    expect(told?.errors?.map((error) => (error as { pointer: string }).pointer).toSorted()).toEqual([
      "/filter/tool",
      "/first",
    ]);
  });

  test("may be asked again by GET where it only reads", async () => {
    const { status, json } = await send({ path: `audit.calls${query('{"first":1}')}`, method: "GET" });
    expect(status).toBe(200);
    expect(json.result?.data).toHaveProperty("rows");
  });
});

describe("what leaves the door", () => {
  test("is never a stack or a cause, whatever breaks", async () => {
    const secret = "hunter2 at /etc/shadow";
    const broken = {
      ...gateway.gateway,
      audit: { ...gateway.gateway.audit, calls: () => Promise.reject(new TypeError(secret)) },
    };
    const answer = await inMemory(broken, { first: 1 });
    expect(answer.status).toBe(500);
    expect(JSON.parse(answer.body)).toMatchObject({
      error: { message: "The gateway failed.", data: { portcullis: { code: "internal" } } },
    });
    expect(answer.body).not.toMatch(/hunter2|TypeError|stack|\.ts/);
  });

  test("has the numbers of the contract, none of those that MCP keeps for itself", async () => {
    expect((await send({ path: "keys.list", body: "{}", key: null })).json.error?.code).toBe(-31401);
    expect((await send({ path: "keys.list", body: "{}", key: KEYS.alice })).json.error?.code).toBe(-31403);
  });

  test("is never what a header asked for: no stream, no other form", async () => {
    const { headers, json } = await send({
      path: "keys.list",
      body: "{}",
      headers: { "trpc-accept": "application/jsonl", accept: "application/jsonl" },
    });
    expect(headers.get("content-type")).toContain("application/json");
    expect(json.result?.data).toEqual(expect.any(Array));
  });

  async function inMemory(to: TestGateway["gateway"], body: { readonly [key: string]: number }) {
    const answered = { status: 0, body: "" };
    const exchange: Exchange = {
      method: "POST",
      path: "/trpc/audit.calls",
      query: new URLSearchParams(),
      headers: {},
      body,
      ip: "local",
      credential: { kind: "local" },
      signal: new AbortController().signal,
      reply: (status, _, text) => Object.assign(answered, { status, body: text }),
      stream: () => {
        throw new Error("this door has no streams");
      },
    };
    await trpcDoor(to, exchange);
    return answered;
  }
});

describe("where it stands", () => {
  test("not on the traffic listener", async () => {
    const response = await fetch(`${gateway.url}/trpc/keys.list`, {
      method: "POST",
      headers: { "x-api-key": KEYS.root, "content-type": "application/json" },
      body: "{}",
    });
    expect(response.status).toBe(404);
  });

  test("on a socket that only its owner may open", async () => {
    expect((await stat(gateway.socket)).mode & 0o777).toBe(0o600);
  });

  test("no key and no local owner on TCP: whoever reaches the port is a stranger", async () => {
    expect(await codeOf(client(null, "tcp").keys.list.query())).toBe("unauthenticated");
  });
});
