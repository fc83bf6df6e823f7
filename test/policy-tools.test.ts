/**
 * The promise: policies are checked, tested, formatted and inspected from files, without an `opa` binary; a test
 * counts only if OPA's evaluator and the engine that serves traffic agree on it; formatting changes no meaning.
 */
import * as disk from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { JsonObject } from "../src/model.ts";
import { loadPolicy } from "../src/policy/bundle.ts";
import { checkPolicies, formatPolicies, inspectPolicies, testPolicies } from "../src/policy/commands.ts";
import { formatDiagnostic, PolicyRefused } from "../src/policy/diagnostic.ts";
import { readBundle, textsOf } from "../src/policy/sources.ts";
import { item, policyBench, principal, request, ROLES, valueOf } from "./support/policy.ts";

const { compiler, folder, path } = policyBench();
const tools = { disk, compiler };
const LIBRARY = ["arguments", "labels", "roles", "tenants", "windows"].map((name) => `lib/${name}.rego`);
const IMPORTING = `package portcullis

import data.portcullis.lib.arguments
import data.portcullis.lib.labels
import data.portcullis.lib.roles
import data.portcullis.lib.tenants
import data.portcullis.lib.windows

default decision := {"allow": false, "reasons": [], "obligations": {}}

decision := {"allow": true, "reasons": ["proved"], "obligations": {"redact": labels.redactions}} if {
	roles.any_of({"analyst"})
	not roles.held("suspended")
	tenants.owns_tool
	labels.cleared
	windows.on({"mon", "tue", "wed", "thu", "fri"})
	windows.daily("08:00", "18:00")
	arguments.only({"to", "amount"})
	arguments.between("amount", 1, 100)
}
`;

describe("the shipped policy", () => {
  test("is sound, formatted, and passes its own tests in both evaluators", async () => {
    expect((await checkPolicies(tools, "policies")).map(formatDiagnostic)).toEqual([]);
    expect(await formatPolicies(tools, "policies", { write: false })).toEqual({ ok: true, value: [] });
    const report = await testPolicies(tools, "policies", { coverage: true });
    if (!report.ok) throw new Error(report.diagnostics.map(formatDiagnostic).join("\n"));
    expect(report.value.tests.filter(({ status }) => status !== "pass")).toEqual([]);
    expect(report.value.tests.length).toBeGreaterThan(15);
    for (const file of ["portcullis.rego", "arguments.rego", ...LIBRARY])
      expect(report.value.coverage?.[file]?.uncovered, file).toEqual([]);
  });
});

describe("the library", () => {
  test("says of each of its rules what it proves", async () => {
    const inspected = await inspectPolicies(tools, "policies");
    if (!inspected.ok) throw new PolicyRefused(inspected.diagnostics);
    const { rules, annotations } = inspected.value;
    const titled = new Set(
      annotations.flatMap(({ path, annotations: { title } }) => (title === undefined ? [] : [path])),
    );
    const theirs = rules.filter(({ path }) => path.startsWith("data.portcullis.lib."));
    expect(new Set(theirs.map(({ file }) => file))).toEqual(new Set(LIBRARY));
    expect(theirs.filter(({ path }) => !titled.has(path))).toEqual([]);
  });

  test("is imported by a policy, which it makes neither dangerous nor costly", async () => {
    const dir = await folder({ "p.rego": IMPORTING });
    await disk.cp("policies/lib", join(dir, "lib"), { recursive: true });
    expect((await checkPolicies(tools, dir)).map(formatDiagnostic)).toEqual([]);
    const policy = await loadPolicy({ compiler, cache: null }, textsOf(await readBundle(disk, dir)), ROLES);
    const [who, one] = [{ ...principal, roles: ["analyst", "clearance:internal"] }, item("pay__send", [])];
    const tool = { ...(one["tool"] as JsonObject), tags: ["tenant:any", "data:internal", "data:pii"] };
    const at = { ...request, time: "2026-11-30T11:00:00.000Z" };
    const asked = (over: JsonObject) =>
      valueOf(
        policy.decide({ request: at, principal: who, ...one, tool, arguments: { to: "a", amount: 10 }, ...over }),
      );
    expect(asked({})).toMatchObject({
      decision: { allow: true, obligations: { redact: { length: 5 } } },
      listed: true,
    });
    expect(asked({ arguments: { to: "a", amount: 101 } })).toMatchObject({ decision: { allow: false }, listed: true });
    for (const over of [
      { arguments: { to: "a", amount: 10, more: 1 } },
      { principal: { ...who, roles: ["analyst"] } },
      { tool: { ...tool, tags: ["data:internal"] } },
      { request: { ...at, time: "2026-11-29T11:00:00.000Z" } },
    ])
      expect(asked(over)).toMatchObject({ decision: { allow: false } });
  });
});

describe("the commands", () => {
  test("format files in place", async () => {
    const dir = await folder({ "p.rego": "package portcullis\ndecision:={}" });
    expect(await formatPolicies(tools, dir, { write: false })).toEqual({ ok: true, value: ["p.rego"] });
    expect(await formatPolicies(tools, dir, { write: true })).toEqual({ ok: true, value: ["p.rego"] });
    expect(await disk.readFile(join(dir, "p.rego"), "utf8")).toBe("package portcullis\n\ndecision := {}\n");
  });

  test("do not format what would then mean something else", async () => {
    const rego = "package p\n\nx if (input.a in {1}) == false\n";
    const dir = await folder({ "p.rego": rego });
    const formatted = await formatPolicies(tools, dir, { write: true });
    expect(formatted).toMatchObject({
      ok: false,
      diagnostics: [{ code: "format_changes_meaning", file: "p.rego", row: 3 }],
    });
    expect(await disk.readFile(join(dir, "p.rego"), "utf8")).toBe(rego);
  });

  test("say what is wrong with a bundle that cannot be read", async () => {
    const nowhere = path();
    const codes = (found: readonly { readonly code: string }[]) => found.map(({ code }) => code);
    expect(codes(await checkPolicies(tools, nowhere))).toEqual(["bundle_unreadable"]);
    const tested = await testPolicies(tools, nowhere);
    expect(tested.ok || codes(tested.diagnostics)).toEqual(["bundle_unreadable"]);
  });

  test("check what is enforced and its tests, which alone may print", async () => {
    const P = 'package portcullis\n\ndecision := {"allow": false}\n';
    expect(
      await checkPolicies(
        tools,
        await folder({ "p.rego": P, "p_test.rego": 'package t\n\ntest_a if sprintf("%d", [1]) == "1"\n' }),
      ),
    ).toEqual([]);
    const wrong = await checkPolicies(
      tools,
      await folder({ "p.rego": P, "p_test.rego": "package t\n\ntest_a if x\n" }),
    );
    expect(wrong.map(formatDiagnostic)).toEqual(["p_test.rego:3:11: rego_unsafe_var_error: var x is unsafe"]);
  });
});

describe("the tests of a bundle", () => {
  const rego = `package p_test

import data.p

test_pass if { print("seen", p.x); p.x == 1 }

test_fail if {
	p.x == 1
	p.x == 2
}

test_truthy := 7

test_endless if { every x in numbers.range(1, 10000) { every y in numbers.range(1, 10000) { x + y > 0 } } }

test_table[name] if some name in ["a", "b"]

todo_test_later if false
`;
  test("pass, fail with place and trace, run out of steps, and count the rows they reach", async () => {
    const modules = { "p.rego": "package p\n\nx := 1\n\ny := 2 if input.never\n", "p_test.rego": rego };
    const report = await compiler.test({ modules, data: {} }, { coverage: true, stepsMax: 50_000 });
    if (!report.ok) throw new Error(report.diagnostics.map(formatDiagnostic).join("\n"));
    const { tests, coverage } = report.value;
    expect(Object.fromEntries(tests.map(({ name, status }) => [name, status]))).toEqual({
      test_pass: "pass",
      test_fail: "fail",
      test_truthy: "fail",
      test_endless: "error",
      test_table: "error",
      todo_test_later: "skip",
    });
    const byName = new Map(tests.map((one) => [one.name, one]));
    expect(byName.get("test_pass")?.output).toBe("seen 1\n");
    expect(byName.get("test_fail")?.at).toMatchObject({ file: "p_test.rego", row: 9 });
    expect(byName.get("test_fail")?.trace).toContain("Fail data.p.x = 2");
    expect(byName.get("test_endless")?.at).toMatchObject({ code: "test_budget", file: "p_test.rego" });
    expect(coverage?.["p.rego"]).toEqual({ covered: [3], uncovered: [5] });
    const filtered = await compiler.test({ modules, data: {} }, { filter: "test_pass" });
    expect(filtered.ok && filtered.value.tests.map(({ name }) => name)).toEqual(["test_pass"]);
  });
});

test("formatting gives the files that change, and names what does not parse", async () => {
  expect(await compiler.format({ "a.rego": "package a\nx:=1", "b.rego": "package b\n\ny := 2\n" })).toEqual({
    ok: true,
    value: { "a.rego": "package a\n\nx := 1\n" },
  });
  expect(await compiler.format({ "a.rego": "package" })).toMatchObject({
    ok: false,
    diagnostics: [{ file: "a.rego", row: 1 }],
  });
});

test("inspecting says what each rule reads", async () => {
  const inspected = await compiler.inspect({
    modules: { "a.rego": "package p\n\nallow if startswith(input.user.name, data.prefix)\n" },
    data: {},
  });
  expect(inspected).toMatchObject({
    ok: true,
    value: {
      packages: ["data.p"],
      inputs: ["input.user.name"],
      rules: [
        { path: "data.p.allow", kind: "complete", row: 3, data: ["data.prefix"], builtins: ["eq", "startswith"] },
      ],
    },
  });
});
