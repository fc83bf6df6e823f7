/** What counts together: each combination of what a limit's key names has its own counter, and no two are mixed up. */
import { expect, test } from "vitest";
import { chargesOf } from "../src/limits/charge.ts";
import { createLimits, limit } from "../src/limits/limit.ts";
import type { Call, Limit, LimitKey, Principal, Snapshot, Tool } from "../src/model.ts";
import type { Permit } from "../src/policy/authorize.ts";
import { realPorts, silent } from "../src/ports.ts";
import { Refusal } from "../src/refusal.ts";
import { limited } from "./support/limits.ts";

const alice = principal({ id: "alice" });
const planner = principal({ id: "planner", kind: "agent" });

test.for([
  ["two users", "principal", { principal: alice }, { principal: principal({ id: "bob" }) }],
  ["a user and an agent of one name", "principal", { principal: alice }, { principal: { ...alice, kind: "agent" } }],
  [
    "an agent acting for two users",
    "principal",
    { principal: { ...planner, onBehalfOf: "alice" } },
    { principal: { ...planner, onBehalfOf: "bob" } },
  ],
  [
    "an agent for a user and the user",
    "principal",
    { principal: { ...planner, onBehalfOf: "alice" } },
    { principal: alice },
  ],
  ["two tenants", "tenant", { principal: alice }, { principal: { ...alice, tenant: "other" } }],
  ["two sets of roles", "role", { principal: alice }, { principal: principal({ roles: ["a", "b"] }) }],
  [
    "roles whose names run together",
    "role",
    { principal: principal({ roles: ["a", "b"] }) },
    { principal: principal({ roles: ["a+b"] }) },
  ],
  ["two tools", "tool", { tool: tool({}) }, { tool: tool({ name: "files__write" }) }],
  ["two servers", "server", { tool: tool({}) }, { tool: tool({ server: "mail" }) }],
  ["one version number of two servers", "version", { tool: tool({}) }, { tool: tool({ server: "mail" }) }],
  ["two versions", "version", { tool: tool({}) }, { tool: tool({ version: "2.0.0" }) }],
  ["two agents", "agent", { principal: planner }, { principal: { ...planner, id: "coder" } }],
  ["two users under a limit per agent", "agent", { principal: alice }, { principal: principal({ id: "bob" }) }],
  [
    "names that hold a separator",
    "principal",
    { principal: principal({ id: "a|b" }) },
    { principal: principal({ id: "a/b" }) },
  ],
  [
    "long names that differ at the end",
    "principal",
    { principal: principal({ id: `${"x".repeat(127)}1` }) },
    { principal: principal({ id: `${"x".repeat(127)}2` }) },
  ],
] as const)("%s count apart", ([, part, one, other]) => {
  expect(keyOf(part, one)).not.toBe(keyOf(part, other));
});

test.for([
  ["a user's calls of two tools", "principal", { tool: tool({}) }, { tool: tool({ name: "files__write" }) }],
  [
    "roles in another order",
    "role",
    { principal: principal({ roles: ["a", "b"] }) },
    { principal: principal({ roles: ["b", "a"] }) },
  ],
  [
    "an agent under a limit per agent, whoever it acts for",
    "agent",
    { principal: planner },
    { principal: { ...planner, onBehalfOf: "bob" } },
  ],
  ["two versions of a tool under a limit per tool", "tool", { tool: tool({}) }, { tool: tool({ version: "2.0.0" }) }],
] as const)("%s count together", ([, part, one, other]) => {
  expect(keyOf(part, one)).toBe(keyOf(part, other));
});

test("a key is bounded and printable, and no hash tag is in it, whatever the names in it", () => {
  for (const id of ["x".repeat(100_000), "a}b{c", "a\r\nSET x 1\r\n", "é", ""]) {
    const key = keyOf("principal", { principal: principal({ id }) });
    expect(key).toMatch(/^[\w.:#=|/@+-]{1,300}$/);
  }
});

test("a limit that policy names but nobody defined refuses the call, and the record says so", async () => {
  const limits = await createLimits({}, realPorts(silent));
  const call = { snapshot: snapshotOf([]), decision: { allow: true, reasons: [] }, limit: null } as unknown as Call;
  const permit = { principal: alice, tool: tool({}), obligations: { limits: ["gold"] } } as unknown as Permit;
  const refusal = await Promise.try(limit, limits, permit, call).then(
    () => null,
    (thrown) => Refusal.from(thrown),
  );
  expect(refusal).toMatchObject({ code: "forbidden", detail: { reasons: ["policy_shape"] } });
  expect(call.decision).toMatchObject({ allow: false, reasons: ["policy_shape"] });
});

test("a call under no limit waits for nothing", async () => {
  const limits = await createLimits({}, realPorts(silent));
  const call = { snapshot: snapshotOf([]), limit: null } as unknown as Call;
  const permit = { principal: alice, tool: tool({}), obligations: { limits: [] } } as unknown as Permit;
  expect(limit(limits, permit, call)).toBeUndefined();
});

function keyOf(part: LimitKey, use: { readonly principal?: Principal; readonly tool?: Tool }): string {
  const about = { principal: alice, tool: tool({}), named: [], cost: null, ...use };
  const charges = chargesOf(snapshotOf([limited({ key: [part] })]), about);
  return charges?.[0]?.key ?? "";
}

function snapshotOf(limits: readonly Limit[]): Snapshot {
  return { limits: new Map(limits.map((one) => [one.name, one])) } as unknown as Snapshot;
}

function principal(wanted: Partial<Principal>): Principal {
  const base: Principal = {
    id: "alice",
    kind: "user",
    roles: ["a"],
    permissions: [],
    tenant: "acme",
    onBehalfOf: null,
    claims: {},
  };
  return { ...base, ...wanted };
}

function tool(wanted: Partial<Tool>): Tool {
  return {
    name: "files__read",
    server: "files",
    version: "1.0.0",
    limits: [],
    namedLimits: [],
    ...wanted,
  } as unknown as Tool;
}
