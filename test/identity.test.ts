/** Who is asking: a caller is who its credential says, or nobody, and learns nothing about why. */
import { expect, test } from "vitest";
import { networkOf } from "../src/identity/address-limit.ts";
import { hashKey, issueKey, parseKey } from "../src/identity/api-key.ts";
import { authenticate, createIdentity } from "../src/identity/authenticate.ts";
import type { Call, Credential, Key, Principal, Snapshot } from "../src/model.ts";
import { realPorts, silent } from "../src/ports.ts";
import { Refusal } from "../src/refusal.ts";
import { fetchDocument } from "../src/upstream/document.ts";

const ports = { ...realPorts(silent), fetchDocument };

test("a user's key acts as that user", () => {
  const { text, key } = issue({ principal: "alice" });
  expect(authenticate(identity(), call(snapshot([key]), secret(text)))).toBe(ALICE);
});

test("a known key is served without waiting for anything", () => {
  const { text, key } = issue({ principal: "alice" });
  expect(authenticate(identity(), call(snapshot([key]), secret(text)))).not.toBeInstanceOf(Promise);
});

test("an undeclared agent has the rights, tenant and claims of the user it acts for, and names the user", async () => {
  const { text, key } = issue({ kind: "agent", principal: "helper", onBehalfOf: "alice" });
  expect(await authenticate(identity(), call(snapshot([key]), secret(text)))).toEqual({
    ...ALICE,
    id: "helper",
    kind: "agent",
    onBehalfOf: "alice",
  });
});

test("a declared agent has only what both it and its user have", async () => {
  const { text, key } = issue({ kind: "agent", principal: "planner", onBehalfOf: "alice" });
  const agent = await authenticate(identity(), call(snapshot([key]), secret(text)));
  expect(agent).toMatchObject({ id: "planner", onBehalfOf: "alice", tenant: "acme" });
  expect(agent.roles).toEqual(["reader"]);
  expect(agent.permissions).toEqual(["files:read"]);
});

test("a declared agent without a user acts as itself", () => {
  const { text, key } = issue({ kind: "agent", principal: "planner" });
  expect(authenticate(identity(), call(snapshot([key]), secret(text)))).toBe(PLANNER);
});

test.for([
  ["an undeclared agent without a user", { kind: "agent", principal: "helper" }],
  ["an agent key in a user's name without a user", { kind: "agent", principal: "alice" }],
  ["an agent of an unknown user", { kind: "agent", principal: "planner", onBehalfOf: "mallory" }],
  ["an agent of an agent", { kind: "agent", principal: "helper", onBehalfOf: "planner" }],
  ["a user who is no longer declared", { principal: "mallory" }],
] as const)("a key of %s is refused", async ([, wanted]) => {
  const { text, key } = issue(wanted);
  expect(await causeOf(identity(), call(snapshot([key]), secret(text)))).toBe("key of an unknown principal");
});

test("unknown id, wrong secret, revoked key, no key and a JWT look alike outside and differ for the audit", async () => {
  const { text, key } = issue({ principal: "alice" });
  const revoked = issue({ principal: "alice" });
  const inForce = snapshot([key, { ...revoked.key, revokedAt: "2026-11-22T00:00:00Z" }]);
  const wrong = text.replace(/.$/, (last) => (last === "0" ? "1" : "0"));
  const presented: readonly Credential[] = [
    secret(issueKey(ports.random).text),
    secret(wrong),
    secret(revoked.text),
    { kind: "none" },
    secret("eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9."),
    secret("x".repeat(100_000)),
  ];
  const who = identity();
  const refusals = await Promise.all(presented.map((credential) => refusalOf(who, call(inForce, credential))));
  const outside = refusals.map(({ code, message, detail }) => ({ code, message, shown: { ...detail, cause: null } }));
  expect(new Set(outside.map((one) => JSON.stringify(one))).size).toBe(1);
  expect(outside[0]).toMatchObject({ code: "unauthenticated", shown: { cause: null } });
  expect(refusals.map(({ detail }) => (detail.cause as Error).message)).toEqual([
    "unknown key id",
    "wrong secret",
    "revoked key",
    "no credential",
    "malformed credential",
    "malformed credential",
  ]);
});

test("a revoked key is refused from the snapshot that revokes it, and works in a call that began before", async () => {
  const { text, key } = issue({ principal: "alice" });
  const before = snapshot([key]);
  const after = snapshot([{ ...key, revokedAt: "2026-11-22T00:00:00Z" }]);
  expect(authenticate(identity(), call(before, secret(text)))).toBe(ALICE);
  expect(await causeOf(identity(), call(after, secret(text)))).toBe("revoked key");
  expect(authenticate(identity(), call(before, secret(text)))).toBe(ALICE);
});

test("a key whose stored hash is unusable matches nothing", async () => {
  const { text, key } = issue({ principal: "alice" });
  const inForce = snapshot([{ ...key, hash: "sha256:" }]);
  expect(await causeOf(identity(), call(inForce, secret(text)))).toBe("wrong secret");
});

test("the owner of the admin socket may do everything but call tools", async () => {
  const local = await authenticate(identity(), call(snapshot([]), { kind: "local" }));
  expect(local).toMatchObject({ id: "local", kind: "user", roles: ["admin"], tenant: "default", onBehalfOf: null });
  expect(local.permissions).toContain("keys:write");
  expect(local.permissions).not.toContain("tool");
});

test.for([
  ["/mcp/fixture", true],
  ["/mcp/fixture/", true],
  ["/mcp/fixture/x", true],
  ["/mcp/fixture2", false],
  ["/mcp/fixture@2", false],
  ["/mcp", false],
  ["/", false],
  ["/MCP/fixture", false],
] as const)("without a credential, %s is open: %s", async ([path, open]) => {
  const granted = snapshot([], { principal: "guest", paths: ["/mcp/fixture"] });
  const asking = call(granted, { kind: "none" }, { path });
  const outcome = await Promise.try(authenticate, identity(), asking).catch((refusal: Refusal) => refusal.code);
  expect(outcome).toBe(open ? GUEST : "unauthenticated");
});

test("a bad key on an open path is refused, not taken for a guest", async () => {
  const granted = snapshot([], { principal: "guest", paths: ["/mcp/fixture"] });
  const asking = call(granted, secret(issueKey(ports.random).text), { path: "/mcp/fixture" });
  expect(await causeOf(identity(), asking)).toBe("unknown key id");
});

test("beyond the limit an address's failures are rate limited, and a valid key from there is still served", async () => {
  const { text, key } = issue({ principal: "alice" });
  const inForce = snapshot([key]);
  const who = identity(3);
  const fail = () => refusalOf(who, call(inForce, { kind: "none" }));
  for (let count = 0; count < 3; count++) expect((await fail()).code).toBe("unauthenticated");
  const refused = await fail();
  expect(refused.code).toBe("rate_limited");
  expect(refused.detail.retryAfterMs).toBeGreaterThan(0);
  expect(refused.detail.retryAfterMs).toBeLessThanOrEqual(60_000);
  expect(authenticate(who, call(inForce, secret(text)))).toBe(ALICE);
  expect((await refusalOf(who, call(inForce, { kind: "none" }, { ip: "192.0.2.99" }))).code).toBe("unauthenticated");
});

test("success costs an address nothing of its failures", async () => {
  const { text, key } = issue({ principal: "alice" });
  const inForce = snapshot([key]);
  const who = identity(1);
  for (let count = 0; count < 20; count++) await authenticate(who, call(inForce, secret(text)));
  expect((await refusalOf(who, call(inForce, { kind: "none" }))).code).toBe("unauthenticated");
});

test("an IPv6 /64 counts as one address", async () => {
  const who = identity(1);
  const from = (ip: string) => refusalOf(who, call(snapshot([]), { kind: "none" }, { ip }));
  expect((await from("2001:db8:0:1::1")).code).toBe("unauthenticated");
  expect((await from("2001:0db8:0000:0001:ffff:1:2:3")).code).toBe("rate_limited");
  expect((await from("2001:db8:0:2::1")).code).toBe("unauthenticated");
});

test("an address window longer than Node's longest timer still counts", async () => {
  const who = createIdentity({ failures: 1, windowMs: 40 * 86_400_000 }, ports);
  const fail = () => refusalOf(who, call(snapshot([]), { kind: "none" }));
  await fail();
  await new Promise((wake) => setTimeout(wake, 30));
  expect((await fail()).code).toBe("rate_limited");
});

test.for([
  ["192.0.2.1", "192.0.2.1"],
  ["::ffff:192.0.2.1", "192.0.2.1"],
  ["::ffff:c000:201", "192.0.2.1"],
  ["::1", "0:0:0:0"],
  ["::", "0:0:0:0"],
  ["fe80::1%eth0", "fe80:0:0:0"],
  ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2"],
  ["2001:db8::5:6", "2001:db8:0:0"],
  ["not an address", "not an address"],
] as const)("the network of %s is %s", ([ip, network]) => {
  expect(networkOf(ip)).toBe(network);
});

test("a key's text has 256 random bits, is found by its id, and no two are alike", () => {
  const issued = Array.from({ length: 500 }, () => issueKey(ports.random));
  expect(new Set(issued.map(({ id }) => id)).size).toBe(500);
  expect(new Set(issued.map(({ text }) => text.slice(-64))).size).toBe(500);
  for (const { id, text, hash } of issued) {
    expect(text).toMatch(/^pc_[a-z0-9]{1,32}_[0-9a-f]{64}$/);
    expect(parseKey(text)).toEqual({ id });
    expect(hash).toBe(hashKey(text));
    expect(hash).toMatch(/^sha256:[0-9a-f]{64}$/);
  }
});

test.for([
  "",
  "pc_",
  `pc__${"0".repeat(64)}`,
  `pc_k7f3_${"0".repeat(63)}`,
  `pc_k7f3_${"0".repeat(65)}`,
  `pc_k7f3_${"G".repeat(64)}`,
  `pc_K7F3_${"0".repeat(64)}`,
  `pc_k7f3_${"0".repeat(64)}\n`,
  ` pc_k7f3_${"0".repeat(64)}`,
  `pc_${"a".repeat(33)}_${"0".repeat(64)}`,
])("%j is no API key", (text) => {
  expect(parseKey(text)).toBeNull();
});

const ALICE: Principal = principal("alice", "user", ["reader", "writer"], ["files:read", "files:write"]);
const PLANNER: Principal = principal("planner", "agent", ["other", "reader"], ["demo:use", "files:read"]);
const GUEST: Principal = principal("guest", "user", [], []);

function principal(
  id: string,
  kind: Principal["kind"],
  roles: readonly string[],
  permissions: readonly string[],
): Principal {
  return { id, kind, roles, permissions, tenant: "acme", onBehalfOf: null, claims: { team: "red" } };
}

function identity(failures = 1000) {
  return createIdentity({ failures, windowMs: 60_000 }, ports);
}

function issue(wanted: Partial<Key>): { readonly text: string; readonly key: Key } {
  const { id, text, hash } = issueKey(ports.random);
  const key: Key = {
    id,
    principal: "alice",
    kind: "user",
    onBehalfOf: null,
    hash,
    origin: "issued",
    createdAt: null,
    revokedAt: null,
    ...wanted,
  };
  return { text, key };
}

function secret(value: string): Credential {
  return { kind: "secret", value };
}

function snapshot(keys: readonly Key[], anonymous: Snapshot["settings"]["anonymous"] = null): Snapshot {
  return {
    revision: "r",
    parts: [],
    settings: { refusals: "result", disclosure: "open", anonymous, issuers: [] },
    tools: new Map(),
    servers: new Map(),
    principals: new Map([ALICE, PLANNER, GUEST].map((one) => [one.id, one])),
    roles: {},
    keys: new Map(keys.map((key) => [key.id, key])),
    limits: new Map(),
    policy: null,
  };
}

function call(inForce: Snapshot, credential: Credential, asked: { path?: string; ip?: string } = {}): Call {
  return {
    id: "0",
    traceId: "0",
    spanId: "0",
    parentSpanId: null,
    startedMs: 0,
    asked: {
      interface: "rest",
      protocol: "",
      path: "/tools",
      ip: "192.0.2.1",
      traceparent: null,
      tracestate: null,
      signal: new AbortController().signal,
      credential,
      ...asked,
    },
    operation: "tools/call",
    snapshot: inForce,
    stage: "authenticate",
    principal: null,
    target: null,
    tool: null,
    choice: null,
    arguments: null,
    decision: null,
    shadows: [],
    limit: null,
    executed: "no",
    leave: null,
    attempts: 0,
    beganMs: 0,
    ends: [],
    tries: [],
    instance: null,
    recorded: false,
    facts: null,
    change: null,
  };
}

async function refusalOf(who: ReturnType<typeof identity>, asking: Call): Promise<Refusal> {
  try {
    await authenticate(who, asking);
  } catch (refusal) {
    if (refusal instanceof Refusal) return refusal;
    throw refusal;
  }
  throw new Error("The caller was let in.");
}

async function causeOf(who: ReturnType<typeof identity>, asking: Call): Promise<string> {
  const { code, detail } = await refusalOf(who, asking);
  expect(code).toBe("unauthenticated");
  return (detail.cause as Error).message;
}
