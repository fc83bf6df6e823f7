/**
 * The promise: what is not listed is never callable; one faulty rule does not empty a list; and the shipped policy
 * decides as documented. Real Rego, compiled and evaluated.
 */
import * as disk from "node:fs/promises";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Policy, Principal, Tool } from "../src/model.ts";
import { loadPolicy } from "../src/policy/bundle.ts";
import { readBundle, textsOf } from "../src/policy/sources.ts";
import { item, listOf, policyBench, principal, request, ROLES, use, valueOf } from "./support/policy.ts";

const { compiler, load } = policyBench();

describe("the shipped policy", () => {
  test("decides, lists, and reads the roles", async () => {
    const policy = await loadPolicy({ compiler, cache: null }, textsOf(await readBundle(disk, "policies")), ROLES);
    expect(valueOf(policy.decide(use(item("a", ["files:read"]))))).toEqual({
      decision: { allow: true, reasons: ["holds files:read"], obligations: {} },
      listed: true,
    });
    expect(valueOf(policy.decide(use(item("a", ["files:write"]))))).toMatchObject({
      decision: { allow: false },
      listed: false,
    });
    expect(valueOf(await policy.list(listOf(item("a", ["x:y"]), item("b", ["files:read"]), item("c", []))))).toEqual([
      1,
    ]);
    const files = {
      target: { kind: "tool", name: "files__read" },
      tool: { server: "files", permissions: ["files:read"], tags: [] },
    };
    expect(valueOf(policy.decide(use(files, { path: "/etc/passwd" })))).toMatchObject({
      decision: { allow: false },
      listed: true,
    });
    const operation = {
      request: { ...request, operation: "audit/query" },
      principal,
      target: { kind: "calls", name: "calls", permissions: ["files:read"] },
    };
    expect(valueOf(policy.decide(operation))).toMatchObject({ decision: { allow: true }, listed: true });
  });
});

describe("the law of lists", () => {
  // a policy that would allow a use of what it does not list, in every way that its author can write
  const CONTRARY = `package portcullis

default decision := {"allow": false, "reasons": [], "obligations": {}}

decision := {"allow": true, "reasons": ["contrary"], "obligations": {}} if contrary

contrary if input.request.operation in input.principal.claims.operations

contrary if input.arguments.open

contrary if not input.request.operation in ["tools/list", "never"]

contrary if {
	input.request.operation == "tools/list"
	input.tool.permissions[0] == "listed"
}
`;
  test("holds for a policy written against it", async () => {
    const policy = await load({ "p.rego": CONTRARY });
    await fc.assert(
      fc.asyncProperty(
        fc.boolean(),
        fc.subarray(["tools/call", "tools/list"]),
        fc.boolean(),
        async (isListed, operations, open) => {
          const one = item("a", [isListed ? "listed" : "other"]);
          const asking = { ...principal, claims: { operations } };
          const listed = valueOf(
            await policy.list({ ...listOf(one), principal: asking }),
          ) as unknown as readonly number[];
          const decided = valueOf(policy.decide({ ...use(one, { open }), principal: asking }));
          expect(decided["listed"]).toBe(listed.length === 1);
        },
      ),
      { numRuns: process.env["FULL"] === "1" ? 2000 : 100 },
    );
  });

  test("does not apply to what is no tool, and nothing is listed by default", async () => {
    const policy = await load({ "p.rego": CONTRARY });
    expect(
      valueOf(policy.decide({ request: { operation: "servers/read" }, principal, target: { kind: "server" } }))[
        "listed"
      ],
    ).toBe(true);
    expect(valueOf(policy.decide({ request: { operation: "tools/call" }, principal }))["listed"]).toBe(false);
    expect(valueOf(policy.decide({ principal }))["listed"]).toBe(false);
  });

  const NO_DEFAULT =
    'package portcullis\n\n# METADATA\n# custom: {portcullis: {lint: {no_default: "undefined is what is tested"}}}\n';
  test("an undefined decision is a fault and lists nothing", async () => {
    const policy = await load({
      "p.rego": `${NO_DEFAULT}decision := {"allow": true} if input.principal.id == "root"\n`,
    });
    expect(policy.decide(use(item("a", [])))).toMatchObject({ ok: false, fault: "policy_undefined" });
    expect(await policy.list(listOf(item("a", [])))).toEqual({ ok: true, value: [] });
    const odd = await load({ "p.rego": `${NO_DEFAULT}decision := {"allow": input.principal.claims.odd}\n` });
    for (const value of ["true", 1, [true], { x: true }, null, "", 0]) {
      const asking = { ...principal, claims: { odd: value } };
      expect(await odd.list({ ...listOf(item("a", [])), principal: asking })).toEqual({ ok: true, value: [] });
      expect(valueOf(odd.decide({ ...use(item("a", [])), principal: asking }))["listed"]).toBe(false);
    }
  });
});

type Asked = { readonly listed: readonly number[]; readonly about: readonly object[] };

/** A list, and the tools that policy was asked about for it. */
async function asked(policy: Policy, who: Principal, tools: readonly (Tool | undefined)[]): Promise<Asked> {
  let about: readonly object[] = [];
  const told = await policy.listTools(
    (some) => {
      about = some.map((tool) => (tool as unknown as { one: object }).one);
      return listOf(...(about as ReturnType<typeof item>[]));
    },
    { principal: who, tools: tools as readonly Tool[] },
  );
  return { listed: valueOf(told) as unknown as readonly number[], about };
}

describe("a list", () => {
  const FAULTY = `package portcullis

default decision := {"allow": false}

decision := {"allow": true} if input.tool.permissions[0] == "files:read"

decision := {"allow": false, "reasons": ["conflict"]} if input.target.name == "bad"

decision := {"allow": true} if {
	input.target.name == "slow"
	count([1 | some x in numbers.range(1, 20000); some y in numbers.range(1, 20000); x * y == 0]) >= 0
}
`;
  test("loses only the tool whose rules fault", async () => {
    const policy = await load({ "p.rego": FAULTY });
    const good = item("good", ["files:read"]);
    expect(await policy.list(listOf(good, item("bad", ["files:read"]), good, item("other", [])))).toEqual({
      ok: true,
      value: [0, 2],
    });
    expect(await policy.list(listOf(good, item("slow", []), good))).toEqual({ ok: true, value: [0, 2] });
  });

  test("asks once about each principal and tool where nothing else can matter, and about faulty rules each time", async () => {
    const policy = await load({ "p.rego": FAULTY });
    const [good, bad, other] = [item("good", ["files:read"]), item("bad", ["files:read"]), item("other", [])];
    const [x, y, z, f] = [good, other, good, bad].map((one) => ({ one }) as unknown as Tool);
    const [alice, bob] = [{} as Principal, {} as Principal];
    expect(await asked(policy, alice, [x, y])).toEqual({ listed: [0], about: [good, other] });
    expect(await asked(policy, alice, [y, x])).toEqual({ listed: [1], about: [] });
    expect(await asked(policy, alice, [y, z, x])).toEqual({ listed: [1, 2], about: [good] });
    expect(await asked(policy, bob, [x])).toEqual({ listed: [0], about: [good] });
    for (let round = 0; round < 2; round++)
      expect(await asked(policy, alice, [f, x])).toEqual({ listed: [1], about: [bad] });
    // what a list learnt, a use need not ask, and the other way round
    const text = JSON.stringify(use(other));
    expect(valueOf(policy.decideUse(text, { principal: bob, tool: y as Tool }))).toMatchObject({ listed: false });
    expect(await asked(policy, bob, [y, x])).toEqual({ listed: [1], about: [] });
  });

  test.each(["time", "ip", "id", "interface"])(
    "asks each time where it may depend on the request's %s",
    async (field) => {
      const policy = await load({
        "p.rego": `package portcullis\n\ndefault decision := {"allow": false}\n\ndecision := {"allow": true} if input.request.${field} == "now"\n`,
      });
      const [one, tool] = [item("a", []), {} as Tool];
      const alice = {} as Principal;
      for (const value of ["now", "later", "now"]) {
        const input = { ...listOf(one), request: { ...request, operation: "tools/list", [field]: value } };
        const told = await policy.listTools(() => input, { principal: alice, tools: [tool] });
        expect(told).toEqual({ ok: true, value: value === "now" ? [0] : [] });
      }
    },
  );

  test("asks each time where it depends on what time it is", async () => {
    const rego = `package portcullis\n\ndefault decision := {"allow": false}\n\ndecision := {"allow": true} if is_early\n\nis_early if time.clock(time.now_ns())[0] < 12\n`;
    const policy = await load({ "p.rego": rego });
    const [alice, tool] = [{} as Principal, {} as Tool];
    for (const hour of ["11", "13", "11"]) {
      const at = { ...request, operation: "tools/list", time: `2026-11-22T${hour}:00:00Z` };
      const told = await policy.listTools(() => ({ ...listOf(item("a", [])), request: at }), {
        principal: alice,
        tools: [tool],
      });
      expect(told).toEqual({ ok: true, value: hour === "11" ? [0] : [] });
    }
  });

  test("of very many tools keeps their order", async () => {
    const policy = await load({ "p.rego": FAULTY });
    const many = Array.from({ length: 1203 }, (_, i) => item(`t${i}`, [i % 2 === 0 ? "files:read" : "x:y"]));
    expect(await policy.list(listOf(...many))).toEqual({
      ok: true,
      value: [...many.keys()].filter((i) => i % 2 === 0),
    });
    expect(await policy.list(listOf())).toEqual({ ok: true, value: [] });
    expect(await policy.list({ request, principal })).toMatchObject({ ok: false, fault: "policy_error" });
  });
});
