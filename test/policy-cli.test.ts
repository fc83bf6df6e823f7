/** The promise: what the commands on policy files print, and how they end. */
import { generateKeyPairSync } from "node:crypto";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { portcullis } from "./cli-io.ts";

let cwd: string;
beforeEach(async () => void (cwd = await mkdtemp(join(tmpdir(), "portcullis-policy-cli-"))));
afterEach(() => rm(cwd, { recursive: true }));
const write = async (files: { readonly [path: string]: string }): Promise<void> => {
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(cwd, path)), { recursive: true });
    await writeFile(join(cwd, path), text);
  }
};
const policy = (...words: readonly string[]) => portcullis(["policy", ...words], { cwd });

const DEFAULT = 'package portcullis\n\ndefault decision := {"allow": false}\n\n';
const UNWISE = `${DEFAULT}decision := {"allow": true} if glob.match("files__*", null, input.target.name)\n`;
const DANGEROUS = `${DEFAULT}decision := {"allow": true} if not input.arguments.force\n`;

describe("check", () => {
  test("prints a warning and ends with 0; with --strict it ends with 1", async () => {
    await write({ "p/a.rego": UNWISE });
    const warned = await policy("check", "p");
    expect(warned).toMatchObject({ code: 0, stdout: "" });
    expect(warned.stderr).toMatch(/^p\/a\.rego:5:32: warning: costly_glob: /u);
    expect(warned.stderr).toContain("The policies in p compile, with 1 warning.\n");
    expect(await policy("check", "p", "--strict")).toMatchObject({ code: 1, stdout: "" });
    const json = await policy("check", "p", "--json");
    expect(json.code).toBe(0);
    expect(JSON.parse(json.stdout)).toMatchObject({
      ok: true,
      diagnostics: [{ code: "costly_glob", severity: "warning", file: "p/a.rego", row: 5, col: 32 }],
    });
    expect(JSON.parse((await policy("check", "p", "--json", "--strict")).stdout)).toMatchObject({ ok: false });
  });

  test("ends with 1 for what cannot be enforced, and with 0 for the same in shadow", async () => {
    await write({ "p/a.rego": DANGEROUS });
    const refused = await policy("check", "p");
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(/^p\/a\.rego:5:32: grant_by_absence: .*\n {4}write it so:\n/u);
    const shadow = await policy("check", "p", "--shadow");
    expect(shadow.code).toBe(0);
    expect(shadow.stderr).toMatch(/^p\/a\.rego:5:32: warning: grant_by_absence: /u);
  });
});

describe("test", () => {
  const TESTED = {
    "p/a.rego": `${DEFAULT}decision := {"allow": true} if input.principal.id == "alice"\n\ntwo := 2 if input.principal.tenant\n`,
    "p/a_test.rego": `package t\n\ntest_a if {\n\tdata.portcullis.decision.allow with input as {"principal": {"id": "alice"}}\n\tdata.portcullis.decision.allow == false with input as {}\n}\n`,
  };

  test("tells how much of each file its tests reach, and ends with 1 below a threshold", async () => {
    await write(TESTED);
    expect(await policy("test", "p", "--coverage")).toMatchObject({
      code: 0,
      stdout: " 66.6 % p/a.rego, not reached: 7\n",
      stderr: "1 of 1 tests pass.\n",
    });
    expect(await policy("test", "p", "--threshold", "66")).toMatchObject({ code: 0 });
    expect(await policy("test", "p", "--threshold", "67")).toMatchObject({
      code: 1,
      stdout: " 66.6 % p/a.rego, less than 67, not reached: 7\n",
    });
    const json = await policy("test", "p", "--threshold", "67", "--json");
    expect(JSON.parse(json.stdout)).toMatchObject({ ok: false, coverage: { "a.rego": { percent: 66.6 } } });
    for (const wrong of ["101", "-1", "most", ""])
      expect(await policy("test", "p", `--threshold=${wrong}`)).toMatchObject({ code: 2 });
  });

  test("shows where a failing test failed and the end of its trace, or with --trace all of it", async () => {
    const allows = (user: string, is: boolean) =>
      `\tdata.portcullis.decision.allow == ${is} with input as {"principal": {"id": "${user}"}}\n`;
    const many = Array.from({ length: 30 }, (_, i) => allows(`u${i}`, false)).join("");
    await write({ ...TESTED, "p/b_test.rego": `package u\n\ntest_b if {\n${many}${allows("bob", true)}}\n` });
    const short = await policy("test", "p");
    expect(short.code).toBe(1);
    expect(short.stdout).toMatch(
      /^FAIL p\/b_test\.rego:3: test_b\n {4}p\/b_test\.rego:34:2: test_failed: this was not true\n/u,
    );
    expect(short.stdout).toMatch(/\(\d+ lines before; --trace shows more\)\n/u);
    expect(short.stdout.split("\n").length).toBeLessThan(15);
    expect(short.stdout).toMatch(/b_test\.rego:34 .*Fail data\.portcullis\.decision\.allow = true .*bob/u);
    const long = await policy("test", "p", "--trace");
    expect(long.stdout).toContain("u17");
    expect(long.stdout.split("\n").length).toBeLessThan(520);
  });
});

test("inspect lists packages, rules, entrypoints, annotations and the input that is read", async () => {
  await write({
    "p/a.rego": `# METADATA\n# title: Who may\n${DEFAULT}decision := {"allow": true} if held\n\nheld contains p if some p in input.tool.permissions\n\nunused if input.principal.id\n`,
  });
  const { code, stdout } = await policy("inspect", "p");
  expect(code).toBe(0);
  expect(stdout).toMatch(/^entrypoints {2}data\.portcullis\.decision\n/u);
  expect(stdout).toMatch(/data\.portcullis +Who may\n/u);
  expect(stdout).toMatch(/data\.portcullis\.held +set +yes +p\/a\.rego:9 +input\.tool\.permissions\n/u);
  expect(stdout).toMatch(/data\.portcullis\.unused +complete +no +p\/a\.rego:11 +input\.principal\.id\n/u);
  expect(stdout).toMatch(/\ninput read {2}input\.principal\.id {2}input\.tool\.permissions\n$/u);
  const json = JSON.parse((await policy("inspect", "p", "--json")).stdout) as { packages: string[] };
  expect(json).toMatchObject({ annotations: [{ annotations: { title: "Who may" } }], lint: [] });
  expect(json.packages).toEqual(["data.portcullis"]);
  await write({ "p/b.rego": "package b\n\nx := y\n" });
  expect(await policy("inspect", "p")).toMatchObject({
    code: 1,
    stdout: "",
    stderr: "p/b.rego:3:6: rego_unsafe_var_error: var y is unsafe\n",
  });
});

describe("build", () => {
  test("tells of a warning and builds; what could not be enforced is not built", async () => {
    await write({ "p/a.rego": UNWISE, "q/a.rego": DANGEROUS });
    const built = await policy("build", "p", "--output", "b.tar.gz");
    expect(built).toMatchObject({ code: 0, stderr: expect.stringContaining("costly_glob") as string });
    expect(built.stderr).toMatch(/\nb\.tar\.gz, not signed, revision [0-9a-f]{64}\.\n$/u);
    expect((await policy("check", "b.tar.gz")).stderr).toContain("b.tar.gz/a.rego:5:32: warning: costly_glob: ");
    expect(await policy("build", "q", "--output", "c.tar.gz")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^q\/a\.rego:5:32: grant_by_absence: /u) as string,
    });
    expect((await readdir(cwd)).toSorted()).toEqual(["b.tar.gz", "p", "q"]);
  });

  test("says of a key or a place that will not do which, and why", async () => {
    const key = (kind: "rsa" | "ec") =>
      (kind === "rsa"
        ? generateKeyPairSync("rsa", { modulusLength: 1024 })
        : generateKeyPairSync("ec", { namedCurve: "P-256" })
      ).privateKey
        .export({ type: "pkcs8", format: "pem" })
        .toString();
    await write({ "p/a.rego": UNWISE, "none.pem": "no key", "ec.pem": key("ec"), "short.pem": key("rsa") });
    for (const name of ["none.pem", "ec.pem", "short.pem"])
      expect(await policy("build", "p", "--sign", name)).toEqual({
        code: 2,
        stdout: "",
        stderr: `${name}: no private key for RS256, as PEM (PKCS 8)\n`,
      });
    expect(await policy("build", "p", "--output", "none/b.tar.gz")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("none/b.tar.gz: no such file") as string,
    });
  });
});

test("a filter that no test's name has is said to be so", async () => {
  await write({ "p/a.rego": UNWISE, "p/a_test.rego": "package t\n\ntest_a if true\n" });
  expect((await policy("test", "p", "--filter", "t.test_a")).stderr).toBe("1 of 1 tests pass.\n");
  expect((await policy("test", "p", "--filter", "tset")).stderr).toBe(
    'There are no tests in p in whose name "tset" stands.\n',
  );
});
