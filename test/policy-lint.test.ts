/**
 * The promise: a policy that could let a call through by mistake is not put in force. What is found is named with its
 * place, why it is dangerous and how to write it; what is safe is left alone; a switch needs a reason.
 */
import { describe, expect, test } from "vitest";
import { sourcesOf } from "../src/policy/bundle.ts";
import { PolicyRefused } from "../src/policy/diagnostic.ts";
import { lint } from "../src/policy/lint.ts";
import { textsOf } from "../src/policy/sources.ts";
import { createEngine } from "../src/policy/engine.ts";
import { loadPolicy } from "../src/policy/bundle.ts";
import { policyBench, principal, request, ROLES } from "./support/policy.ts";

const { compiler } = policyBench();
const bundle = (rego: string) => textsOf({ modules: { "p.rego": rego }, tests: {}, data: {} });
const HEAD = `package portcullis

default decision := {"allow": false}

decision := {"allow": allow, "reasons": reasons} if input.request.id

reasons contains "no annotation" if not startswith(input.arguments.why, "because")

default allow := false

`;
const inspect = async (rego: string) => {
  const inspected = await compiler.inspect(sourcesOf(bundle(rego)));
  if (!inspected.ok) throw new PolicyRefused(inspected.diagnostics);
  return inspected.value;
};
/** `code row:col` of each; rows of what follows HEAD count from 1. */
const found = async (rules: string): Promise<readonly string[]> =>
  lint(await inspect(HEAD + rules)).map(({ code, row, col }) => `${code} ${row - HEAD.split("\n").length + 1}:${col}`);

describe("what a failing built-in could grant is refused", () => {
  const fails = 'startswith(input.arguments.path, "/etc")';
  test.each([
    ["a negated call", `allow if not ${fails}`, "1:10"],
    ["a negated rule", `allow if not deny\n\ndeny if ${fails}`, "1:10"],
    ["a negated rule of a rule", `allow if not deny\n\ndeny if bad\n\nbad if ${fails}`, "1:10"],
    ["a negated function", `allow if not deny(input.arguments)\n\ndeny(a) if startswith(a.path, "/")`, "1:10"],
    ["a rule with a default of false", `allow if not deny\n\ndefault deny := false\n\ndeny if ${fails}`, "1:10"],
    ["its default compared", `allow if deny == false\n\ndefault deny := false\n\ndeny if ${fails}`, "1:10"],
    ["a function's default", `allow if deny(1) == false\n\ndefault deny(_) := false\n\ndeny(1) if ${fails}`, "1:10"],
    [
      "its default compared the other way",
      `allow if deny != true\n\ndefault deny := false\n\ndeny if ${fails}`,
      "1:10",
    ],
    ["an empty set of rules", `allow if count(deny) == 0\n\ndeny contains 1 if ${fails}`, "1:10"],
    ["less than one of them", `allow if count(deny) < 1\n\ndeny contains 1 if ${fails}`, "1:10"],
    ["the empty set itself", `allow if deny == set()\n\ndeny contains 1 if ${fails}`, "1:10"],
    ["what its count is called", `allow if {\n\tn := count(deny)\n\tn <= 0\n}\n\ndeny contains 1 if ${fails}`, "3:2"],
    ["a value", `allow := count(deny) == 0\n\ndeny contains 1 if ${fails}`, "1:10"],
    ["a comprehension", `allow if count([1 | ${fails}]) == 0`, "1:10"],
    ["a difference", `allow if deny - {1} == set()\n\ndeny contains 1 if ${fails}`, "1:10"],
    ["membership of what may lack it", `allow if not "x" in deny\n\ndeny contains "x" if ${fails}`, "1:10"],
    ["every one of what may be none", `allow if every d in deny { d == 2 }\n\ndeny contains 1 if ${fails}`, "1:10"],
    ["below two negations", `allow if not a\n\na if not b\n\nb if not ${fails}`, "5:6"],
    [
      "the proof of a denial",
      `allow if deny == false\n\ndefault deny := true\n\ndeny := false if not ${fails}`,
      "5:18",
    ],
    ["a rule that another one uses", `allow if ok\n\nok if not ${fails}`, "3:7"],
    [
      "what a decision says besides, for it is none without",
      `decision := {"allow": true, "reasons": [why]}\n\nwhy := "clean" if not ${fails}`,
      "3:19",
    ],
    ["a comprehension that must hold", `allow if count([1 | not ${fails}]) > 0`, "1:21"],
    [
      "the first of several decisions",
      `decision := array.concat([{"allow": false} | ${fails}], [{"allow": true}])[0]`,
      "1:1",
    ],
    [
      "a decision that is overridden",
      `decision := object.union({"allow": true}, org)\n\ndefault org := {}\n\norg := {"allow": false} if ${fails}`,
      "1:13",
    ],
  ])("%s", async (_, rules, place) => {
    expect(await found(rules)).toContain(`negated_builtin ${place}`);
  });

  test("in an engine such a rule does grant", async () => {
    const rego = `${HEAD}allow if not deny\n\ndeny if ${fails}\n`;
    const compiled = await compiler.compile(sourcesOf(bundle(rego)), ["portcullis/decision"]);
    if (!compiled.ok) throw new PolicyRefused(compiled.diagnostics);
    const engine = await createEngine(compiled.value, {});
    const decide = (path: unknown) =>
      engine.evaluate("portcullis/decision", { request, principal, arguments: { path: path as string } });
    expect(decide("/etc/passwd")).toMatchObject({ value: { allow: false } });
    expect(decide(["/etc/passwd"])).toMatchObject({ value: { allow: true } });
  });
});

test("what is made of itself, as far as the equations say, has an end", async () => {
  const pairs = "pairs contains [x, y] if {\n\ty = 2\n\tx = [1, y]\n}\n\n";
  const itself = "allow if {\n\ty = 2\n\tpairs[z]\n\tz = [x, y]\n\tx = [1, u]\n\tu\n}";
  expect(await found(pairs + itself)).toEqual([]);
});

test("what a default would make is not made where it is too much", async () => {
  const most = 'default most := 1000000000\n\nmost := 1 if startswith(input.arguments.path, "/etc")\n\n';
  expect(await found(`${most}allow if count(numbers.range(0, most)) > 7`)).toEqual(["negated_builtin 5:10"]);
});

describe("what absence could grant is refused", () => {
  test.each([
    ["a part of the input that may be missing", `allow if not input.arguments.force`, "1:10"],
    ["a claim", `allow if not input.principal.claims.guest == true`, "1:10"],
    ["data that may not be there", `allow if not data.blocked[input.principal.id]`, "1:10"],
    ["a set that may be empty", `allow if count(deny) == 0\n\ndeny contains 1 if input.arguments.x`, "1:10"],
    ["a default that grants", `allow if ok\n\ndefault ok := true\n\nok := false if input.tool.version == "1"`, "3:9"],
    ["an else that grants", `allow := false if input.arguments.x\n\nelse := true`, "3:1"],
  ])("%s", async (_, rules, place) => {
    expect(await found(rules)).toContain(`grant_by_absence ${place}`);
  });

  test("a decision that grants by default or in an else", async () => {
    const codes = async (rego: string) => lint(await inspect(`package portcullis\n\n${rego}`)).map(({ code }) => code);
    expect(await codes('default decision := {"allow": true}\n')).toEqual(["grant_by_absence"]);
    const refusals = 'decision := {"allow": false} if input.tool.version == "1"\n\nelse := {"allow": true}\n';
    expect(await codes(`default decision := {"allow": false}\n\n${refusals}`)).toEqual(["grant_by_absence"]);
  });
});

describe("what can only deny is left alone", () => {
  test.each([
    ["a proof", `allow if startswith(input.arguments.path, "/home") == false\n\nallow if input.target.kind == "x"`],
    ["a call of strings that are always there", `allow if not startswith(input.principal.id, "svc-")`],
    ["a call of what is a string where it is there", `allow if not endswith(lower(input.tool.server), "x")`],
    ["membership in what is always there", `allow if not "guest" in input.principal.roles`],
    ["a comparison with a bound variable", `allow if {\n\tsome tag in input.tool.tags\n\tnot tag == "x"\n}`],
    [
      "a rule that is false only if proved so",
      `allow if not deny\n\ndefault deny := true\n\ndeny := false if input.tool.version == "1"`,
    ],
    [
      "an emptiness of what is always there",
      `allow if count(bad) == 0\n\nbad contains r if {\n\tsome r in input.principal.roles\n\tr == "guest"\n}`,
    ],
    [
      "a negation that keeps a denial",
      `allow if not deny\n\ndeny if not good\n\ngood if startswith(input.tool.digest, "sha")`,
    ],
    [
      "a decision to which a default adds nothing",
      `decision := object.union({"allow": input.principal.kind == "user"}, more)\n\ndefault more := {}\n\nmore := {"reasons": []} if startswith(input.arguments.path, "x")`,
    ],
    ["an else after what grants", `allow if input.tool.version == "1"\n\nelse := input.principal.kind == "user"`],
  ])("%s", async (_, rules) => {
    expect(await found(rules)).toEqual([]);
  });
});

test("a decision without a default is refused, unless it depends on nothing", async () => {
  const codes = async (rego: string) => lint(await inspect(`package portcullis\n\n${rego}\n`)).map(({ code }) => code);
  expect(await codes('decision := {"allow": true} if input.principal.kind == "user"')).toEqual(["no_default"]);
  expect(await codes('decision := {"allow": input.principal.claims.admin}')).toEqual(["no_default"]);
  expect(await codes('decision := {"allow": true, "reasons": []}')).toEqual([]);
});

test("the host's clock is warned of in favour of the question's", async () => {
  const inspected = await compiler.inspect({
    ...sourcesOf(bundle(`${HEAD}allow if time.now_ns() > 7\n`)),
    builtins: ["eq", "gt", "time.now_ns", "startswith", "object.union", "equal", "neq", "internal.member_2"],
  } as ReturnType<typeof sourcesOf>);
  // not admitted at all by an engine that has no clock
  if (!inspected.ok) expect(inspected.diagnostics[0]?.message).toContain("undefined function time.now_ns");
  const finding = { lint: "host_clock", rule: "r", text: "t", cause: "time.now_ns", file: "p.rego", row: 1, col: 1 };
  const none = { packages: [], rules: [], inputs: [], annotations: [], obligations: [] };
  expect(lint(inspected.ok ? inspected.value : { ...none, lint: [finding] })).toMatchObject([
    {
      code: "host_clock",
      severity: "warning",
      details: expect.arrayContaining(["  time.parse_rfc3339_ns(input.request.time)"]),
    },
  ]);
});

describe("what is only unwise is a warning", () => {
  const LISTS = 'allow if input.request.operation == "tools/list"';
  test.each([
    [
      "costly_glob 1:10",
      'allow if glob.match("files__*", null, input.target.name)',
      'startswith(input.target.name, "files__")',
    ],
    [
      "costly_glob 1:10",
      'allow if glob.match("files__**", [], input.target.name)',
      'startswith(input.target.name, "files__")',
    ],
    [
      "costly_glob 1:10",
      'allow if glob.match("files__read", [], input.target.name)',
      'input.target.name == "files__read"',
    ],
    [
      "list_reads_arguments 1:12",
      'allow if { input.request.operation == "tools/list"; input.arguments.x }',
      "tools/list",
    ],
    [
      "untyped_order 1:10",
      `allow if input.arguments.amount <= 100\n\n${LISTS}`,
      "is_number(input.arguments.amount)  # beside it, or is_string",
    ],
    ["untyped_order 1:10", `allow if 100 > input.arguments.amount\n\n${LISTS}`, "is_number"],
    ["untyped_order 1:43", `allow if { some n in input.arguments.all; n < 5 }\n\n${LISTS}`, "is_number(n)"],
    ["untyped_order 1:45", `allow if { every n in input.arguments.all { n < 5 } }\n\n${LISTS}`, "is_number(n)"],
    ["untyped_order 3:10", `allow if small\n\nsmall if input.arguments.n < 5\n\nsmall if input.tool`, "is_number"],
    ["never_listed 1:1", "allow if input.arguments.x == 1", 'allow if input.request.operation == "tools/list"'],
  ])("%s: %s", async (place, rule, instead) => {
    const warnings = lint(await inspect(HEAD + rule));
    expect(await found(rule)).toContain(place);
    const warning = warnings.find(({ code }) => place.startsWith(code));
    expect(warning).toMatchObject({ severity: "warning" });
    expect(warning?.details?.join("\n")).toContain(instead);
  });

  test.each([
    ["a glob that says more than a prefix", 'allow if glob.match("files__*_file", null, input.target.name)'],
    [
      "an order of what is a number",
      `allow if {\n\tis_number(input.arguments.n)\n\tinput.arguments.n < 5\n}\n\n${LISTS}`,
    ],
    [
      "an order of what something else is made of that only a number can",
      `allow if {\n\tinput.arguments.n < 5\n\tinput.arguments.n % 2 == 0\n}\n\n${LISTS}`,
    ],
    ["an order of what is counted", `allow if count(input.arguments.all) < 5\n\n${LISTS}`],
    ["an order of what is typed", `allow if input.request.time < "2027"`],
    [
      "an order of what a schema is bound to",
      `# METADATA\n# schemas:\n#   - input: schema.input\nallow if input.arguments.n < 5\n\n${LISTS}`,
    ],
    ["an order that nothing is let through by", `reasons contains "few" if input.arguments.n < 5`],
    ["a glob that stops at a delimiter", 'allow if glob.match("files.*", [], input.target.name)'],
    [
      "arguments beside a rule for lists",
      'allow if input.arguments.x == 1\n\nallow if input.request.operation == "tools/list"',
    ],
  ])("but not %s", async (_, rules) => {
    expect(await found(rules)).toEqual([]);
  });
});

describe("a lint is switched off", () => {
  const switched = (switches: string) =>
    `${HEAD}# METADATA\n# custom:\n#   portcullis:\n#     lint: ${switches}\nallow if not input.arguments.force\n`;
  const messages = async (switches: string) =>
    lint(await inspect(switched(switches))).map(({ code, message }) => `${code}: ${message}`);

  test("by a reason, for the rule that says so", async () => {
    const reasoned = '{grant_by_absence: "absent means not forced, by the contract of this tool"}';
    expect(await messages(reasoned)).toEqual([expect.stringMatching(/^never_listed/u)].slice(1));
    expect(lint(await inspect(`${switched(reasoned)}\nallow if not input.arguments.other\n`))).toMatchObject([
      { code: "grant_by_absence" },
    ]);
  });

  test("never without one", async () => {
    for (const reason of ['""', "true", '"why not"', "null"]) {
      expect(await messages(`{grant_by_absence: ${reason}}`)).toContainEqual(
        "lint_switch: grant_by_absence is switched off without a reason: say why it is safe here",
      );
    }
    expect(await messages('{grant_by_absense: "a long enough reason"}')).toContainEqual(
      "lint_switch: there is no lint grant_by_absense: was grant_by_absence meant?",
    );
    expect(await messages("off")).toContainEqual(expect.stringMatching(/^lint_switch/u));
  });

  test("for a whole package", async () => {
    const annotation =
      '# METADATA\n# custom: {portcullis: {lint: {grant_by_absence: "a demonstration of what not to do"}}}\n';
    expect(lint(await inspect(`${annotation}${HEAD}allow if not input.arguments.force\n`))).toEqual([]);
  });
});

test("what is refused in force is a warning in shadow", async () => {
  const rego = `${HEAD}allow if not input.arguments.force\n`;
  expect(lint(await inspect(rego), { shadow: true })).toMatchObject([
    { code: "grant_by_absence", severity: "warning" },
  ]);
  const ports = { compiler, cache: null };
  await expect(loadPolicy(ports, bundle(rego), ROLES)).rejects.toThrow(
    /^p\.rego:11:10: grant_by_absence: .*\n {4}write it so:\n(.*\n)* +allow if denied == false$/u,
  );
  const shadow = await loadPolicy(ports, bundle(rego), ROLES, { shadow: true });
  expect(shadow.revision).not.toBe("");
});
