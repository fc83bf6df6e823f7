/**
 * The promise: the commands that check policies take what a gateway takes: a folder, a bundle's file, its URL, or whichever
 * of them the configuration names; a bundle is verified as the configuration says, and what is wrong names its place.
 */
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { writeBundleFile } from "../src/policy/bundle-file.ts";
import { writeArchive } from "../src/policy/tar.ts";
import { portcullis } from "./cli-io.ts";

let cwd: string;
beforeEach(async () => void (cwd = await mkdtemp(join(tmpdir(), "portcullis-place-"))));
const closing: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  await rm(cwd, { recursive: true });
});
const policy = (...words: readonly string[]) =>
  portcullis(["policy", ...words, "--config", join(cwd, "c.yaml")], { cwd });
const configured = (text: string) => writeFile(join(cwd, "c.yaml"), text);
beforeEach(() => configured("{}"));

const keys = () => {
  const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const publicKey = pair.publicKey.export({ type: "spki", format: "pem" }).toString();
  const privateKey = pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  return { publicKey, privateKey, algorithm: "ES256" as const, keyId: "default" };
};
const OWN = keys();
const OTHER = keys();
const DEFAULT = 'package portcullis\n\ndefault decision := {"allow": false}\n\n';
const MODULES = {
  good: `${DEFAULT}decision := {"allow": true} if input.principal.id == "alice"\n`,
  dangerous: `${DEFAULT}decision := {"allow": true} if not input.arguments.force\n`,
} as const;
const TESTS = {
  "p_test.rego": `package t\n\ntest_a if data.portcullis.decision.allow == false with input as {}\n\ntest_b if 1 == 2\n`,
};
const made = (which: keyof typeof MODULES, key: typeof OWN | null = null) =>
  writeBundleFile({ modules: { "p.rego": MODULES[which] }, tests: TESTS, data: {} }, "r", key);
type Said = { readonly code: number; readonly said: RegExp };
const put = async (name: string, bytes: Buffer | string) => writeFile(join(cwd, name), bytes);

type Answer = { readonly status?: number; readonly body: Buffer };
async function serving(answers: { readonly [path: string]: Answer }) {
  const asked: IncomingHttpHeaders[] = [];
  const server = createServer(({ url = "", headers }, reply) => {
    asked.push(headers);
    const { status = 200, body = Buffer.alloc(0) } = answers[url.split("?")[0] ?? ""] ?? { status: 404 };
    reply.writeHead(status).end(body);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  closing.push(() => {
    server.closeAllConnections();
    return new Promise((closed) => server.close(closed));
  });
  return { asked, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

describe("a bundle's file", () => {
  test("is checked, inspected and tested as its folder is, and what is wrong stands in it", async () => {
    await put("good.tar.gz", await made("good"));
    await put("bad.tgz", await made("dangerous"));
    expect(await policy("check", "good.tar.gz")).toEqual({
      code: 0,
      stdout: "",
      stderr: "The policies in good.tar.gz compile.\n",
    });
    const { stdout } = await policy("inspect", "good.tar.gz");
    expect(stdout).toMatch(
      /data\.portcullis\.decision +complete +yes +good\.tar\.gz\/p\.rego:5 +input\.principal\.id/u,
    );
    const tested = await policy("test", "good.tar.gz");
    expect(tested).toMatchObject({ code: 1, stderr: "1 of 2 tests pass.\n" });
    expect(tested.stdout).toMatch(/^FAIL good\.tar\.gz\/p_test\.rego:5: test_b\n/u);
    const bad = await policy("check", "bad.tgz");
    expect(bad).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^bad\.tgz\/p\.rego:5:32: grant_by_a/u) as string,
    });
    const json = await policy("check", "bad.tgz", "--json");
    expect(JSON.parse(json.stdout)).toMatchObject({ ok: false, diagnostics: [{ file: "bad.tgz/p.rego", row: 5 }] });
  });

  test("that the configuration names is verified by its key, and so is one that is named instead", async () => {
    await put("own.tar.gz", await made("good", OWN));
    await put("other.tar.gz", await made("good", OTHER));
    await put("unsigned.tar.gz", await made("good"));
    await put("own.pub", OWN.publicKey);
    expect(await policy("check", "own.tar.gz")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^own\.tar\.gz: bundle_refused: .*bundle\.publicKey/u) as string,
    });
    await configured("policies: own.tar.gz\nbundle: { publicKey: own.pub, algorithm: ES256 }");
    for (const words of [["check"], ["check", "own.tar.gz"], ["inspect"]])
      expect(await policy(...words), words.join(" ")).toMatchObject({ code: 0 });
    for (const file of ["other.tar.gz", "unsigned.tar.gz"])
      expect(await policy("check", file)).toMatchObject({
        code: 1,
        stderr: expect.stringContaining(`${file}: bundle_signature: `) as string,
      });
    await rm(join(cwd, "own.pub"));
    expect(await policy("check")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("own.pub: no such") as string,
    });
  });

  test.each<[string, string, () => Promise<Buffer | string>, Said]>([
    [
      "no archive",
      "p.tar.gz",
      async () => "package p\n",
      { code: 1, said: /^p\.tar\.gz: bundle_broken: it is no gzip archive/u },
    ],
    [
      "Rego, and no folder",
      "p.rego",
      async () => "package p\n",
      { code: 2, said: /^p\.rego: neither a folder of policies nor a bundle/u },
    ],
    [
      "no Rego",
      "p.tar.gz",
      () => archive({ "data.json": "{}" }),
      { code: 1, said: /^p\.tar\.gz: empty_bundle: there are no \.rego files in it/u },
    ],
    [
      "wasm alone",
      "p.tar.gz",
      () => archive({ ".manifest": WASM, "policy.wasm": "" }),
      { code: 1, said: /holds no Rego/u },
    ],
    [
      "wasm with Rego",
      "p.tar.gz",
      () => archive({ ".manifest": WASM, "p.rego": "package p" }),
      { code: 1, said: /entrypoints \(portcullis\/decision\)/u },
    ],
  ])("that is %s is told of by its name", async (_, name, bytes, { code, said }) => {
    await put(name, await bytes());
    expect(await policy("check", name)).toMatchObject({
      code,
      stderr: expect.stringMatching(said) as string,
      stdout: "",
    });
  });

  test("that is not there is told of", async () => {
    for (const name of ["nowhere", "nowhere.tar.gz"])
      expect(await policy("check", name)).toMatchObject({
        code: 2,
        stderr: `bundle_unreadable: ${join(cwd, name)}: no such file\n`,
      });
  });

  test("is not built or formatted: that is done in its folder", async () => {
    await put("good.tar.gz", await made("good"));
    for (const words of [["build"], ["fmt"]])
      expect(await policy(...words, "good.tar.gz")).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/^good\.tar\.gz: a bundle; /u) as string,
      });
    expect(await readFile(join(cwd, "good.tar.gz"))).toEqual(await made("good"));
  });
});

const WASM = JSON.stringify({ wasm: [{ entrypoint: "portcullis/decision", module: "/policy.wasm" }] });
const archive = (files: { readonly [path: string]: string }) =>
  writeArchive(new Map(Object.entries(files).map(([path, text]) => [path, Buffer.from(text)])));

describe("a bundle's URL", () => {
  test("is asked for once, and what is wrong stands at it, without what may be secret in it", async () => {
    const { asked, url } = await serving({
      "/good.tar.gz": { body: await made("good") },
      "/bad.tar.gz": { body: await made("dangerous") },
      "/page": { body: Buffer.from("<html>") },
    });
    expect(await policy("check", `${url}/good.tar.gz?sig=secret`)).toEqual({
      code: 0,
      stdout: "",
      stderr: `The policies in ${url}/good.tar.gz compile.\n`,
    });
    expect(asked.length).toBe(1);
    expect(
      (await policy("check", `${url}/bad.tar.gz`)).stderr.startsWith(`${url}/bad.tar.gz/p.rego:5:32: grant_`),
    ).toBe(true);
    expect(await policy("inspect", `${url}/page`)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`${url}/page: bundle_broken`) as string,
    });
    expect(await policy("check", `${url}/none`)).toMatchObject({
      code: 2,
      stderr: `${url}/none: bundle_unreachable: the bundle server answers 404\n`,
    });
    expect(await policy("check", "http://127.0.0.1:1/b.tar.gz")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("http://127.0.0.1:1/b.tar.gz: bundle_unreachable: ") as string,
    });
  });

  test("of the configuration is verified and asked with its headers; another server never hears them", async () => {
    const bundles = {
      "/b.tar.gz": { body: await made("good", OWN) },
      "/o.tar.gz": { body: await made("good", OTHER) },
    };
    const [own, stranger] = [await serving(bundles), await serving(bundles)];
    await put("own.pub", OWN.publicKey);
    await configured(
      `policies: ${own.url}/b.tar.gz\nbundle: { publicKey: own.pub, algorithm: ES256, allowPrivate: true, headers: { Authorization: Bearer secret } }`,
    );
    expect(await policy("check")).toMatchObject({ code: 0, stderr: `The policies in ${own.url}/b.tar.gz compile.\n` });
    expect(own.asked.at(-1)).toMatchObject({ authorization: "Bearer secret" });
    expect(await policy("check", `${own.url}/o.tar.gz`)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("bundle_signature") as string,
    });
    expect(await policy("check", `${stranger.url}/b.tar.gz`)).toMatchObject({ code: 0 });
    expect(stranger.asked).toHaveLength(1);
    expect(stranger.asked[0]).not.toHaveProperty("authorization");
  });
});

test.each([
  ["http://user:secret@a server/b", "bundle: { publicKey: own.pub }", "an https URL, or http to loopback"],
  ["http://192.0.2.1/b.tar.gz", "bundle: { publicKey: own.pub }", "an https URL, or http to loopback"],
  ["https://192.0.2.1/b.tar.gz", "bundle: {}", "name the key in bundle.publicKey"],
])("a configuration's URL %s that no gateway takes is not asked for, and is not told", async (url, bundle, why) => {
  await configured(`policies: ${url}\n${bundle}`);
  for (const command of ["check", "inspect", "test"]) {
    const { code, stderr } = await policy(command);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(`policies: `) as string });
    expect(stderr).toContain(why);
    expect(stderr).not.toContain("secret");
  }
});

test("a URL that is none is not told, since it may hold a password", async () => {
  const { code, stderr } = await policy("check", "https://user:secret@a server/b");
  expect(code).toBe(2);
  expect(stderr).toContain("the bundle's URL is none");
  expect(stderr).not.toContain("secret");
});

test("where policies are managed, it is said where the one in force is", async () => {
  await configured("policies: managed");
  for (const command of ["check", "inspect", "test"])
    expect(await policy(command)).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("`portcullis policy show`") as string,
    });
  await mkdir(join(cwd, "p"));
  await put("p/p.rego", MODULES.good);
  expect(await policy("check", "p")).toMatchObject({ code: 0 });
});
