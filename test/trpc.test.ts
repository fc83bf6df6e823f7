/** The promise: every administrative procedure is authenticated, decided by policy and recorded; its door adds nothing and leaks nothing. */
import { stat } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createTRPCClient, httpLink, TRPCClientError } from "@trpc/client";
import type { TRPCClient } from "@trpc/client";
import { dial } from "../src/snapshot/reach.ts";
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
    // every procedure is asked by strangers here, all of one address
    auth: { ...BASE_CONFIG.auth, addressLimit: { failures: 1000, window: "60s" } },
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
const POD = { server: "fixture", version: "1.0.0", instance: "pod-1" };
const PROCEDURES: {
  readonly [path: string]: { readonly ask: (to: Client) => Promise<unknown>; readonly after: string };
} = {
  "keys.list": { ask: (to) => to.keys.list.query(), after: "ok" },
  "keys.issue": { ask: (to) => to.keys.issue.mutate({ principal: "alice" }), after: "ok" },
  "keys.revoke": { ask: (to) => to.keys.revoke.mutate({ id: "nosuchkey" }), after: "invalid_request" },
  "keys.rotate": { ask: (to) => to.keys.rotate.mutate({ id: "nosuchkey" }), after: "invalid_request" },
  "servers.list": { ask: (to) => to.servers.list.query(), after: "ok" },
  "tools.list": { ask: (to) => to.tools.list.query({}), after: "ok" },
  "tools.diff": { ask: (to) => to.tools.diff.query({ server: "nothing" }), after: "tool_not_found" },
  "tools.inspect": { ask: (to) => to.tools.inspect.query({}), after: "ok" },
  "tools.callTool": {
    ask: (to) => to.tools.callTool.mutate({ tool: "fixture__echo", arguments: {} }),
    after: "forbidden",
  },
  "tools.approve": { ask: (to) => to.tools.approve.mutate({ tool: "nothing" }), after: "tool_not_found" },
  "principals.list": { ask: (to) => to.principals.list.query(), after: "ok" },
  "principals.put": { ask: (to) => to.principals.put.mutate({ principal: { id: "paul" } }), after: "ok" },
  "principals.remove": { ask: (to) => to.principals.remove.mutate({ name: "nobody" }), after: "invalid_request" },
  "roles.list": { ask: (to) => to.roles.list.query(), after: "ok" },
  "roles.put": { ask: (to) => to.roles.put.mutate({ role: "reader", permissions: ["files:read"] }), after: "ok" },
  "roles.remove": { ask: (to) => to.roles.remove.mutate({ name: "nothing" }), after: "invalid_request" },
  "limits.list": { ask: (to) => to.limits.list.query(), after: "ok" },
  "limits.put": {
    ask: (to) => to.limits.put.mutate({ limit: { name: "gold", key: ["principal"], limit: 9, window: "60s" } }),
    after: "ok",
  },
  "limits.remove": { ask: (to) => to.limits.remove.mutate({ name: "nothing" }), after: "invalid_request" },
  "routes.list": { ask: (to) => to.routes.list.query(), after: "ok" },
  "routes.put": {
    ask: (to) => to.routes.put.mutate({ server: "fixture", route: { default: "1.0.0" } }),
    after: "ok",
  },
  "routes.remove": { ask: (to) => to.routes.remove.mutate({ name: "nothing" }), after: "invalid_request" },
  "routes.rollback": { ask: (to) => to.routes.rollback.mutate({ server: "nothing" }), after: "invalid_request" },
  "servers.put": {
    ask: (to) =>
      to.servers.put.mutate({ server: { name: "far", instances: [{ http: { url: "https://far.example/mcp" } }] } }),
    after: "ok",
  },
  "servers.remove": {
    ask: (to) => to.servers.remove.mutate({ server: "near", version: "1" }),
    after: "invalid_request",
  },
  "servers.drain": {
    ask: (to) => to.servers.drain.mutate({ server: "fixture", instance: "none" }),
    after: "invalid_request",
  },
  "servers.undrain": {
    ask: (to) => to.servers.undrain.mutate({ server: "fixture", instance: "none" }),
    after: "invalid_request",
  },
  "instances.register": {
    ask: (to) => to.instances.register.mutate({ ...POD, url: "https://pod.example/mcp" }),
    after: "invalid_request",
  },
  "instances.deregister": { ask: (to) => to.instances.deregister.mutate(POD), after: "invalid_request" },
  "tools.put": {
    ask: (to) =>
      to.tools.put.mutate({ server: "fixture", version: "1.0.0", tool: "slow", settings: { tags: ["slow"] } }),
    after: "ok",
  },
  "tools.remove": {
    ask: (to) => to.tools.remove.mutate({ server: "fixture", version: "1.0.0", tool: "none" }),
    after: "invalid_request",
  },
  "policies.list": { ask: (to) => to.policies.list.query(), after: "ok" },
  "policies.put": {
    ask: (to) => to.policies.put.mutate({ value: { modules: { "p.rego": "" } } }),
    after: "invalid_request",
  },
  "policies.why": {
    ask: (to) => to.policies.why.query({ callId: "01a22768-7b7a-73ff-9683-106e22a0e14e" }),
    after: "invalid_request",
  },
  "policies.who": { ask: (to) => to.policies.who.query({ tool: "fixture__echo" }), after: "ok" },
  "policies.what": { ask: (to) => to.policies.what.query({ principal: "alice" }), after: "ok" },
  "policies.unused": { ask: (to) => to.policies.unused.query(), after: "ok" },
  "policies.text": { ask: (to) => to.policies.text.query({}), after: "ok" },
  "policies.impact": {
    ask: (to) => to.policies.impact.query({ value: { modules: { "p.rego": "" } } }),
    after: "invalid_request",
  },
  "policies.rollback": { ask: (to) => to.policies.rollback.mutate({ to: 10_000 }), after: "invalid_request" },
  "policies.shadow": { ask: (to) => to.policies.shadow.query(), after: "ok" },
  "policies.remove": { ask: (to) => to.policies.remove.mutate({}), after: "invalid_request" },
  "changes.list": { ask: (to) => to.changes.list.query({}), after: "ok" },
  "changes.rollback": { ask: (to) => to.changes.rollback.mutate({ to: 10_000 }), after: "invalid_request" },
  "audit.calls": { ask: (to) => to.audit.calls.query({}), after: "ok" },
  "audit.stats": { ask: (to) => to.audit.stats.query({}), after: "ok" },
  "audit.reindex": { ask: (to) => to.audit.reindex.mutate(), after: "ok" },
  "config.show": { ask: (to) => to.config.show.query(), after: "ok" },
  "config.reload": { ask: (to) => to.config.reload.mutate(), after: "ok" },
  "sidecars.list": { ask: (to) => to.sidecars.list.query(), after: "ok" },
  "snapshot.report": {
    ask: (to) =>
      to.snapshot.report.mutate({
        revision: `sha256:${"0".repeat(64)}`,
        accepted: true,
        reason: null,
        version: "1",
        servers: [],
      }),
    // a sidecar's own, and nobody else's
    after: "forbidden",
  },
  "health.check": { ask: (to) => to.health.check.query(), after: "ok" },
};
/** For everybody; what it shows is up to policy. */
const OPEN = new Set(["tools.list", "tools.diff"]);
/** For whoever may read the trail. */
const TRAIL = new Set(["audit.calls", "audit.stats", "policies.why"]);

describe("every procedure", () => {
  test("stands in the table of this test", () => {
    // the subscriptions are asked in sidecar.test.ts and audit-queries.test.ts, in ways of their own
    const asked = [...Object.keys(PROCEDURES), "snapshot.follow", "audit.follow"];
    expect(Object.keys(adminRouter._def.procedures).toSorted()).toEqual(asked.toSorted());
  });

  describe.each(Object.entries(PROCEDURES))("%s", (path, { ask, after }) => {
    test("refuses who shows no key or a wrong one", async () => {
      for (const key of [null, keyOf("nobody"), `pc_root_${"0".repeat(64)}`]) {
        expect(await refusalOf(ask(client(key, "tcp")))).toMatchObject({ code: "unauthenticated", executed: "no" });
      }
    });

    test("refuses a principal without its permission, and records the refusal under the same id", async () => {
      if (OPEN.has(path)) return expect(await codeOf(ask(client(KEYS.ada)))).toBe(after);
      // an auditor may read the trail and nothing else; a planner nothing
      const told = await refusalOf(ask(client(TRAIL.has(path) ? KEYS.alice : KEYS.ada)));
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
    // one is only ever refused; the two others are read through tools.list and servers.list
    const elsewhere = new Set(["request/read", "principal/read", "servers/list", "snapshot/follow", "calls/follow"]);
    const procedures = new Set(Object.keys(PROCEDURES));
    const named: { readonly [operation: string]: string } = {
      "tools/call": "tools.callTool",
      "calls/read": "audit.calls",
      "servers/inspect": "servers.list",
      "config/read": "config.show",
      "health/read": "health.check",
      "drains/put": "servers.drain",
      "drains/remove": "servers.undrain",
      "policies/effective": "policies.who",
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
