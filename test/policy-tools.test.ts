/**
 * The promise: policies are checked, tested, formatted and inspected from files, without an `opa` binary; a test
 * counts only if OPA's evaluator and the engine that serves traffic agree on it; formatting changes no meaning.
 */
import * as disk from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { checkPolicies, formatPolicies, testPolicies } from "../src/policy/commands.ts";
import { formatDiagnostic } from "../src/policy/diagnostic.ts";
import { policyBench } from "./support/policy.ts";

const { compiler, folder, path } = policyBench();
const tools = { disk, compiler };

describe("the shipped policy", () => {
  test("is sound, formatted, and passes its own tests in both evaluators", async () => {
    expect((await checkPolicies(tools, "policies")).map(formatDiagnostic)).toEqual([]);
    expect(await formatPolicies(tools, "policies", { write: false })).toEqual({ ok: true, value: [] });
    const report = await testPolicies(tools, "policies", { coverage: true });
    if (!report.ok) throw new Error(report.diagnostics.map(formatDiagnostic).join("\n"));
    expect(report.value.tests.filter(({ status }) => status !== "pass")).toEqual([]);
    expect(report.value.tests.length).toBeGreaterThan(15);
    for (const file of ["portcullis.rego", "arguments.rego"])
      expect(report.value.coverage?.[file]?.uncovered).toEqual([]);
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
