/**
 * The promise: a bundle that is one file says the same as its folder, is the same bytes each time, and where a key is
 * named, is taken only if that key signed each of its files as it is. An archive that is none harms nobody.
 */
import { createHash, createHmac, generateKeyPairSync } from "node:crypto";
import { gunzipSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { readBundleFile, writeBundleFile } from "../src/policy/bundle-file.ts";
import { PolicyRefused } from "../src/policy/diagnostic.ts";
import { signFiles, verifyFiles } from "../src/policy/signed-bundle.ts";
import type { Bundle } from "../src/policy/sources.ts";
import { expand, filesIn, writeArchive } from "../src/policy/tar.ts";
import { SHIPPED } from "./support/stand.ts";

function keys(kind: "rsa" | "ec") {
  const pair =
    kind === "rsa"
      ? generateKeyPairSync("rsa", { modulusLength: 2048 })
      : generateKeyPairSync("ec", { namedCurve: "P-256" });
  return {
    publicKey: pair.publicKey.export({ type: "spki", format: "pem" }).toString(),
    privateKey: pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}
const RSA = keys("rsa");
const sign = { privateKey: RSA.privateKey, algorithm: "RS256", keyId: "default" } as const;
const verify = { publicKey: RSA.publicKey, algorithm: "RS256", scope: "" } as const;
const LONG = `${"a-long-name/".repeat(12)}p.rego`;
const WHOLE: Bundle = {
  ...SHIPPED,
  modules: { ...SHIPPED.modules, [LONG]: "package long\n\nx := 1\n" },
  data: { site: { name: "nörth \u2028", tags: [1, 2.5, null, true], "": {} } },
};

async function codeOf(asked: Promise<unknown>): Promise<string> {
  const thrown: unknown = await asked.then(
    () => null,
    (cause: unknown) => cause,
  );
  if (thrown === null) return "ok";
  if (!(thrown instanceof PolicyRefused)) throw new Error("another fault", { cause: thrown });
  return thrown.diagnostics[0]?.code ?? "";
}

describe("a bundle in one file", () => {
  test("says what its folder says, and is the same bytes each time", async () => {
    const bytes = await writeBundleFile(WHOLE, "r1", null);
    expect(await readBundleFile(bytes, null)).toEqual(WHOLE);
    expect(await writeBundleFile(WHOLE, "r1", null)).toEqual(bytes);
  });

  test.each(["RS256", "PS384"] as const)("signed with %s is its key's, and nobody else's", async (algorithm) => {
    const bytes = await writeBundleFile(WHOLE, "r1", { ...sign, algorithm });
    expect(await readBundleFile(bytes, { ...verify, algorithm })).toEqual(WHOLE);
    expect(await codeOf(readBundleFile(bytes, { ...verify, algorithm, ...keys("rsa") }))).toBe("bundle_signature");
    expect(await codeOf(readBundleFile(bytes, { ...verify, algorithm: "RS512" }))).toBe("bundle_signature");
    expect(await codeOf(readBundleFile(bytes, { ...verify, algorithm, scope: "write" }))).toBe("bundle_signature");
    // who names no key has not looked whose it is
    expect(await codeOf(readBundleFile(bytes, null))).toBe("bundle_refused");
  });

  test("signed on an elliptic curve is its key's", async () => {
    const ec = keys("ec");
    const bytes = await writeBundleFile(WHOLE, "r1", { ...ec, algorithm: "ES256", keyId: "k" });
    expect(await readBundleFile(bytes, { ...ec, algorithm: "ES256", scope: "" })).toEqual(WHOLE);
    expect(await codeOf(readBundleFile(bytes, verify))).toBe("bundle_signature");
  });

  const files = async () => new Map(filesIn(await expand(await writeBundleFile(WHOLE, "r1", sign))));
  const changes: readonly (readonly [string, (all: Map<string, Buffer>) => void])[] = [
    ["a changed rule", (all) => void all.set("portcullis.rego", Buffer.from("package portcullis\n"))],
    ["changed data", (all) => void all.set("data.json", Buffer.from("{}"))],
    ["another file", (all) => void all.set("more.rego", Buffer.from("package more\n"))],
    ["a file less", (all) => void all.delete("arguments.rego")],
    ["no signature", (all) => void all.delete(".signatures.json")],
    ["no JWT", (all) => void all.set(".signatures.json", Buffer.from('{"signatures":[]}'))],
    [
      "two",
      (all) => {
        const { signatures } = JSON.parse(String(all.get(".signatures.json"))) as { signatures: string[] };
        all.set(".signatures.json", Buffer.from(JSON.stringify({ signatures: [...signatures, ...signatures] })));
      },
    ],
    [
      "one that is signed by nobody",
      (all) => void all.set(".signatures.json", Buffer.from(JSON.stringify({ signatures: [forged(all, "none")] }))),
    ],
    [
      "one whose secret is the public key",
      (all) => void all.set(".signatures.json", Buffer.from(JSON.stringify({ signatures: [forged(all, "HS256")] }))),
    ],
  ];
  test.each(changes)("with %s is not taken", async (_, change) => {
    const all = await files();
    expect(await codeOf(verifyFiles(all, verify))).toBe("ok");
    change(all);
    expect(await codeOf(readBundleFile(await writeArchive(all), verify))).toBe("bundle_signature");
  });

  test("may be written anew without being signed anew: data counts by what it says", async () => {
    const all = await files();
    const data = Buffer.from(JSON.stringify(JSON.parse(String(all.get("data.json"))), null, 4));
    expect(await codeOf(readBundleFile(await writeArchive(new Map([...all, ["data.json", data]])), verify))).toBe("ok");
    // a number counts as it is written
    const one = await signFiles(new Map([["data.json", Buffer.from('{"n":1.0}')]]), sign);
    const other = new Map([...one, ["data.json", Buffer.from('{"n":1}')]]);
    expect(await codeOf(verifyFiles(other, verify))).toBe("bundle_signature");
  });

  test.each<[string, object | null, { readonly [path: string]: string }]>([
    ["is built for wasm", { wasm: [{ entrypoint: "portcullis/decision", module: "/policy.wasm" }] }, {}],
    ["is Rego v0", { rego_version: 0 }, {}],
    ["has data in YAML", null, { "a/data.yaml": "a: 1" }],
    ["is a delta", null, { "patch.json": "{}" }],
    ["has a manifest that is none", null, { ".manifest": "{" }],
    ["has a manifest that is no object", null, { ".manifest": "null" }],
    ["has a file by another path than its own", null, { "a/./deny.rego": "package deny" }],
    ["has a file in a folder without a name", null, { "a//deny.rego": "package deny" }],
    ["has a file in a file", null, { "lib/a": "a", "lib/a/b/deny.rego": "package deny" }],
  ])("that %s is refused", async (_, manifest, more) => {
    const own = new Map(Object.entries(SHIPPED.modules).map(([path, text]) => [path, Buffer.from(text)]));
    if (manifest !== null) own.set(".manifest", Buffer.from(JSON.stringify(manifest)));
    for (const [path, text] of Object.entries(more)) own.set(path, Buffer.from(text));
    expect(await codeOf(readBundleFile(await writeArchive(own), null))).toBe("bundle_refused");
  });

  test("that is no archive, or a hostile one, is refused and expands no further", async () => {
    const good = gunzipSync(await writeBundleFile(WHOLE, "r1", null));
    const header = (change: (block: Buffer) => void): Buffer => {
      const block = Buffer.from(good.subarray(0, 512));
      change(block);
      block.write(" ".repeat(8), 148);
      const sum = block.reduce((all, byte) => all + byte, 0);
      block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
      return gzipSync(Buffer.concat([block, good.subarray(512)]));
    };
    const hostile = [
      Buffer.from("not an archive"),
      Buffer.alloc(0),
      gzipSync(Buffer.alloc(64 * 1024 * 1024)),
      gzipSync(good.subarray(0, 600)),
      header((block) => block.write("2", 156)),
      header((block) => block.fill(0, 0, 100).write("../../etc/x.rego", 0)),
      header((block) => block.write("77777777777\0", 124)),
      header((block) => block.write("-0000000001\0", 124)),
      gzipSync(Buffer.concat([good.subarray(0, 100), Buffer.from("x"), good.subarray(101)])),
    ];
    for (const bytes of hostile) expect(await codeOf(readBundleFile(bytes, null))).toBe("bundle_broken");
    // headers alone: as many as fit, small when they are packed
    const folder = gunzipSync(header((block) => void (block.write("5", 156) + block.write("00000000000\0", 124))));
    const folders = Buffer.concat(Array.from({ length: 32_000 }, () => folder.subarray(0, 512)));
    expect(() => filesIn(Buffer.concat([folders, Buffer.alloc(1024)]))).toThrow("headers");
    const twice = good.subarray(0, 1024);
    expect(await codeOf(readBundleFile(gzipSync(Buffer.concat([twice, good])), null))).toBe("bundle_broken");
  });
});

/** What an attacker without the key can make. */
function forged(files: ReadonlyMap<string, Buffer>, alg: "none" | "HS256"): string {
  const listed = [...files]
    .filter(([name]) => name !== ".signatures.json")
    .map(([name, body]) => ({ name, hash: createHash("sha256").update(body).digest("hex"), algorithm: "SHA-256" }));
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg, kid: "default" })}.${part({ files: listed })}`;
  const mac = alg === "none" ? "" : createHmac("sha256", RSA.publicKey).update(text).digest("base64url");
  return `${text}.${mac}`;
}
