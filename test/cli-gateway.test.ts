/** The promise: from a shell, an operator does with the running gateway what the admin API offers, and nothing else. */
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ADMIN_PERMISSIONS } from "../src/operations.ts";
import { portcullis } from "./cli-io.ts";
import { BASE_CONFIG, discovered, fixtureServer, KEYS, startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

let fixture: Fixture;
let gateway: TestGateway;
const ECHO = {
  name: "echo",
  description: "Says it\u001b[2J again",
  inputSchema: { type: "object", properties: { text: { type: "string" } } },
};

beforeAll(async () => {
  fixture = await startFixture({ era: "both" });
  gateway = await startGateway({
    roles: { ...BASE_CONFIG.roles, admin: ADMIN_PERMISSIONS },
    servers: [fixtureServer(fixture)],
  });
  await discovered(gateway, "fixture");
});
afterAll(async () => {
  await gateway.close();
  await fixture.close();
});

/** As the owner of the machine, in another folder than the gateway's. */
const cli = (...words: readonly string[]) => portcullis([...words, "--config", gateway.configFile]);
const as = (key: string, ...words: readonly string[]) =>
  portcullis([...words, "--config", gateway.configFile], { env: { PORTCULLIS_KEY: key } });
const json = async <Value>(printed: Promise<{ stdout: string }>): Promise<Value> =>
  JSON.parse((await printed).stdout) as Value;

describe("keys", () => {
  test("are issued alone on stdout, listed without their text, rotated and revoked", async () => {
    const issued = await cli("keys", "issue", "--principal", "alice");
    expect(issued).toEqual({
      code: 0,
      stdout: expect.stringMatching(/^pc_[a-z0-9]+_[0-9a-f]{64}\n$/) as string,
      stderr: "This is the only time that the key is shown.\n",
    });
    const text = issued.stdout.trim();
    const id = text.split("_")[1] ?? "";
    const list = await cli("keys", "list");
    expect(list.stdout).toContain(id);
    expect(list.stdout).not.toContain(text.slice(-64));
    const rotated = await json<{ id: string; text: string }>(cli("keys", "rotate", id, "--json"));
    expect(rotated.text).not.toBe(text);
    expect(await cli("keys", "revoke", rotated.id)).toEqual({
      code: 0,
      stdout: "",
      stderr: `Revoked ${rotated.id}.\n`,
    });
    expect(await as(rotated.text, "tools", "call", "fixture__echo")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("unauthenticated") as string,
    });
  });

  test("of an agent are issued for the user it acts for", async () => {
    const { id } = await json<{ id: string }>(cli("keys", "issue", "--agent", "planner", "--for", "alice", "--json"));
    const keys = await json<readonly { id: string }[]>(cli("keys", "list", "--json"));
    expect(keys.find((key) => key.id === id)).toMatchObject({
      principal: "planner",
      kind: "agent",
      onBehalfOf: "alice",
    });
  });

  test("of nobody, and one that does not exist, end with 1 and the call's id", async () => {
    for (const words of [
      ["keys", "issue", "--principal", "mallory"],
      ["keys", "revoke", "none"],
    ]) {
      const { code, stdout, stderr } = await cli(...words);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toMatch(/^invalid_request: .* \[call [0-9a-f-]{36}\]\n$/);
    }
  });
});

describe("tools", () => {
  test("call prints the result's text, or with --json the whole result", async () => {
    expect(await as(KEYS.alice, "tools", "call", "fixture__echo", "--args", '{"text":"hi"}')).toEqual({
      code: 0,
      stdout: "hi\n",
      stderr: "",
    });
    expect(
      await json(as(KEYS.alice, "tools", "call", "fixture__echo", "--args", '{"text":"hi"}', "--json")),
    ).toMatchObject({ odd: { kept: true } });
  });

  test("call reads its arguments from stdin, and its key from a file", async () => {
    const keyFile = join(gateway.folder, "alice.key");
    await writeFile(keyFile, `${KEYS.alice}\n`);
    const words = [
      "tools",
      "call",
      "fixture__echo",
      "--args",
      "-",
      "--key-file",
      keyFile,
      "--config",
      gateway.configFile,
    ];
    expect(await portcullis(words, { stdin: '{"text":"piped"}' })).toMatchObject({ code: 0, stdout: "piped\n" });
    await rm(keyFile);
    expect(await portcullis(words, { stdin: "{}" })).toMatchObject({ code: 2, stderr: `${keyFile}: no such file\n` });
  });

  test("call ends with 1 on a refusal, told with its reason, and on a tool's own error", async () => {
    expect(await as(KEYS.ada, "tools", "call", "fixture__echo")).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringMatching(/^forbidden: .*\[call /) as string,
    });
    expect(await as(KEYS.alice, "tools", "call", "fixture__fail")).toEqual({
      code: 1,
      stdout: "it failed\n",
      stderr: "The tool says that this is an error.\n",
    });
    const refused = await as(KEYS.ada, "tools", "call", "fixture__echo", "--json");
    expect(JSON.parse(refused.stderr)).toMatchObject({
      error: { code: "forbidden", executed: "no", callId: expect.any(String) as string },
    });
  });

  test("list shows the owner all, and a key's principal what it may see", async () => {
    const keyFile = join(gateway.folder, "ada.key");
    await writeFile(keyFile, KEYS.ada);
    expect(await json<object[]>(cli("tools", "list", "--json"))).not.toHaveLength(0);
    expect(await json<object[]>(cli("tools", "list", "--json", "--key-file", keyFile))).toEqual([]);
    expect((await cli("tools", "list", "--tag", "nothing")).stdout.split("\n")).toHaveLength(2);
  });

  test("describe shows one, or guesses which was meant", async () => {
    expect(await json(cli("tools", "describe", "fixture__echo", "--json"))).toMatchObject({
      name: "fixture__echo",
      permissions: ["demo:use"],
    });
    expect((await cli("tools", "describe", "fixture__echo")).stdout).toContain('"inputSchema"');
    expect(await cli("tools", "describe", "fixture__ecko")).toEqual({
      code: 1,
      stdout: "",
      stderr: "no tool fixture__ecko; did you mean fixture__echo?\n",
    });
  });

  test("of a server or a version that is not there are no empty list", async () => {
    const told = async (...words: readonly string[]) => {
      const { code, stdout, stderr } = await cli("tools", ...words);
      return { code, stdout, stderr };
    };
    const not = (stderr: string) => ({ code: 1, stdout: "", stderr: `${stderr}\n` });
    expect(await told("list", "--server", "fixtur")).toEqual(not("no server fixtur; did you mean fixture?"));
    expect(await told("list", "--server", "zzz", "--version", "1")).toEqual(not("no server zzz"));
    expect(await told("list", "--version", "9.9.9")).toEqual(not("no server has a version 9.9.9"));
    const other = not("server fixture has no version ^2; it has 1.0.0");
    expect(await told("list", "--server", "fixture", "--version", "^2")).toEqual(other);
    expect(await told("describe", "fixture__echo", "--version", "2")).toEqual(not("no server has a version 2"));
    // what is there, and has none that match, is an empty list
    for (const words of [["--version", "^1"], ["--version", "*"], []])
      expect(await told("list", "--server", "fixture", "--tag", "none", ...words)).toMatchObject({ code: 0 });
  });

  test("approve accepts a changed definition, whose text cannot command the terminal", async () => {
    fixture.define([ECHO]);
    const state = async () =>
      (await json<readonly { name: string; quarantined: boolean }[]>(cli("tools", "list", "--json"))).find(
        ({ name }) => name === "fixture__echo",
      )?.quarantined;
    await until(async () => (await state()) === true, "the tool is quarantined");
    const list = await cli("tools", "list");
    expect(list.stdout).toMatch(/fixture__echo .*quarantined/);
    expect(list.stdout).not.toContain("\u001b");
    expect((await cli("tools", "describe", "fixture__echo")).stdout).not.toContain("\u001b");
    const { code, stderr } = await cli("tools", "approve", "fixture__echo");
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(/\nAccepted fixture__echo as sha256:/) as string,
    });
    expect(stderr).not.toContain("\u001b");
    expect(await state()).toBe(false);
  });
});

describe("the gateway", () => {
  test("says which servers run, and how each is", async () => {
    expect(await cli("status")).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/fixture@1\.0\.0 +fresh/) as string,
    });
    expect((await cli("servers", "list")).stdout).toMatch(/fixture +1\.0\.0 \(default\) +fresh/);
    expect((await cli("servers", "show", "fixture")).stdout).toMatch(/fixture@1\.0\.0#127\.0\.0\.1:\d+/);
    expect(await cli("servers", "show", "fixtur")).toMatchObject({
      code: 1,
      stderr: "no server fixtur; did you mean fixture?\n",
    });
  });

  test("is well part by part, or ends with 1 and says which part is not", async () => {
    const well = await cli("doctor");
    expect(well).toMatchObject({ code: 0, stderr: "" });
    expect(well.stdout).toMatch(/^ok {3}config: /m);
    await writeFile(gateway.configFile, "lisen: a:1\n");
    await gateway.reload().catch(() => undefined);
    const sick = await cli("doctor");
    await gateway.rewrite({});
    expect(sick.code).toBe(1);
    expect(sick.stdout).toContain("FAIL config: ");
    expect((await cli("doctor")).code).toBe(0);
  });

  test("is asked by URL with a key, and its policy decides", async () => {
    const url = ["--url", `http://${gateway.admin}`];
    expect((await as(KEYS.root, "keys", "list", ...url)).code).toBe(0);
    expect(await as(KEYS.alice, "keys", "list", ...url)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("forbidden") as string,
    });
    expect(await as(KEYS.root, "keys", "list", "--url", "http://127.0.0.1:1")).toMatchObject({
      code: 1,
      stderr: "no gateway answers at http://127.0.0.1:1; start one with: portcullis serve\n",
    });
    expect(await as(KEYS.root, "keys", "list", "--url", gateway.url)).toMatchObject({
      code: 1,
      stderr: `the gateway at ${gateway.url} gave no answer of ours\n`,
    });
  });
});

describe("audit", () => {
  test("query finds the calls of a principal, newest first, a page at a time", async () => {
    for (const text of ["one", "two", "three"])
      await as(KEYS.oscar, "tools", "call", "fixture__echo", "--args", JSON.stringify({ text }));
    const words = ["audit", "query", "--principal", "oscar", "--first", "2", "--json"];
    type Page = { rows: { callId: string; time: string }[]; endCursor: string; hasNextPage: boolean };
    const first = await json<Page>(cli(...words));
    expect(first.rows).toHaveLength(2);
    const [newer, older] = first.rows;
    expect(Date.parse(newer?.time ?? "")).toBeGreaterThanOrEqual(Date.parse(older?.time ?? ""));
    const rest = await json<Page>(cli(...words, "--after", first.endCursor));
    expect(rest.rows).toHaveLength(1);
    expect(first.rows.map(({ callId }) => callId)).not.toContain(rest.rows[0]?.callId);
    const one = await json<Page>(cli("audit", "query", "--call", older?.callId ?? "", "--json"));
    expect(one.rows.map(({ callId }) => callId)).toEqual([older?.callId]);
    expect(
      (await json<Page>(cli("audit", "query", "--principal", "oscar", "--until", "2020-01-01T00:00:00Z", "--json")))
        .rows,
    ).toEqual([]);
  });

  test("tail prints the latest, oldest first", async () => {
    const { code, stdout } = await cli("audit", "tail", "--principal", "oscar", "--json");
    const rows = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { time: string; tool: string });
    expect(code).toBe(0);
    expect(rows.map(({ tool }) => tool)).toEqual(["fixture__echo", "fixture__echo", "fixture__echo"]);
    expect(rows.map(({ time }) => time)).toEqual(rows.map(({ time }) => time).toSorted());
    expect((await cli("audit", "tail")).stdout).toMatch(/^TIME +PRINCIPAL/);
  });

  test("verify checks the files: 0 while every link holds, 1 and the place where one does not", async () => {
    expect(await cli("audit", "verify")).toMatchObject({
      code: 0,
      stdout: "",
      stderr: expect.stringContaining("every link holds") as string,
    });
    const copy = join(gateway.folder, "copy");
    const { cp, readdir, readFile } = await import("node:fs/promises");
    await cp(join(gateway.folder, "data/audit"), copy, { recursive: true });
    const name = (await readdir(copy)).find((one) => one.endsWith(".jsonl")) ?? "";
    const text = await readFile(join(copy, name), "utf8");
    await writeFile(join(copy, name), text.replace('"oscar"', '"osbar"'));
    const { code, stdout } = await cli("audit", "verify", copy);
    expect(code).toBe(1);
    expect(stdout).toMatch(new RegExp(`^${join(copy, name)}:\\d+: record \\d+: `));
    expect(await json(cli("audit", "verify", copy, "--json"))).toMatchObject({ ok: false, firstBad: { file: name } });
  });
});
