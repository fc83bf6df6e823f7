/**
 * The promise: a folder of Rego becomes the policy in force; what is not listed is never callable; one faulty rule
 * does not empty a list; an unchanged bundle starts without the compiler; a bundle that cannot be enforced says
 * where it is wrong. Reads real folders and compiles them.
 */
import * as disk from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Evaluation, JsonObject, Policy } from "../src/model.ts";
import { loadPolicy } from "../src/policy/bundle.ts";
import { createCache } from "../src/policy/cache.ts";
import { checkPolicies, formatPolicies, testPolicies } from "../src/policy/commands.ts";
import { createCompiler } from "../src/policy/compiler.ts";
import { formatDiagnostic, PolicyRefused } from "../src/policy/diagnostic.ts";
import { readBundle } from "../src/policy/sources.ts";
import { realPorts, silent } from "../src/ports.ts";

const ports = realPorts(silent);
const compiler = createCompiler({ wasmPath: "policies/compiler/opa.wasm.br" });
const tools = { disk, compiler };
const roles = { analyst: ["files:read"] };
let root: string;
let made = 0;

beforeAll(async () => {
  root = await disk.mkdtemp(join(tmpdir(), "portcullis-bundle-"));
});
afterAll(async () => {
  await compiler.close();
  await disk.rm(root, { recursive: true });
});

async function folder(files: { readonly [path: string]: string }): Promise<string> {
  const dir = join(root, String(made++));
  for (const [path, text] of Object.entries(files)) {
    await disk.mkdir(dirname(join(dir, path)), { recursive: true });
    await disk.writeFile(join(dir, path), text);
  }
  return dir;
}
const load = async (files: { readonly [path: string]: string }): Promise<Policy> =>
  loadPolicy({ compiler, cache: null }, await readBundle(disk, await folder(files)), roles);

const request = {
  id: "1",
  time: "2026-11-22T11:00:00Z",
  interface: "mcp",
  operation: "tools/call",
  ip: "127.0.0.1",
  protocol: "",
};
const principal = {
  id: "alice",
  kind: "user",
  roles: ["analyst"],
  permissions: ["files:read"],
  tenant: "default",
  onBehalfOf: null,
  claims: {},
};
const item = (name: string, permissions: readonly string[]): JsonObject => ({
  target: { kind: "tool", name },
  tool: { server: "notes", version: "1", permissions, tags: [], annotations: {}, digest: "sha256:0" },
});
const use = (one: JsonObject, args: JsonObject = {}): JsonObject => ({ request, principal, ...one, arguments: args });
const listOf = (...items: readonly JsonObject[]): JsonObject => ({
  request: { ...request, operation: "tools/list" },
  principal,
  tools: items,
});
const valueOf = (evaluation: Evaluation): JsonObject => {
  if (!evaluation.ok) throw new Error(evaluation.detail);
  return evaluation.value as JsonObject;
};
const found = async (work: Promise<unknown>): Promise<readonly string[]> => {
  const error: unknown = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof PolicyRefused)) throw new Error("the bundle was not refused", { cause: error });
  return error.diagnostics.map(formatDiagnostic);
};

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

  test("decides, lists, and reads the roles", async () => {
    const policy = await loadPolicy({ compiler, cache: null }, await readBundle(disk, "policies"), roles);
    expect(valueOf(policy.decide(use(item("a", ["files:read"]))))).toEqual({
      decision: { allow: true, reasons: ["holds files:read"], obligations: {} },
      listed: true,
    });
    expect(valueOf(policy.decide(use(item("a", ["files:write"]))))).toMatchObject({
      decision: { allow: false },
      listed: false,
    });
    expect(valueOf(policy.list(listOf(item("a", ["x:y"]), item("b", ["files:read"]), item("c", []))))).toEqual([1]);
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
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.subarray(["tools/call", "tools/list"]),
        fc.boolean(),
        (isListed, operations, open) => {
          const one = item("a", [isListed ? "listed" : "other"]);
          const asking = { ...principal, claims: { operations } };
          const listed = valueOf(policy.list({ ...listOf(one), principal: asking })) as unknown as readonly number[];
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

  test("an undefined decision is a fault and lists nothing", async () => {
    const policy = await load({
      "p.rego": 'package portcullis\n\ndecision := {"allow": true} if input.principal.id == "root"\n',
    });
    expect(policy.decide(use(item("a", [])))).toMatchObject({ ok: false, fault: "policy_undefined" });
    expect(policy.list(listOf(item("a", [])))).toEqual({ ok: true, value: [] });
    const odd = await load({ "p.rego": 'package portcullis\n\ndecision := {"allow": input.principal.claims.odd}\n' });
    for (const value of ["true", 1, [true], { x: true }, null, "", 0]) {
      const asking = { ...principal, claims: { odd: value } };
      expect(odd.list({ ...listOf(item("a", [])), principal: asking })).toEqual({ ok: true, value: [] });
      expect(valueOf(odd.decide({ ...use(item("a", [])), principal: asking }))["listed"]).toBe(false);
    }
  });
});

describe("a list", () => {
  const FAULTY = `package portcullis

default decision := {"allow": false}

decision := {"allow": true} if input.tool.permissions[0] == "files:read"

decision := {"allow": false, "reasons": ["conflict"]} if input.target.name == "bad"

decision := {"allow": true} if {
	input.target.name == "slow"
	count([1 | some x in numbers.range(1, 20000); some y in numbers.range(1, 20000); x * y == 0]) == 0
}
`;
  test("loses only the tool whose rules fault", async () => {
    const policy = await load({ "p.rego": FAULTY });
    const good = item("good", ["files:read"]);
    expect(policy.list(listOf(good, item("bad", ["files:read"]), good, item("other", [])))).toEqual({
      ok: true,
      value: [0, 2],
    });
    expect(policy.list(listOf(good, item("slow", []), good))).toEqual({ ok: true, value: [0, 2] });
  });

  test("of very many tools keeps their order", async () => {
    const policy = await load({ "p.rego": FAULTY });
    const many = Array.from({ length: 1203 }, (_, i) => item(`t${i}`, [i % 2 === 0 ? "files:read" : "x:y"]));
    expect(policy.list(listOf(...many))).toEqual({ ok: true, value: [...many.keys()].filter((i) => i % 2 === 0) });
    expect(policy.list(listOf())).toEqual({ ok: true, value: [] });
    expect(policy.list({ request, principal })).toMatchObject({ ok: false, fault: "policy_error" });
  });
});

describe("a bundle", () => {
  const P = 'package portcullis\n\ndefault decision := {"allow": false}\n';
  test("is read recursively, without tests, dot files and Go modules, its data mounted by folder", async () => {
    const dir = await folder({
      "p.rego": P,
      "p_test.rego": "package t",
      "data.json": '{"a": {"x": 1}}',
      "a/b/data.json": '{"y": 2}',
      "a/c.rego": "package c\n\nx := 1\n",
      ".hidden/d.rego": "package d",
      "compiler/go.mod": "module x",
      "compiler/e.rego": "package e",
      "notes.txt": "",
    });
    const bundle = await readBundle(disk, dir);
    expect(Object.keys(bundle.modules)).toEqual(["a/c.rego", "p.rego"]);
    expect(Object.keys(bundle.tests)).toEqual(["p_test.rego"]);
    expect(bundle.data).toEqual({ a: { x: 1, b: { y: 2 } } });
  });

  test("finds the author's data and the gateway's roles", async () => {
    const policy = await load({
      "p.rego":
        'package portcullis\n\ndecision := {"allow": true, "reasons": array.concat(data.portcullis.roles.analyst, [data.site.name, data.portcullis.more])}\n',
      "site/data.json": '{"name": "north"}',
      "portcullis/data.json": '{"more": "m"}',
    });
    expect(valueOf(policy.decide(use(item("a", []))))["decision"]).toEqual({
      allow: true,
      reasons: ["files:read", "north", "m"],
    });
  });

  test("that cannot be enforced names file, row and column", async () => {
    const cases: readonly (readonly [{ readonly [path: string]: string }, string])[] = [
      [{ "p.rego": "package portcullis\n\ndecision := x\n" }, "p.rego:3:13: rego_unsafe_var_error: var x is unsafe"],
      [
        { "p.rego": 'package portcullis\n\ndecision := {"allow": "yes"}\n' },
        "p.rego:3:1: rego_type_error: data.portcullis.decision has not the documented shape: match error",
      ],
      [
        { "p.rego": "package portcullis\n\nallow := true\n" },
        "p.rego:1:1: missing_rule: no rule defines data.portcullis.decision",
      ],
      [
        { "p.rego": `${P}\nroles := 1\n` },
        "p.rego:5:1: reserved_path: data.portcullis.roles belongs to the gateway: no rule may be defined there",
      ],
      [
        { "p.rego": P, "q.rego": "package portcullis_gateway\n\nlisted := true\n" },
        "q.rego:1:1: reserved_path: data.portcullis_gateway belongs to the gateway: no rule may be defined there",
      ],
      [
        { "p.rego": P, "portcullis/data.json": '{"roles": {}}' },
        "portcullis/data.json:1:1: reserved_path: data.portcullis.roles belongs to the gateway: no data may stand there",
      ],
      [
        { "p.rego": P, "data.json": '{"portcullis": 3}' },
        "data.json:1:1: reserved_path: data.portcullis.roles belongs to the gateway: no data may stand there",
      ],
      [{ "p.rego": P, "data.json": '{"a": 1,\n "b": }' }, "data.json:2:7: data_parse_error: this is not JSON"],
      [{ "p.rego": P, "data.json": '{"a": 1, "a": 2}' }, "data.json:1:1: data_fault: An object has a duplicate key."],
      [{ "p.rego": P, "data.json": "[]" }, "data.json:1:1: data_shape: data.json must hold an object"],
      [
        { "p.rego": P, "a/data.json": '{"x": 1}', "data.json": '{"a": {"x": 2}}' },
        "data.json:1:1: data_conflict: another data.json also defines x",
      ],
    ];
    for (const [files, expected] of cases)
      expect(await found(load(files))).toEqual([expect.stringContaining(expected)]);
    expect(await found(load({ "notes.txt": "" }))).toEqual([
      expect.stringContaining("empty_bundle: there are no .rego files"),
    ]);
    expect(await found(readBundle(disk, join(root, "nowhere")))).toEqual([
      expect.stringContaining("bundle_unreadable"),
    ]);
  });

  test("has a revision that changes with sources, data and roles only", async () => {
    const revision = async (files: { readonly [path: string]: string }): Promise<string> =>
      (await load(files)).revision;
    const first = await revision({ "p.rego": P });
    expect(first).toMatch(/^[0-9a-f]{64}$/u);
    expect(await revision({ "p.rego": P, "p_test.rego": "package t" })).toBe(first);
    expect(await revision({ "p.rego": `${P}\n# more\n` })).not.toBe(first);
    expect(await revision({ "p.rego": P, "data.json": '{"a": 1}' })).not.toBe(first);
    const bundle = await readBundle(disk, await folder({ "p.rego": P }));
    expect((await loadPolicy({ compiler, cache: null }, bundle, {})).revision).not.toBe(first);
  });
});

describe("the cache", () => {
  test("spares the compiler, and is not believed when damaged", async () => {
    const dir = join(root, "cache");
    const cache = createCache(ports, dir);
    const bundle = await readBundle(disk, "policies");
    let compiled = 0;
    const counting = {
      digest: compiler.digest,
      compile: (...args: Parameters<typeof compiler.compile>) => (compiled++, compiler.compile(...args)),
    };
    const { revision } = await loadPolicy({ compiler: counting, cache }, bundle, roles);
    expect(compiled).toBe(1);
    const again = await loadPolicy({ compiler: counting, cache }, bundle, roles);
    expect([compiled, again.revision]).toEqual([1, revision]);
    expect(valueOf(again.decide(use(item("a", ["files:read"]))))).toMatchObject({
      decision: { allow: true },
      listed: true,
    });
    const [file = ""] = await disk.readdir(dir);
    const bytes = await disk.readFile(join(dir, file));
    for (const damaged of [
      bytes.subarray(0, bytes.length - 1),
      Buffer.alloc(0),
      Buffer.from(bytes).fill(1, 5000, 5001),
    ]) {
      await disk.writeFile(join(dir, file), damaged);
      compiled = 0;
      await loadPolicy({ compiler: counting, cache }, bundle, roles);
      expect(compiled).toBe(1);
    }
    expect(await disk.readdir(dir)).toEqual([file]);
  });

  test("keeps the newest few and survives a disk that refuses", async () => {
    const dir = join(root, "small");
    const cache = createCache(ports, dir);
    for (let i = 0; i < 20; i++) await cache.write(`k${i}`, Uint8Array.of(i));
    expect((await disk.readdir(dir)).length).toBe(16);
    expect(await cache.read("k19")).toEqual(Uint8Array.of(19));
    const failing = createCache(
      { ...ports, disk: { ...disk, rename: () => Promise.reject(new Error("ENOSPC")) } },
      dir,
    );
    await failing.write("full", Uint8Array.of(1));
    expect(await failing.read("full")).toBeNull();
    expect((await disk.readdir(dir)).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });
});

describe("the commands", () => {
  test("format files in place", async () => {
    const dir = await folder({ "p.rego": "package portcullis\ndecision:={}" });
    expect(await formatPolicies(tools, dir, { write: false })).toEqual({ ok: true, value: ["p.rego"] });
    expect(await formatPolicies(tools, dir, { write: true })).toEqual({ ok: true, value: ["p.rego"] });
    expect(await disk.readFile(join(dir, "p.rego"), "utf8")).toBe("package portcullis\n\ndecision := {}\n");
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
