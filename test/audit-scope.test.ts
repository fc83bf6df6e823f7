/** Whose calls may be seen? What policy says of the rows holds for pages, counts, statistics and a call by its id. */
import { expect, test } from "vitest";
import { audited } from "../src/audit/record.ts";
import { scopeOf } from "../src/audit/scope.ts";
import type { Principal } from "../src/model.ts";
import { admit, alice, allowed, asked, auditing, forbidden, tool } from "./audit-parts.ts";
import type { Auditing } from "./audit-parts.ts";

const who = (id: string, onBehalfOf: string | null, tenant: string): Principal => ({
  ...alice,
  id,
  onBehalfOf,
  tenant,
});
const PEOPLE = {
  own: who("planner", "bob", "acme"),
  forAnother: who("planner", "carol", "acme"),
  byItself: who("planner", null, "acme"),
  elsewhere: who("planner", "bob", "globex"),
  neighbour: who("writer", "bob", "acme"),
  stranger: who("writer", null, "globex"),
} as const;
type Name = keyof typeof PEOPLE;

function refusedOf(room: Auditing, principal: Principal): Promise<unknown> {
  return audited(room, asked(), "tools/call", async (call) => {
    admit(call, {}, tool());
    call.principal = principal;
    throw forbidden();
  });
}

const rows = (said: "own" | "tenant" | "all" | null) => {
  const { obligations, ...decision } = allowed();
  return { ...decision, obligations: { ...obligations, rows: said } };
};

test.each([
  ["own", ["own"]],
  ["tenant", ["own", "forAnother", "byItself", "neighbour"]],
  ["all", Object.keys(PEOPLE)],
] as const)("rows: %s", async (said, seen) => {
  const room = await auditing();
  const { projection } = room.audit;
  for (const principal of Object.values(PEOPLE)) await refusedOf(room, principal);
  const scope = scopeOf(rows(said), PEOPLE.own);
  const page = { first: 50, after: null, order: "oldest" } as const;
  const nameOf = ({ principal, onBehalfOf, tenant }: { principal: string | null } & Record<string, unknown>) =>
    Object.entries(PEOPLE).find(
      ([, one]) => one.id === principal && one.onBehalfOf === onBehalfOf && one.tenant === tenant,
    )?.[0] as Name;
  const { rows: found } = await projection.page({ filter: {}, scope, ...page });
  expect(found.map(nameOf)).toEqual(seen);
  expect(await projection.count({ filter: {}, scope })).toBe(seen.length);
  const { groups } = await projection.stats({ filter: {}, scope, by: ["tenant"], bucketMs: null, first: 50 });
  expect(groups.reduce((sum, { count }) => sum + count, 0)).toBe(seen.length);
  const { rows: every } = await projection.page({ filter: {}, scope: {}, ...page });
  expect(every).toHaveLength(6);
  for (const row of every) {
    const filter = { callId: row.callId };
    expect((await projection.page({ filter, scope, ...page })).rows.length, nameOf(row)).toBe(
      Number((seen as readonly Name[]).includes(nameOf(row))),
    );
  }
});

test("rows that policy does not say are none", () => {
  expect(() => scopeOf(rows(null), PEOPLE.own)).toThrow(expect.objectContaining({ code: "forbidden" }) as Error);
});
