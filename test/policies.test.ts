/**
 * The promise: the enforced policy is the folder's, or, where the file says `policies: managed`, that of the changes, and
 * never both. What is applied is compiled, and passes its own tests, before it decides anything; each text can be found again.
 */
import { mkdir, writeFile } from "node:fs/promises";
import * as disk from "node:fs/promises";
import { join, resolve } from "node:path";
import { TRPCClientError } from "@trpc/client";
import { afterEach, describe, expect, test } from "vitest";
import { readBundle } from "../src/policy/sources.ts";
import type { Bundle } from "../src/policy/sources.ts";
import { portcullis } from "./cli-io.ts";
import { DOORS } from "./support/ask.ts";
import {
  BASE_CONFIG,
  discovered,
  fixtureServer,
  keyEntry,
  keyOf,
  KEYS,
  startGateway,
  until,
} from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { adminOf, startControl, startSidecar } from "./support/planes.ts";
import type { Admin } from "./support/planes.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

const SHIPPED = await readBundle(disk, resolve(import.meta.dirname, "../policies"));
const own = (text: string) => `package portcullis.arguments

proved if {
	input.target.kind == "tool"
	input.arguments.text != "${text}"
}

proved if input.request.operation == "tools/list"

proved if input.target.kind != "tool"
`;
const TESTS = `package strict_test

import data.portcullis.arguments

ask(text) := {"target": {"kind": "tool"}, "request": {"operation": "tools/call"}, "arguments": {"text": text}}

test_odd_is_refused if not arguments.proved with input as ask("odd")

test_even_is_not if arguments.proved with input as ask("even")
`;
/** Refuses one text. */
const refusing = (text: string, more: Partial<Bundle> = {}): Bundle => ({
  modules: { "arguments.rego": own(text), "portcullis.rego": SHIPPED.modules["portcullis.rego"] ?? "" },
  tests: {},
  data: {},
  ...more,
});
const STRICT = refusing("odd", { tests: { "strict_test.rego": TESTS } });

type Stand = { readonly gateway: TestGateway; readonly admin: Admin; readonly said: () => Promise<readonly string[]> };

async function stand(changes: object = {}): Promise<Stand> {
  const fixture = await startFixture();
  open.push(fixture.close);
  const gateway = await startGateway({ servers: [fixtureServer(fixture)], policies: "managed", ...changes });
  open.push(gateway.close);
  if (gateway.config.servers.length > 0) await discovered(gateway, "fixture");
  return { gateway, admin: adminOf(gateway), said: () => said(gateway) };
}

/** What becomes of two calls. */
async function said(gateway: TestGateway): Promise<readonly string[]> {
  const ask = (text: string) => DOORS["rest"]!(gateway, { key: KEYS.alice, tool: "echo", arguments: { text } });
  return [(await ask("odd")).code, (await ask("even")).code];
}
const OPEN = ["ok", "ok"];
const ODD_REFUSED = ["forbidden", "ok"];
const EVEN_REFUSED = ["ok", "forbidden"];

type Told = {
  readonly code: string;
  readonly detail: string;
  readonly errors?: readonly { pointer: string; message: string }[];
};

async function refusalOf(asked: Promise<unknown>): Promise<Told> {
  const thrown: unknown = await asked.then(
    () => null,
    (fault: unknown) => fault,
  );
  if (!(thrown instanceof TRPCClientError)) throw new Error("not refused", { cause: thrown });
  return (thrown.data as { portcullis: Told }).portcullis;
}

describe("a managed policy", () => {
  test("is, until one is applied, the one that ships with the product", async () => {
    const { gateway, said: now } = await stand();
    expect(await now()).toEqual(OPEN);
    const { policy } = gateway.gateway.snapshot();
    await gateway.rewrite({ policies: BASE_CONFIG.policies });
    expect(gateway.gateway.snapshot().policy?.revision).toBe(policy?.revision);
  });

  test("counts from the next call on, over a reload and a restart", async () => {
    const { gateway, admin, said: now } = await stand();
    expect((await admin.policies.put.mutate({ value: STRICT })).revision).toBe(1);
    expect(await now()).toEqual(ODD_REFUSED);
    const { revision } = gateway.gateway.snapshot();
    await gateway.reload();
    expect(await now()).toEqual(ODD_REFUSED);
    await gateway.stop();
    const again = await startGateway(
      {
        servers: gateway.config.servers.map(({ name, instances }) => ({ name, instances, permissions: ["demo:use"] })),
        policies: "managed",
      },
      { plane: { folder: gateway.folder } },
    );
    open[1] = again.close;
    await discovered(again, "fixture");
    expect(again.gateway.snapshot().revision).toBe(revision);
    expect(await said(again)).toEqual(ODD_REFUSED);
    await adminOf(again).policies.remove.mutate({});
    expect(await said(again)).toEqual(OPEN);
  });

  test("is never read from a folder, whatever its name", async () => {
    const { gateway, admin, said: now } = await stand();
    await admin.policies.put.mutate({ value: STRICT });
    for (const name of ["managed", "policies"]) {
      await mkdir(join(gateway.folder, name));
      await writeFile(join(gateway.folder, name, "portcullis.rego"), "package portcullis\n\nthis is no Rego");
    }
    await gateway.reload();
    expect(await now()).toEqual(ODD_REFUSED);
    // that folder is still to be had
    await expect(gateway.rewrite({ policies: "./managed" })).rejects.toThrow("rego_parse_error");
  });

  test("is the same, to its revision, as a folder of the same texts", async () => {
    const { gateway, admin } = await stand();
    const folder = join(gateway.folder, "own");
    await mkdir(join(folder, "arguments"), { recursive: true });
    const value: Bundle = {
      modules: {
        "portcullis.rego": STRICT.modules["portcullis.rego"] ?? "",
        "arguments/strict.rego": STRICT.modules["arguments.rego"] ?? "",
        "arguments.rego": "package other\n",
      },
      tests: {},
      data: { site: { name: "north" } },
    };
    for (const [path, text] of Object.entries(value.modules)) await writeFile(join(folder, path), text);
    await writeFile(join(folder, "data.json"), JSON.stringify(value.data));
    await admin.policies.put.mutate({ value });
    const { policy } = gateway.gateway.snapshot();
    await gateway.rewrite({ policies: "./own" });
    expect(gateway.gateway.snapshot().policy?.revision).toBe(policy?.revision);
  });

  test("that does not compile is refused, each fault with file, row and column; the old one stays", async () => {
    const { gateway, admin, said: now } = await stand();
    await admin.policies.put.mutate({ value: STRICT });
    const { revision } = gateway.gateway.snapshot();
    const modules = { ...STRICT.modules, "rules/own.rego": "package own\n\nx := nothing\n\ny := nobody\n" };
    const refused = await refusalOf(admin.policies.put.mutate({ value: { ...STRICT, modules } }));
    expect(refused).toMatchObject({ code: "invalid_request", detail: "The policy cannot be put in force." });
    expect(refused.errors).toEqual(
      [3, 5].map((row) => ({
        pointer: "/policies/main/rules~1own.rego",
        message: expect.stringMatching(`^rules/own\\.rego:${row}:6: rego_unsafe_var_error: `) as string,
      })),
    );
    expect(gateway.gateway.snapshot().revision).toBe(revision);
    expect(await now()).toEqual(ODD_REFUSED);
    expect((await admin.changes.list.query({})).changes).toHaveLength(1);
  });

  test("whose own test fails is refused, and the test is named", async () => {
    const { admin, said: now } = await stand();
    const value = refusing("even", { tests: STRICT.tests });
    expect(await refusalOf(admin.policies.put.mutate({ value }))).toMatchObject({
      code: "invalid_request",
      errors: [
        { message: expect.stringMatching(/^strict_test\.rego:7:1: test_failed: test_odd_is_refused fails/) as string },
        { message: expect.stringMatching(/^strict_test\.rego:9:1: test_failed: test_even_is_not fails/) as string },
      ],
    });
    expect(await now()).toEqual(OPEN);
  });

  test("can be tried: the diff is told by file and nothing is done, not even by the next change of a role", async () => {
    const { gateway, admin, said: now } = await stand();
    await admin.policies.put.mutate({ value: refusing("even") });
    const long = `# ${"x".repeat(9_000)}\n`;
    const value = { ...STRICT, modules: { ...STRICT.modules, "more.rego": `package more\n\n${long}` } };
    const tried = await admin.policies.put.mutate({ value, dryRun: true, expect: 1 });
    expect(tried).toMatchObject({ revision: 1, dryRun: true });
    expect(tried.diff).toEqual([
      { path: "policies/main/arguments.rego", before: own("even"), after: own("odd") },
      { path: "policies/main/more.rego", before: null, after: expect.stringMatching(/x…$/) as string },
      { path: "policies/main/strict_test.rego", before: null, after: TESTS },
    ]);
    expect(String(tried.diff[1]?.after).length).toBeLessThan(8_200);
    await admin.roles.put.mutate({ role: "r", permissions: ["a:b"] });
    expect(gateway.gateway.snapshot().roles["r"]).toEqual(["a:b"]);
    expect(await now()).toEqual(EVEN_REFUSED);
    expect((await refusalOf(admin.policies.put.mutate({ value, expect: 1 }))).code).toBe("conflict");
    const removed = await admin.policies.remove.mutate({ dryRun: true });
    expect(removed.diff.map(({ path, after }) => [path, after])).toEqual([
      ["policies/main/arguments.rego", null],
      ["policies/main/portcullis.rego", null],
      ["policies/main/data.json", null],
    ]);
  });

  test("is found again, text by text, and rolled back to; records and the list of changes hold digests", async () => {
    const { gateway, admin, said: now } = await stand();
    await admin.policies.put.mutate({ value: { ...STRICT, data: { timeout: 5000 } } });
    await admin.policies.put.mutate({ value: refusing("even") });
    await admin.policies.remove.mutate({});
    expect(await now()).toEqual(OPEN);
    expect(await admin.policies.list.query()).toEqual({ revision: 3, entries: [] });
    expect((await admin.policies.list.query({ revision: 1 })).entries).toEqual([
      { name: "main", origin: "change", value: { ...STRICT, data: { timeout: 5000 } } },
    ]);
    expect((await refusalOf(admin.policies.list.query({ revision: 9 }))).code).toBe("invalid_request");
    await admin.changes.rollback.mutate({ to: 2 });
    expect(await now()).toEqual(EVEN_REFUSED);
    await admin.changes.rollback.mutate({ to: 1 });
    expect(await now()).toEqual(ODD_REFUSED);
    expect((await admin.policies.list.query()).entries).toMatchObject([{ value: { data: { timeout: 5000 } } }]);
    await admin.changes.rollback.mutate({ to: 0 });
    expect(await now()).toEqual(OPEN);
    const records = (await gateway.records()).flatMap((one) => one["portcullis.change"] ?? []).join("\n");
    const listed = JSON.stringify(await admin.changes.list.query({}));
    for (const text of [records, listed]) {
      expect(text).toContain("arguments.rego");
      expect(text).toMatch(/sha256:[0-9a-f]{64}/);
      expect(text).not.toContain("input.target");
    }
  });

  const beside = (path: string) => ({ modules: { ...SHIPPED.modules, [path]: "package p" } });
  test.each<[string, object, string]>([
    ["a path that climbs", beside("../p.rego"), "/value/modules/..~1p.rego"],
    ["a path that climbs on its way", beside("a/../p.rego"), "/value/modules/a~1..~1p.rego"],
    ["an absolute path", beside("/p.rego"), "/value/modules/~1p.rego"],
    ["a backslash in a path", beside("a\\p.rego"), "/value/modules/a\\p.rego"],
    ["a hidden file", beside("a/.p.rego"), "/value/modules/a~1.p.rego"],
    ["a path of many folders", beside(`${"a/".repeat(16)}p.rego`), `/value/modules/${"a~1".repeat(16)}p.rego`],
    ["a path without end", beside(`${"p".repeat(300)}.rego`), `/value/modules/${"p".repeat(300)}.rego`],
    ["another kind of file", beside("p.txt"), "/value/modules/p.txt"],
    ["a test among its modules", beside("p_test.rego"), "/value/modules/p_test.rego"],
    ["a module among its tests", { ...SHIPPED, tests: { "q.rego": "package q" } }, "/value/tests/q.rego"],
    ["no module", { modules: {} }, "/value/modules"],
    ["data that is no object", { ...SHIPPED, data: [] }, "/value/data"],
    ["data of the gateway's own", { ...SHIPPED, data: { portcullis: { roles: {} } } }, "/policies/main/data.json"],
    [
      "more than a MiB",
      { modules: { ...SHIPPED.modules, "p.rego": `package p\n# ${"x".repeat(1024 * 1024)}` } },
      "/value",
    ],
  ])("with %s is refused", async (_, value, pointer) => {
    const { gateway, admin } = await stand({ servers: [] });
    expect(await refusalOf(admin.policies.put.mutate({ value } as never))).toMatchObject({
      code: "invalid_request",
      errors: [{ pointer }],
    });
    expect(gateway.gateway.control.changeRevision()).toBe(0);
  });

  test.each(["Main", "other bundle", "", "x".repeat(25)])("of the name %j is refused", async (name) => {
    const { admin } = await stand({ servers: [] });
    const refused = await refusalOf(admin.policies.put.mutate({ name, value: STRICT }));
    expect(refused.errors).toEqual([{ pointer: "/name", message: "a bundle's name: [a-z][a-z0-9-]{0,23}" }]);
  });

  test("at the control plane decides the next call at a sidecar", async () => {
    const fixture = await startFixture();
    open.push(fixture.close);
    const control = await startControl({ servers: [fixtureServer(fixture)], policies: "managed" });
    open.push(control.close);
    await discovered(control, "fixture");
    const sidecar = await startSidecar(control);
    open.push(sidecar.close);
    const level = () =>
      until(() => sidecar.gateway.snapshot().revision === control.gateway.snapshot().revision, "the same revision");
    await level();
    expect(await said(sidecar)).toEqual(OPEN);
    await adminOf(control).policies.put.mutate({ value: STRICT });
    await level();
    expect(await said(sidecar)).toEqual(ODD_REFUSED);
    expect((await refusalOf(adminOf(sidecar).policies.put.mutate({ value: STRICT }))).detail).toContain(
      "control plane",
    );
  });
});

describe("a policy in a folder", () => {
  test("is changed there alone", async () => {
    const { admin, said: now } = await stand({ policies: BASE_CONFIG.policies });
    for (const asked of [admin.policies.put.mutate({ value: STRICT }), admin.policies.remove.mutate({})])
      expect(await refusalOf(asked)).toMatchObject({
        code: "invalid_request",
        detail: expect.stringContaining("the folder that the configuration file names") as string,
      });
    expect(await now()).toEqual(OPEN);
    expect((await admin.policies.list.query()).entries).toEqual([{ name: "main", origin: "file", value: null }]);
  });

  test("and what was applied take turns as the file says, at a reload", async () => {
    const {
      gateway,
      admin,
      said: now,
    } = await stand({
      roles: { ...BASE_CONFIG.roles, historian: ["changes:write"] },
      principals: [...BASE_CONFIG.principals, { id: "hanna", roles: ["historian"] }],
      auth: { keys: [...BASE_CONFIG.auth.keys, keyEntry("hanna")] },
    });
    await admin.policies.put.mutate({ value: STRICT });
    await gateway.rewrite({ policies: BASE_CONFIG.policies });
    expect(await now()).toEqual(OPEN);
    // a roll back moves what was applied, which decides nothing now, but may again: it takes who may apply
    const hanna = adminOf(gateway, { "x-api-key": keyOf("hanna") });
    expect(await refusalOf(hanna.changes.rollback.mutate({ to: 0 }))).toMatchObject({ code: "forbidden" });
    const { diff } = await admin.changes.rollback.mutate({ to: 0 });
    expect(diff.map(({ path }) => path)).toContain("policies/main/arguments.rego");
    await admin.changes.rollback.mutate({ to: 1 });
    expect(await now()).toEqual(OPEN);
    await gateway.rewrite({ policies: "managed" });
    expect(await now()).toEqual(ODD_REFUSED);
  });
});

describe("portcullis policy", () => {
  test("apply puts a folder in force, says by file what changes, and show prints it", async () => {
    const { gateway, said: now } = await stand();
    const folder = join(gateway.folder, "own");
    await mkdir(folder);
    for (const [path, text] of Object.entries({ ...STRICT.modules, ...STRICT.tests }))
      await writeFile(join(folder, path), text);
    const cli = (...words: readonly string[]) => portcullis([...words, "--config", gateway.configFile]);
    const added = "added   arguments.rego\nadded   portcullis.rego\nadded   strict_test.rego\nadded   data.json\n";
    expect(await cli("policy", "apply", folder, "--dry-run")).toEqual({
      code: 0,
      stdout: added,
      stderr: "It can be put in force; nothing was done.\n",
    });
    expect(await now()).toEqual(OPEN);
    expect(await cli("policy", "show")).toMatchObject({ code: 0, stdout: "" });
    expect(await cli("policy", "apply", folder, "--expect", "0")).toEqual({
      code: 0,
      stdout: added,
      stderr: "In force, as revision 1.\n",
    });
    expect(await now()).toEqual(ODD_REFUSED);
    expect((await cli("policy", "show")).stdout).toContain(`# arguments.rego\n${own("odd")}\n`);
    expect(await cli("policy", "apply", folder, "--expect", "0")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^conflict: /) as string,
    });
    await writeFile(join(folder, "arguments.rego"), own("even"));
    expect(await cli("policy", "apply", folder)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("strict_test.rego:7:1: test_failed: test_odd_is_refused fails") as string,
    });
    expect(await cli("policy", "apply", join(folder, "none"))).toMatchObject({ code: 2 });
    expect(await cli("policy", "check")).toEqual({
      code: 2,
      stdout: "",
      stderr: expect.stringContaining("was checked when it was applied, see `portcullis policy show`") as string,
    });
    await gateway.rewrite({ policies: "./own" });
    expect(await cli("policy", "apply", folder)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("policies: managed") as string,
    });
    expect((await cli("policy", "show", "--revision", "1")).stdout).toContain("# strict_test.rego\n");
  });
});
