/** Who a token's bearer is, and what they may do, the issuer's settings and the snapshot of each call say; never the token. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Issuer } from "../src/config-jwt.ts";
import type { Key, Principal, Snapshot } from "../src/model.ts";
import { believing, bench, issuerOf } from "./jwt-parts.ts";
import { startIssuer } from "./support/issuer.ts";
import type { Claims, TestIssuer } from "./support/issuer.ts";

let idp: TestIssuer;
let other: TestIssuer;
beforeAll(async () => {
  idp = await startIssuer();
  other = await startIssuer({ kids: "other" });
});
afterAll(async () => {
  await idp.close();
  await other.close();
});

const TAKEN = "token in the name of another principal";
const ALICE = declared("alice", "user", ["operator"]);
const PLANNER = declared("planner", "agent", ["analyst"]);
const PEOPLE = { principals: new Map([ALICE, PLANNER].map((one) => [one.id, one])) };

async function who(claims: Claims, settings: Partial<Issuer> = {}, more: Partial<Snapshot> = PEOPLE) {
  return await bench().ask(await idp.sign(claims), believing([issuerOf(idp, settings)], more));
}
async function whyNot(claims: Claims, settings: Partial<Issuer> = {}) {
  return await bench().cause(await idp.sign(claims), believing([issuerOf(idp, settings)], PEOPLE));
}

test("roles count as far as the configuration knows them, and what they may do is its alone", async () => {
  const roles = ["operator", "unheard-of", "constructor", "__proto__", 7];
  const permissions = ["keys:write"];
  const found = await who({ roles, permissions, scope: "keys:write admin", kind: "agent", tenant: "acme" });
  expect(found).toMatchObject({ roles: ["operator"], permissions: ["files:write"], kind: "user", tenant: "default" });
});

test("roles are read where the settings point, as a list or as words, and nowhere else", async () => {
  const nested = { "realm~access": { "a/b": ["analyst"] } };
  expect((await who(nested, { roles: "/realm~0access/a~1b" })).roles).toEqual(["analyst"]);
  expect((await who({ roles: "operator analyst" })).roles).toEqual(["operator", "analyst"]);
  expect((await who({ roles: ["analyst"] }, { roles: null })).roles).toEqual([]);
  expect((await who({ roles: { analyst: true } })).roles).toEqual([]);
  expect((await who({})).roles).toEqual([]);
});

test("the role admin, which every configuration has, counts only where the issuer's settings say so", async () => {
  expect((await who({ roles: ["admin", "analyst"] })).roles).toEqual(["analyst"]);
  expect((await who({ roles: ["admin"] }, { admin: true })).permissions).toEqual(["keys:write"]);
});

test("the name is read where the settings point", async () => {
  expect((await who({ preferred_username: "carol@acme" }, { principal: "/preferred_username" })).id).toBe("carol@acme");
  expect(await whyNot({}, { principal: "/preferred_username" })).toBe("token without a usable subject");
  expect(await whyNot({ sub: 7 })).toBe("token without a usable subject");
});

test("a tenant that the settings point at must be there", async () => {
  expect((await who({ org: { id: "acme" } }, { tenant: "/org/id" })).tenant).toBe("acme");
  expect(await whyNot({ org: {} }, { tenant: "/org/id" })).toBe("token without a tenant");
  expect(await whyNot({ org: { id: ["acme", "other"] } }, { tenant: "/org/id" })).toBe("token without a tenant");
});

test("policies see the claims that are named, and no others", async () => {
  const claims = { department: "red", level: 3, email: "carol@acme.example" };
  expect((await who(claims, { claims: ["department", "level", "absent"] })).claims).toEqual({
    department: "red",
    level: 3,
  });
  expect(await whyNot({ big: "x".repeat(4090) }, { claims: ["big"] })).toBe("token whose claims are too large");
});

test("a token in the name of a declared principal, or of the machine's owner, is refused", async () => {
  for (const sub of ["alice", "planner", "local"]) expect([sub, await whyNot({ sub })]).toEqual([sub, TAKEN]);
  expect((await who({ sub: "alice" }, { prefix: "idp:" })).id).toBe("idp:alice");
  expect((await who({ sub: "alice" }, { prefix: "idp:" })).roles).toEqual([]);
});

test("a token in the name of an agent that has a key is refused, though it is not declared", async () => {
  const key: Key = {
    id: "k1",
    principal: "helper",
    kind: "agent",
    onBehalfOf: "alice",
    hash: "sha256:",
    origin: "issued",
    createdAt: null,
    revokedAt: null,
  };
  const keys = new Map([[key.id, key]]);
  const snapshot = believing([issuerOf(idp)], { ...PEOPLE, keys });
  expect(await bench().cause(await idp.sign({ sub: "helper" }), snapshot)).toBe(TAKEN);
  expect(await bench().cause(await idp.sign({ act: { sub: "helper" } }), snapshot)).toBe("let in");
});

test("two issuers that both know an alice know two people", async () => {
  const { ask } = bench();
  const snapshot = believing([issuerOf(idp, { prefix: "a:" }), issuerOf(other, { prefix: "b:" })], PEOPLE);
  const [one, two] = [await idp.sign({ sub: "alice" }), await other.sign({ sub: "alice" })];
  expect([(await ask(one, snapshot)).id, (await ask(two, snapshot)).id]).toEqual(["a:alice", "b:alice"]);
});

test("an actor is an agent that acts for the subject, with what the subject may do", async () => {
  const found = await who({ roles: ["analyst"], act: { sub: "helper" } }, { tenant: "/sub" });
  expect(found).toEqual({
    id: "helper",
    kind: "agent",
    roles: ["analyst"],
    permissions: ["demo:use", "files:read"],
    tenant: "carol",
    onBehalfOf: "carol",
    claims: {},
  });
});

test("a declared agent has only what both it and its user have", async () => {
  const found = await who({ roles: ["analyst", "operator"], act: { sub: "planner" } });
  expect(found).toMatchObject({ id: "planner", onBehalfOf: "carol", roles: ["analyst"] });
  expect(found.permissions).toEqual(["files:read"]);
});

test("of a chain of actors the outermost counts", async () => {
  const found = await who({ act: { sub: "helper", act: { sub: "alice", act: 7 } } });
  expect(found).toMatchObject({ id: "helper", onBehalfOf: "carol" });
});

test.each([
  ["text", "helper"],
  ["null", null],
  ["an empty object", {}],
  ["an actor of another issuer", { sub: "helper", iss: "https://idp.example" }],
])("an actor that is %s is refused, not taken for none", async (_, act) => {
  expect(await whyNot({ act })).toBe("token with an unusable actor");
});

test.each(["alice", "local"])("an actor in the name of %s, who is no agent, is refused", async (sub) => {
  expect(await whyNot({ act: { sub } })).toBe(TAKEN);
});

test("a client that is its own subject is an agent with no user", async () => {
  for (const name of ["client_id", "azp"]) {
    const found = await who({ sub: "batch", [name]: "batch", roles: ["analyst"] });
    expect(found).toMatchObject({ id: "batch", kind: "agent", onBehalfOf: null, roles: ["analyst"] });
  }
  expect(await who({ client_id: "app" })).toMatchObject({ id: "carol", kind: "user" });
});

test("a known token is one principal, at once, for as long as nothing changes", async () => {
  const { ask } = bench();
  const snapshot = believing([issuerOf(idp)]);
  const token = await idp.sign({ act: { sub: "helper" } });
  const [first, second] = await Promise.all([ask(token, snapshot), ask(token, snapshot)]);
  expect(second).toBe(first);
  expect(ask(token, snapshot)).toBe(first);
});

test("what changed in the configuration counts for a known token from the next call on", async () => {
  const { ask, cause } = bench();
  const token = await idp.sign({ roles: ["analyst"], org: "acme" });
  const permissions = async (more: Partial<Snapshot>) =>
    (await ask(token, believing([issuerOf(idp)], more))).permissions;
  expect(await permissions({})).toEqual(["demo:use", "files:read"]);
  expect(await permissions({ roles: { analyst: ["other:use"] } })).toEqual(["other:use"]);
  expect(await permissions({ roles: {} })).toEqual([]);
  expect((await ask(token, believing([issuerOf(idp, { tenant: "/org" })]))).tenant).toBe("acme");
  expect((await ask(token, believing([issuerOf(idp, { prefix: "x:" })]))).id).toBe("x:carol");
  expect(await cause(token, believing([issuerOf(idp, { algorithms: ["RS256"] })]))).toBe(
    "token of an algorithm that is not allowed",
  );
  expect(await cause(token, believing([issuerOf(other)]))).toBe("token of an unknown issuer");
  expect(await cause(token, believing([]))).toBe("malformed credential");
  const carol = declared("carol", "user", []);
  expect(await cause(token, believing([issuerOf(idp)], { principals: new Map([["carol", carol]]) }))).toBe(TAKEN);
  expect(await cause(token, believing([issuerOf(idp)]))).toBe("let in");
});

test("a known token is refused from the moment it expires", async () => {
  const { cause, skip } = bench();
  const snapshot = believing([issuerOf(idp)]);
  const token = await idp.sign({ exp: Math.floor(Date.now() / 1000) + 100 });
  expect(await cause(token, snapshot)).toBe("let in");
  skip(98_000);
  expect(await cause(token, snapshot)).toBe("let in");
  skip(2_000);
  expect(await cause(token, snapshot)).toBe("expired token");
});

test("a token is valid from the moment that it says, by the gateway's clock", async () => {
  const { cause, skip } = bench();
  const snapshot = believing([issuerOf(idp)]);
  const token = await idp.sign({ nbf: Math.floor(Date.now() / 1000) + 100 });
  expect(await cause(token, snapshot)).toBe("token that is not yet valid");
  skip(101_000);
  expect(await cause(token, snapshot)).toBe("let in");
});

test("tokens are remembered up to a bound, the oldest forgotten first, and those that fail not at all", async () => {
  const { identity, ask, cause } = bench();
  const snapshot = believing([issuerOf(idp)]);
  const { known } = identity.tokens;
  await cause(await idp.sign({ aud: "x" }), snapshot);
  expect(known.size).toBe(0);
  await ask(await idp.sign(), snapshot);
  const [[first, one] = ["", undefined]] = known;
  if (one === undefined) throw new Error("nothing is known");
  for (let at = 0; at < 9_999; at++) known.set(`other ${at}`, one);
  await ask(await idp.sign({ sub: "dave" }), snapshot);
  expect([known.size, known.has(first)]).toEqual([10_000, false]);
});

test("without a scope that it must have, a token's bearer is known and forbidden", async () => {
  const scopes = ["mcp:use", "mcp:read"];
  expect(await whyNot({ scope: "mcp:use" }, { scopes })).toBe("forbidden");
  expect(await whyNot({}, { scopes })).toBe("forbidden");
  expect(await whyNot({ scope: "mcp:use mcp:read profile" }, { scopes })).toBe("let in");
  expect(await whyNot({ scp: scopes }, { scopes })).toBe("let in");
});

function declared(id: string, kind: Principal["kind"], roles: readonly string[]): Principal {
  return { id, kind, roles, permissions: ["files:read"], tenant: "acme", onBehalfOf: null, claims: {} };
}
