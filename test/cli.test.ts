/** The promise: every command explains itself, guesses what a typo meant, and ends with 0, 1 or 2 as documented. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { COMMANDS } from "../src/cli/commands.ts";
import type { Serving } from "../src/cli/io.ts";
import { portcullis } from "./cli-io.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "portcullis-cli-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Writes a file into the test's folder and gives its path. */
async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

describe("help", () => {
  test.each(Object.keys(COMMANDS))("%s explains itself without doing anything", async (name) => {
    const { code, stdout, stderr } = await portcullis([...name.split(" "), "--help"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toContain(`portcullis ${name}`);
    for (const option of [
      "--config FILE",
      "--json",
      ...Object.keys(COMMANDS[name]?.options ?? {}).map((one) => `--${one}`),
    ]) {
      expect(stdout).toContain(option);
    }
  });

  test("lists every command, and those of one noun", async () => {
    const all = await portcullis(["--help"]);
    expect(all.code).toBe(0);
    for (const name of Object.keys(COMMANDS)) expect(all.stdout).toContain(`  ${name}`);
    const keys = await portcullis(["keys", "--help"]);
    expect(keys.code).toBe(0);
    expect(keys.stdout).toContain("keys rotate");
    expect(keys.stdout).not.toContain("audit");
  });

  test("--version prints a version", async () => {
    expect((await portcullis(["--version"])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe("wrong usage ends with 2", () => {
  test.each([
    [[], "portcullis"],
    [["keys"], "keys issue"],
    [["kesy", "list"], "did you mean keys?"],
    [["keys", "lst"], "did you mean keys list?"],
    [["config", "chekc"], "did you mean config check?"],
    [["banana"], "see portcullis --help"],
    [["toString"], "unknown command"],
    [["config", "check", "--cnofig", "x"], "did you mean --config?"],
    [["config", "check", "--config"], "argument missing"],
    [["config", "check", "extra"], "takes no operand"],
    [["keys", "revoke"], "takes ID"],
    [["keys", "revoke", "a", "b"], "takes ID"],
    [["keys", "issue"], "either --principal ID, --agent NAME or --sidecar NAME"],
    [["keys", "issue", "--principal", "a", "--agent", "b"], "either"],
    [["keys", "issue", "--principal", "a", "--for", "b"], "--for goes with --agent"],
    [["tools", "call", "x", "--args", "[1]"], "a JSON object"],
    [["tools", "call", "x", "--args", '{"a":1,"a":2}'], "duplicate key"],
    [["tools", "call", "x"], "PORTCULLIS_KEY"],
    [["keys", "list", "--url", "ftp://x"], "http or https"],
    [["keys", "list", "--url", "http://127.0.0.1:1"], "PORTCULLIS_KEY"],
    [["audit", "query", "--first", "many"], "1 to 1000"],
    [["audit", "query", "--outcome", "fine"], "success, error, refused, unknown"],
    [["audit", "query", "--since", "yesterday"], "a time such as"],
  ])("%j: %s", async (words, told) => {
    const { code, stdout, stderr } = await portcullis(words);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(told);
  });

  test("told as JSON where JSON is asked for", async () => {
    const { code, stderr } = await portcullis(["kesy", "--json"]);
    expect(code).toBe(2);
    expect(JSON.parse(stderr)).toEqual({ error: { message: 'unknown command "kesy"; did you mean keys?' } });
  });
});

describe("without a gateway", () => {
  test("a client command names the socket and how to start one, and ends with 1", async () => {
    const config = await file("portcullis.yaml", "data: ./here\n");
    for (const words of [["keys", "list"], ["doctor"], ["status"], ["tools", "list"], ["audit", "tail"]]) {
      const { code, stderr } = await portcullis([...words, "--config", config]);
      expect(code).toBe(1);
      expect(stderr).toBe(
        `no gateway answers at ${join(folder, "here/admin.sock")}; start one with: portcullis serve\n`,
      );
    }
  });

  test("a client needs of the file only where the data is, not the gateway's secrets", async () => {
    const config = await file("portcullis.yaml", 'data: ./here\nredis: "${REDIS_URL}"\n');
    expect((await portcullis(["doctor", "--config", config])).code).toBe(1);
    expect((await portcullis(["config", "show", "--config", config])).code).toBe(2);
  });

  test("a file that was named and does not exist ends with 2", async () => {
    const missing = join(folder, "none.yaml");
    for (const words of [["doctor"], ["config", "check"], ["config", "show"], ["audit", "verify"]]) {
      const { code, stderr } = await portcullis([...words, "--config", missing]);
      expect({ words, code, stderr }).toEqual({ words, code: 2, stderr: `${missing}: no such file\n` });
    }
  });

  test("serve is handed the file, and its exit code is the command's", async () => {
    const asked: Serving[] = [];
    const serve = async (serving: Serving) => asked.push(serving) + 6;
    expect((await portcullis(["serve", "--config", "a.yaml"], { serve })).code).toBe(7);
    expect((await portcullis(["control"], { serve })).code).toBe(8);
    expect(asked).toEqual([
      { configFile: "a.yaml", role: "serve" },
      { configFile: "portcullis.yaml", role: "control" },
    ]);
  });

  test("a sidecar needs no file: what it must know may stand on its command line", async () => {
    const asked: Serving[] = [];
    const serve = async (serving: Serving) => asked.push(serving);
    await portcullis(["sidecar", "--control", "https://control:8485", "--key-file", "k", "--config", "a.yaml"], {
      serve,
    });
    expect(asked).toEqual([
      { configFile: "a.yaml", role: "sidecar", control: { url: "https://control:8485", keyFile: "k" } },
    ]);
  });
});

describe("config", () => {
  test("check ends with 0 and warnings on stderr, or with 1 and every problem", async () => {
    const good = await file("good.yaml", "principals:\n  - {id: a, roles: [none]}\n");
    const bad = await file("bad.yaml", "lisen: a:1\ndrain: soon\n");
    expect(await portcullis(["config", "check", "--config", good])).toEqual({
      code: 0,
      stdout: "",
      stderr: `warning: ${good}:2: the role none has no permissions\n${good} is in order.\n`,
    });
    const { code, stderr } = await portcullis(["config", "check", "--config", bad]);
    expect(code).toBe(1);
    expect(stderr.split("\n").map((line) => line.slice(bad.length))).toEqual([
      expect.stringMatching(/^:1: unknown key "lisen"/),
      expect.stringMatching(/^:2: drain: /),
      "",
    ]);
    const told = await portcullis(["config", "check", "--config", bad, "--json"]);
    expect(JSON.parse(told.stdout)).toMatchObject({ ok: false, problems: [{}, {}].map(() => expect.any(String)) });
  });

  test("show prints the effective configuration as YAML or JSON, secrets masked", async () => {
    const config = await file("portcullis.yaml", 'redis: "redis://:${PASS}@r:1"\n');
    const env = { PASS: "hunter2" };
    const yaml = await portcullis(["config", "show", "--config", config], { env });
    const json = await portcullis(["config", "show", "--config", config, "--json"], { env });
    expect(parse(yaml.stdout)).toEqual(JSON.parse(json.stdout));
    expect(yaml.stdout).toContain("drain: 10s");
    expect(yaml.stdout + json.stdout).not.toContain("hunter2");
  });

  test("schema prints the JSON Schema", async () => {
    const { code, stdout } = await portcullis(["config", "schema"]);
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ title: "Portcullis configuration", additionalProperties: false });
  });
});

describe("policy", () => {
  const ALLOW = 'package portcullis\n\ndecision := {"allow": false}\n';

  test("check ends with 0, or with 1 and file:row:col", async () => {
    await file("a.rego", ALLOW);
    expect(await portcullis(["policy", "check", folder])).toMatchObject({ code: 0, stdout: "" });
    await file("b.rego", "package portcullis\n\nx := nowhere\n");
    const { code, stderr } = await portcullis(["policy", "check", folder]);
    expect(code).toBe(1);
    expect(stderr).toContain(`${join(folder, "b.rego")}:3:`);
    expect(await portcullis(["policy", "check", join(folder, "none")])).toMatchObject({ code: 2 });
  });

  test("their tests name what fails, and get the roles of the file", async () => {
    const config = await file("portcullis.yaml", "policies: ./p\nroles: {analyst: [a:b]}\n");
    await mkdir(join(folder, "p"));
    await file("p/a.rego", ALLOW);
    await file(
      "p/a_test.rego",
      'package portcullis_test\n\ntest_roles if data.portcullis.roles.analyst == ["a:b"]\n\ntest_false if data.portcullis.decision.allow\n',
    );
    const { code, stdout, stderr } = await portcullis(["policy", "test", "--config", config]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: "1 of 2 tests pass.\n" });
    expect(stdout).toContain(`FAIL ${join(folder, "p/a_test.rego")}:5: test_false`);
  });

  test("fmt --check names what is not formatted, and fmt formats it", async () => {
    const path = await file("a.rego", 'package   portcullis\ndecision := {"allow": false}\n');
    expect(await portcullis(["policy", "fmt", folder, "--check"])).toMatchObject({ code: 1, stdout: `${path}\n` });
    expect(await portcullis(["policy", "fmt", folder])).toMatchObject({ code: 0, stdout: `${path}\n` });
    expect(await portcullis(["policy", "fmt", folder, "--check"])).toMatchObject({ code: 0, stdout: "" });
  });
});
