/**
 * The promise: bundles are OPA's own, both ways: what `policy build` makes, the real `opa` verifies and evaluates; what `opa
 * build` and `opa sign` make is verified here and enforced.
 */
import { generateKeyPairSync } from "node:crypto";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readBundleFile } from "../../src/policy/bundle-file.ts";
import { portcullis } from "../cli-io.ts";
import { lacks, requirePart, run } from "../support/parts.ts";
import { refusing, stands } from "../support/stand.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const { stand } = stands();
let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "portcullis-opa-"));
  for (const [name, pair] of [
    ["rsa", generateKeyPairSync("rsa", { modulusLength: 2048 })],
    ["ec", generateKeyPairSync("ec", { namedCurve: "P-256" })],
    ["other", generateKeyPairSync("rsa", { modulusLength: 2048 })],
    ["ec2", generateKeyPairSync("ec", { namedCurve: "P-256" })],
  ] as const) {
    await writeFile(join(folder, `${name}.pub`), pair.publicKey.export({ type: "spki", format: "pem" }));
    await writeFile(join(folder, `${name}.key`), pair.privateKey.export({ type: "pkcs8", format: "pem" }));
  }
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const QUERY = "data.portcullis.decision";
const at = (name: string) => join(folder, name);

describe.skipIf(lacks("opa"))("a bundle and the real opa", () => {
  const opa = (...args: string[]) => run(requirePart("opa"), args, { cwd: folder });

  test.each([
    ["RS256", "rsa"],
    ["PS256", "rsa"],
    ["ES256", "ec"],
  ])("made by `policy build` and signed with %s is verified and evaluated by opa", async (algorithm, key) => {
    const file = at(`ours-${algorithm}.tar.gz`);
    const signing = ["--sign", at(`${key}.key`), "--signing-alg", algorithm];
    const built = await portcullis(["policy", "build", join(ROOT, "policies"), "--output", file, ...signing]);
    expect(built).toMatchObject({ code: 0, stderr: expect.stringContaining(", signed, revision ") as string });
    const input = {
      request: { operation: "tools/call" },
      principal: { permissions: ["files:read"] },
      target: { kind: "tool" },
      tool: { server: "files", permissions: ["files:read"], tags: [] },
      arguments: { path: "/etc/passwd" },
    };
    await writeFile(at("input.json"), JSON.stringify(input));
    const said = await opa("eval", "--bundle", file, "--input", at("input.json"), "--format", "raw", QUERY);
    expect(said.code, said.stderr).toBe(0);
    expect(JSON.parse(said.stdout)).toEqual({ allow: false, reasons: ["an argument is not allowed"], obligations: {} });
    // of opa's commands, `build` and `run` are the ones that verify what they load
    const verified = (by: string) =>
      opa(
        ...["build", "--bundle", file, "--output", at("verified.tar.gz"), "--verification-key", at(by)],
        ...["--signing-alg", algorithm, "--verification-key-id", "default"],
      );
    const good = await verified(`${key}.pub`);
    expect(good.code, good.stderr).toBe(0);
    const bad = await verified(algorithm === "ES256" ? "ec2.pub" : "other.pub");
    expect({ code: bad.code, said: bad.stdout + bad.stderr }).toEqual({
      code: 1,
      said: expect.stringContaining("failed to verify JWT signature") as string,
    });
  });

  test("made by `opa build` and signed by it is verified and enforced, numbers and all", async () => {
    const source = at("source");
    await mkdir(join(source, "site"), { recursive: true });
    for (const [path, text] of Object.entries(refusing("odd").modules)) await writeFile(join(source, path), text);
    const data = `{"n": 1.0, "big": 1e3, "text": "nörth <&> \\u2028 \\u0007", "list": [null, true, -0.5], "ключ": {"é": 1, "z": 2, "😀": 3}}`;
    await writeFile(join(source, "site/data.json"), data);
    for (const [algorithm, key] of [
      ["RS256", "rsa"],
      ["ES256", "ec"],
    ] as const) {
      const file = at(`theirs-${algorithm}.tar.gz`);
      const signing = ["--signing-key", at(`${key}.key`), "--signing-alg", algorithm];
      const built = await opa("build", "--bundle", source, "--output", file, ...signing);
      expect(built.code, built.stderr).toBe(0);
      const publicKey = await readFile(at(`${key}.pub`), "utf8");
      const bundle = await readBundleFile(await readFile(file), { publicKey, algorithm, scope: "" });
      expect(bundle.data).toEqual({ site: JSON.parse(data) as object });
      const other = await readFile(at("other.pub"), "utf8");
      await expect(readBundleFile(await readFile(file), { publicKey: other, algorithm, scope: "" })).rejects.toThrow(
        "bundle_signature",
      );
    }
    const { gateway, call } = await stand();
    await gateway.rewrite({ policies: at("theirs-RS256.tar.gz"), bundle: { publicKey: at("rsa.pub") } });
    expect([(await call("odd")).code, (await call("even")).code]).toEqual(["forbidden", "ok"]);
    await expect(
      gateway.rewrite({ policies: at("theirs-RS256.tar.gz"), bundle: { publicKey: at("other.pub") } }),
    ).rejects.toThrow("bundle_signature");
    expect((await call("odd")).code).toBe("forbidden");
  });

  test("made by `opa build` is checked, inspected and tested as it is; built for wasm, it is said why not", async () => {
    const source = at("checked");
    await mkdir(source, { recursive: true });
    for (const [path, text] of Object.entries(refusing("odd").modules)) await writeFile(join(source, path), text);
    const t = "package t\n\ntest_it if data.portcullis.decision.allow == false with input as {}\n";
    await writeFile(join(source, "t_test.rego"), t);
    await writeFile(at("signed.yaml"), "policies: checked.tar.gz\nbundle: { publicKey: rsa.pub }\n");
    const signing = ["--signing-key", at("rsa.key"), "--signing-alg", "RS256"];
    const built = await opa("build", "--bundle", source, "--output", at("checked.tar.gz"), ...signing);
    expect(built.code, built.stderr).toBe(0);
    const ours = (...words: string[]) =>
      portcullis(["policy", ...words, "--config", at("signed.yaml")], { cwd: folder });
    const said = "The policies in checked.tar.gz compile.\n";
    expect(await ours("check")).toEqual({ code: 0, stdout: "", stderr: said });
    expect(await ours("test")).toMatchObject({ code: 0, stderr: "1 of 1 tests pass.\n" });
    expect((await ours("inspect")).stdout).toMatch(/checked\.tar\.gz\/\S*portcullis\.rego:\d+/u);
    const wasm = await opa(
      ...["build", "-t", "wasm", "-e", "portcullis/decision"],
      "-b",
      source,
      "-o",
      at("wasm.tar.gz"),
    );
    expect(wasm.code, wasm.stderr).toBe(0);
    expect(await portcullis(["policy", "check", at("wasm.tar.gz")], { cwd: folder })).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("takes out the Rego of its entrypoints (portcullis/decision") as string,
    });
  });
});
