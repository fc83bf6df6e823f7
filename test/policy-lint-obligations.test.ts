/**
 * The promise: an obligation that is written out and that no gateway would take, or whose path can name nothing, is warned
 * of where it stands; one that is in order, or that is not known before a call, is not.
 */
import { describe, expect, test } from "vitest";
import { sourcesOf } from "../src/policy/bundle.ts";
import { loadPolicy } from "../src/policy/bundle.ts";
import { readVerdict } from "../src/policy/decision.ts";
import { PolicyRefused } from "../src/policy/diagnostic.ts";
import { lint } from "../src/policy/lint.ts";
import { textsOf } from "../src/policy/sources.ts";
import { item, policyBench, principal, request, ROLES } from "./support/policy.ts";

const { compiler } = policyBench();
const bundle = (rego: string) => textsOf({ modules: { "p.rego": rego }, tests: {}, data: {} });
const HEAD = `package portcullis

default decision := {"allow": false, "reasons": ["no"], "obligations": {}}

`;
const warned = async (rules: string): Promise<readonly string[]> => {
  const inspected = await compiler.inspect(sourcesOf(bundle(HEAD + rules)));
  if (!inspected.ok) throw new PolicyRefused(inspected.diagnostics);
  const found = lint(inspected.value).filter(({ code }) => code !== "never_listed");
  return found.map(
    ({ code, severity, message, row, col }) =>
      `${severity ?? "error"} ${code} ${row - HEAD.split("\n").length + 1}:${col} ${message}`,
  );
};
const BAD = '{"pattern": "emial"}';
const giving = (obligations: string): string =>
  `decision := {"allow": true, "reasons": [], "obligations": ${obligations}} if input.request.id\n`;

/** What the gateway makes of it at a call. */
const decided = async (rules: string) => {
  const policy = await loadPolicy({ compiler, cache: null }, bundle(HEAD + rules), ROLES);
  const asked = { request, principal, ...item("files", ["files:read"]), arguments: {} };
  return readVerdict(policy.decide(asked)).decision;
};

const REFUSED: readonly (readonly [string, string])[] = [
  ['{"rate": 1}', "there is no obligation rate: "],
  ['{"redct": []}', "did you mean redact?"],
  ['{"constructor": 1}', "there is no obligation constructor: "],
  ['{"redact": [{"pattern": "emial"}]}', "there is no pattern emial: a decision with it denies; did you mean email?"],
  ['{"redact": {"pattern": "email"}}', "redact is not of the shape below"],
  ['{"redact": "email"}', "redact is not of the shape below"],
  ['{"redact": [{"path": "structuredContent"}]}', "redact is not of the shape below"],
  ['{"redact": [{"path": "/content", "pattern": "email"}]}', "redact is not of the shape below"],
  ['{"redact": [["email"]]}', "redact is not of the shape below"],
  ['{"redact": null}', "redact is not of the shape below"],
  ['{"mask_audit": ["arguments/x"]}', "mask_audit is not of the shape below"],
  ['{"mask_audit": "/arguments/x"}', "mask_audit is not of the shape below"],
  ['{"limits": "gold"}', "limits is not of the shape below"],
  ['{"limits": [1]}', "limits is not of the shape below"],
  ['{"cost": 0}', "cost is not of the shape below"],
  ['{"cost": 1.5}', "cost is not of the shape below"],
  ['{"max_result_bytes": "1MB"}', "max_result_bytes is not of the shape below"],
  ['{"max_result_bytes": -1}', "max_result_bytes is not of the shape below"],
  ['{"rows": "mine"}', "rows is not of the shape below"],
  ['{"route": "2.0.0"}', "route is not of the shape below"],
  ['{"route": {"version": "2", "server": "b"}}', "route is not of the shape below"],
];
const TAKEN: readonly string[] = [
  "{}",
  '{"redact": [{"pattern": "email"}, {"path": "/structuredContent/a"}, {"path": "/content/0/text"}, {"path": "/*/x"}]}',
  '{"redact": {{"pattern": "email"}, {"path": "/content/*/text"}, {"path": "/message"}}}',
  '{"redact": []}',
  '{"mask_audit": ["/arguments/a", "/result/x", "/principal/claims", "/reasons", "/request/ip", "/*/password", "/request"]}',
  '{"limits": ["gold"], "cost": 5, "max_result_bytes": 0}',
  '{"cost": null, "max_result_bytes": null, "rows": null, "route": null}',
  '{"route": {"version": "^2"}}',
];

describe("an obligation that is written out", () => {
  test.each(REFUSED)("%s is warned of, and denies at a call", async (obligations, said) => {
    const [one, ...more] = await warned(giving(obligations));
    expect(more).toEqual([]);
    expect(one).toMatch(/^warning invalid_obligation 1:\d+ /u);
    expect(one).toContain(said);
    expect(await decided(giving(obligations))).toMatchObject({ allow: false, reasons: ["policy_shape"] });
  });

  test.each(TAKEN)("%s is in order, and is taken", async (obligations) => {
    expect(await warned(giving(obligations))).toEqual([]);
    expect(await decided(giving(obligations))).toMatchObject({ allow: true });
  });

  test.each([
    [
      '{"redact": [{"path": "/ssn"}]}',
      '/ssn names nothing: a result has /content and /structuredContent, and no member "ssn"',
    ],
    ['{"redact": [{"path": "/content/text"}]}', "/content/text names nothing: /content is a list, "],
    ['{"mask_audit": ["/arguments/a", "/password"]}', "/password masks nothing: "],
    ['{"mask_audit": ["/principal/id"]}', "/principal/id masks nothing: "],
  ])("%s is warned of, since it hides nothing", async (obligations, said) => {
    const [one, ...more] = await warned(giving(obligations));
    expect(more).toEqual([]);
    expect(one).toContain(said);
  });

  test.each<[string, string?]>([
    [`obligations := {"redact": [${BAD}]}`],
    [`default obligations := {"redact": [${BAD}]}`],
    [`obligations := {} if input.arguments.x == 1 else := {"redact": [${BAD}]}`],
    [`obligations.redact contains ${BAD} if input.request.ip`],
    [`obligations["redact"] := [${BAD}] if input.request.ip`],
    [`r contains ${BAD} if input.request.ip`, '{"redact": r}'],
    [`r := [{"pattern": "ssn"}, ${BAD}]`, '{"redact": r}'],
    [`r := [${BAD}]`, 'object.union({"redact": r}, {"limits": []})'],
    [`r := [${BAD}]`, '{"redact": array.concat([{"pattern": "ssn"}], r)}'],
    [`r contains ${BAD}`, '{"redact": (r | {{"pattern": "ssn"}})}'],
    [`r := [${BAD} | some _ in input.tool.tags]`, '{"redact": r}'],
  ])("is found where a decision takes it from `%s`", async (rules, obligations = "obligations") => {
    const place = `3:${rules.indexOf(BAD) + 1}`;
    const said = `warning invalid_obligation ${place} there is no pattern emial: a decision with it denies; did you mean email?`;
    expect(await warned(`${giving(obligations)}\n${rules}\n`)).toEqual([said]);
  });

  test("is found in a rule's own variables, and for each obligation that is given it", async () => {
    const local = `decision := {"allow": true, "obligations": o} if {\n\tr := [${BAD}]\n\to := {"redact": r}\n}\n`;
    expect(await warned(local)).toEqual([
      expect.stringContaining("invalid_obligation 2:8 there is no pattern") as string,
    ]);
    const both = (members: string) => warned(`${giving('{"mask_audit": m, "redact": m, "limits": m}')}\n${members}\n`);
    expect(await both('m := ["/password"]')).toHaveLength(2);
    expect(await both('m := ["x"]')).toHaveLength(2);
  });

  test("is not guessed at where it varies, and not asked of what is no obligation", async () => {
    expect(await warned(giving('{"redact": [{"pattern": p} | some p in input.tool.tags]}'))).toEqual([]);
    expect(await warned(giving('{"cost": input.arguments.cost, "limits": input.tool.tags}'))).toEqual([]);
    expect(await warned(giving("{n: 1 | some n in input.tool.tags}"))).toEqual([]);
    expect(await warned(`${giving("{}")}\nobligations := {"rate": 1}\n`)).toEqual([]);
    // its name is known all the same
    expect(await warned(giving('{"rate": input.arguments.rate}'))).toEqual([
      expect.stringContaining("no obligation rate") as string,
    ]);
  });

  test("is looked at once, by however many ways it may be reached: a policy is not refused for them", async () => {
    const rules = Array.from({ length: 40 }, (_, at) => `r${at + 1} := array.concat(r${at}, r${at})\n`);
    const found = await warned(`${giving('{"redact": r40, "limits": r40}')}\nr0 := [${BAD}]\n${rules.join("")}`);
    expect(found).toEqual([
      expect.stringContaining("invalid_obligation 3:8 limits is not") as string,
      expect.stringContaining("invalid_obligation 3:8 there is no pattern emial") as string,
    ]);
  });

  test("is no longer warned of where an annotation says why", async () => {
    const note = (reason: string) =>
      `# METADATA\n# custom:\n#   portcullis:\n#     lint: {invalid_obligation: ${reason}}\n`;
    const rule = giving('{"redact": [{"path": "/ssn"}]}');
    expect(await warned(note("our own server gives it so") + rule)).toEqual([]);
    expect((await warned(note('""') + rule))[0]).toContain("lint_switch");
  });
});
