/**
 * The promise: what is not listed is never callable, whatever the policy. Random policies, also such as allow a use by its
 * arguments, by the operation or by what is missing, which is warned of in shadow; on every path by which the gateway asks.
 */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { Evaluation, JsonObject, Principal, Tool } from "../src/model.ts";
import { loadPolicy } from "../src/policy/bundle.ts";
import { readVerdict } from "../src/policy/decision.ts";
import { textsOf } from "../src/policy/sources.ts";
import { inputs, policies } from "./support/policies.ts";
import { policyBench, ROLES } from "./support/policy.ts";

const { compiler } = policyBench();
const FULL = process.env["FULL"] === "1";
const DATA = { users: { alice: { level: 3 }, bob: { level: 1 } }, deny: ["drop", "rm"] };

type Question = { readonly use: JsonObject; readonly list: JsonObject };

/** The same question as a use has it and as a list has it. */
function questionOf({ request, principal, tool = {}, arguments: args = {} }: JsonObject): Question {
  const item = { target: { kind: "tool", name: (tool as JsonObject)["server"] ?? "" }, tool };
  const asked = (operation: string) => ({ ...(request as JsonObject), operation });
  return {
    use: { request: asked("tools/call"), principal, ...item, arguments: args } as JsonObject,
    list: { request: asked("tools/list"), principal, tools: [item] } as JsonObject,
  };
}

const ASKED = {
  request: { time: "2026-11-22T11:00:00Z", ip: "10.1.2.3" },
  principal: { id: "alice", roles: [], claims: {} },
  tool: { server: "files__read", version: "1.2.0", tags: [] },
  arguments: {},
} as JsonObject;
/** One policy of each kind, whatever chance brings. */
const KINDS = [
  'input.request.operation == "tools/list"',
  'input.request.operation == "tools/call"',
  'input.principal.id == "alice"',
  'input.principal.id == "bob"',
].map((when): [string, JsonObject[]] => [
  `package p\n\ndefault allow := false\n\nallow if ${when}\n\ndecision := {"allow": allow}\n`,
  Array.from({ length: 12 }, () => ASKED),
]);

const isListed = (told: Evaluation): boolean => told.ok && (told.value as readonly number[]).length === 1;

test("what is not listed is never callable, under any policy", async () => {
  const seen = { callable: 0, listedOnly: 0, neither: 0, contrary: 0 };
  await fc.assert(
    fc.asyncProperty(policies, fc.array(inputs, { minLength: 12, maxLength: 12 }), async (rego, asked) => {
      const text = rego.replace("package p\n", "package portcullis\n");
      const bundle = textsOf({ modules: { "p.rego": text }, tests: {}, data: DATA });
      const policy = await loadPolicy({ compiler, cache: null }, bundle, ROLES, { shadow: true });
      for (const input of asked) {
        const { use, list } = questionOf(input);
        const listed = isListed(await policy.list(list));
        const pair = { principal: {} as Principal, tool: {} as Tool };
        const answers = [
          policy.decide(use),
          policy.decideUse(JSON.stringify(use), pair),
          // what is remembered of the first answers the second
          policy.decideUse(JSON.stringify(use), pair),
        ];
        for (const answer of answers) {
          const { decision } = readVerdict(answer);
          expect(decision.allow && !listed).toBe(false);
          expect(readVerdict(answer).listed).toBe(answer.ok && listed);
        }
        const wanted = (answers[0]?.ok === true ? answers[0].value : {}) as {
          readonly decision?: { readonly allow?: boolean };
        };
        const says = wanted.decision?.allow === true;
        seen[says ? (listed ? "callable" : "contrary") : listed ? "listedOnly" : "neither"]++;
        expect(isListed(await policy.listTools(() => list, { principal: {} as Principal, tools: [{} as Tool] }))).toBe(
          listed,
        );
      }
    }),
    { numRuns: FULL ? 300 : 25, examples: KINDS },
  );
  // all four kinds were there: also policies that would allow what they do not list
  expect(Object.entries(seen).filter(([, count]) => count === 0)).toEqual([]);
}, 600_000);
