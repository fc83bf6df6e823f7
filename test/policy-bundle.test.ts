/**
 * The promise: a folder of Rego becomes the policy in force; one that cannot be enforced says where it is wrong; an
 * unchanged one starts without the compiler. Reads real folders and compiles them.
 */
import * as disk from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadPolicy } from "../src/policy/bundle.ts";
import { createCache } from "../src/policy/cache.ts";
import { formatDiagnostic, PolicyRefused } from "../src/policy/diagnostic.ts";
import { readBundle, textsOf } from "../src/policy/sources.ts";
import { realPorts, silent } from "../src/ports.ts";
import { type Files, item, policyBench, ROLES, use, valueOf } from "./support/policy.ts";

const ports = realPorts(silent);
const { compiler, folder, load, path } = policyBench();

const found = async (work: Promise<unknown>): Promise<readonly string[]> => {
  const error: unknown = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof PolicyRefused)) throw new Error("the bundle was not refused", { cause: error });
  return error.diagnostics.map(formatDiagnostic);
};

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
        'package portcullis\n\ndefault decision := {"allow": false}\n\ndecision := {"allow": true, "reasons": array.concat(data.portcullis.roles.analyst, [data.site.name, data.portcullis.more])}\n',
      "site/data.json": '{"name": "north"}',
      "portcullis/data.json": '{"more": "m"}',
    });
    expect(valueOf(policy.decide(use(item("a", []))))["decision"]).toEqual({
      allow: true,
      reasons: ["files:read", "north", "m"],
    });
  });

  test("that cannot be enforced names file, row and column", async () => {
    const cases: readonly (readonly [Files, string])[] = [
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
    expect(await found(readBundle(disk, path()))).toEqual([expect.stringContaining("bundle_unreadable")]);
  });

  test("stands beside what others write: a file that is gone by now is none, one that cannot be looked at is told of", async () => {
    const dir = await folder({ "p.rego": P });
    const failing = (code: string) => ({
      ...disk,
      readdir: (async () => ["keyring.json.new", "p.rego"]) as unknown as typeof disk.readdir,
      stat: (async (at: string) => {
        if (!at.endsWith(".new")) return disk.stat(at);
        throw Object.assign(new Error(code), { code });
      }) as unknown as typeof disk.stat,
    });
    expect(Object.keys((await readBundle(failing("ENOENT"), dir)).modules)).toEqual(["p.rego"]);
    expect(await found(readBundle(failing("EACCES"), dir))).toEqual([expect.stringContaining("bundle_unreadable")]);
  });

  test("whose data does not fit into memory is refused, not half loaded", async () => {
    const data = JSON.stringify({ a: "x".repeat(1e6) });
    const bundle = textsOf(await readBundle(disk, await folder({ "p.rego": P, "data.json": data })));
    const small = loadPolicy({ compiler, cache: null }, bundle, ROLES, { memoryPagesMax: 8 });
    expect(await found(small)).toEqual([
      expect.stringContaining("policy_not_loaded: the policy's data cannot be loaded"),
    ]);
  });

  test("has a revision that changes with sources, data and roles only", async () => {
    const revision = async (files: Files): Promise<string> => (await load(files)).revision;
    const first = await revision({ "p.rego": P });
    expect(first).toMatch(/^[0-9a-f]{64}$/u);
    expect(await revision({ "p.rego": P, "p_test.rego": "package t" })).toBe(first);
    expect(await revision({ "p.rego": `${P}\n# more\n` })).not.toBe(first);
    expect(await revision({ "p.rego": P, "data.json": '{"a": 1}' })).not.toBe(first);
    const bundle = textsOf(await readBundle(disk, await folder({ "p.rego": P })));
    expect((await loadPolicy({ compiler, cache: null }, bundle, {})).revision).not.toBe(first);
  });
});

describe("the cache", () => {
  test("spares the compiler, and is not believed when damaged", async () => {
    const dir = path();
    const cache = createCache(ports, dir);
    const bundle = textsOf(await readBundle(disk, "policies"));
    let compiled = 0;
    const counting = {
      digest: compiler.digest,
      inspect: compiler.inspect,
      compile: (...args: Parameters<typeof compiler.compile>) => (compiled++, compiler.compile(...args)),
    };
    const { revision } = await loadPolicy({ compiler: counting, cache }, bundle, ROLES);
    expect(compiled).toBe(1);
    const again = await loadPolicy({ compiler: counting, cache }, bundle, ROLES);
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
      await loadPolicy({ compiler: counting, cache }, bundle, ROLES);
      expect(compiled).toBe(1);
    }
    expect(await disk.readdir(dir)).toEqual([file]);
  });

  test("keeps the newest few and survives a disk that refuses", async () => {
    const dir = path();
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
