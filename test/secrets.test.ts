/** What looks like a secret is found: by its form, its name, in a URL, encoded; quickly, whatever the text; and no less than a well-kept detector finds. */
import { lintSource } from "@secretlint/core";
import { creator } from "@secretlint/secretlint-rule-preset-recommend";
import { describe, expect, test } from "vitest";
import { formsOf, isSecretName, maskSecrets } from "../src/secrets.ts";

/** Built of parts, so that no detector takes this file for a leak. */
const of = (...parts: readonly string[]) => parts.join("");
const R = (count: number, alphabet = "aB3dE5gH7jK9mN1pQ") =>
  Array.from({ length: count }, (_, at) => alphabet[(at * 7) % alphabet.length]).join("");
const HEX = "0f3a9c17e8b2d645";
const ISSUED: { readonly [name: string]: string } = {
  "our own": of("pc_", "k7f3_", R(64, HEX)),
  jwt: of("eyJ", R(20), ".", "eyJ", R(30), ".", R(43)),
  aws: of("AK", "IA", "IOSFODNN7EXAMPL2"),
  "github classic": of("gh", "p_", R(36)),
  "github fine-grained": of("github", "_pat_", R(22), "_", R(59)),
  gitlab: of("gl", "pat-", R(20)),
  slack: of("xo", "xb-", "123456789012-1234567890123-", R(24)),
  "slack hook": of("https://hooks.", "slack.com/services/", "T00000000/B00000000/", R(24)),
  openai: of("sk", "-proj-", R(48)),
  anthropic: of("sk", "-ant-api03-", R(93), "AA"),
  stripe: of("sk", "_live_", R(24)),
  google: of("AI", "za", R(35)),
  sendgrid: of("S", "G.", R(22), ".", R(43)),
  npm: of("np", "m_", R(36)),
  "hugging face": of("h", "f_", R(34, "abcdefgHIJKL")),
  vault: of("hv", "s.", R(24)),
  digitalocean: of("do", "p_v1_", R(64, HEX)),
  databricks: of("da", "pi", R(32, HEX)),
  shopify: of("shp", "at_", R(32, HEX)),
  grafana: of("gl", "sa_", R(32), "_a1b2c3d4"),
  "private key": of(
    "-----BEGIN RSA ",
    "PRIVATE KEY-----\n",
    `${R(64)}\n`.repeat(12),
    "-----END RSA ",
    "PRIVATE KEY-----",
  ),
  age: of("AGE-SECRET", "-KEY-1", R(58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L")),
};
const ENCODINGS: { readonly [name: string]: (text: string) => string } = {
  plainly: (text) => text,
  "as a part of JSON": (text) => JSON.stringify({ note: text }),
  "in base64": (text) => Buffer.from(`value=${text}`).toString("base64"),
  "in base64url": (text) => Buffer.from(`value ${text}`).toString("base64url"),
  "in hex": (text) => Buffer.from(text).toString("hex"),
  "percent-encoded": (text) => encodeURIComponent(`the key: ${text}`),
};

describe.each(Object.entries(ISSUED))("%s", (_, secret) => {
  test.each(Object.entries(ENCODINGS))("is found %s", (_name, encode) => {
    const masked = maskSecrets(`see ${encode(secret)}, please`);
    expect(masked).toContain("***");
    expect(masked).toMatch(/^see .*/);
    expect(masked).not.toContain(secret);
    expect(masked).not.toContain(encode(secret));
  });
});

test.each([
  ["Authorization: Bearer abcdefghijkl", "abcdefghijkl"],
  ["basic dXNlcjpwYXNzd29yZA==", "dXNlcjpwYXNz"],
  ["password = hunter22", "hunter22"],
  ['{"client_secret": "hunter22"}', "hunter22"],
  [JSON.stringify(JSON.stringify({ db_password: "hunter22" })), "hunter22"],
  ["AccountKey=hunter22;EndpointSuffix=core", "hunter22"],
  ["postgres://joe:hunter22@db.example/x", "hunter22"],
  ["https://x.example/f?sig=hunter22%3D&a=1", "hunter22"],
  ["Set-Cookie: sid; session_id=hunter22", "hunter22"],
])("%s loses its secret", (text, secret) => {
  expect(maskSecrets(text)).not.toContain(secret);
});

test.each([
  "the quick brown fox jumps over the lazy dog",
  "/var/lib/portcullis/audit/gateway-0193a6f2c4d1a1b2c3d4-000001.jsonl",
  "Zeit: 12:30, Ort=Berlin",
  "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
  "TG9yZW0gaXBzdW0gZG9sb3Igc2l0IGFtZXQsIGNvbnNldGV0dXI=",
  "https://files.example/a/b?version=2&page=10",
  "holds files:read, demo:use",
])("%s is left as it is", (text) => {
  expect(maskSecrets(text)).toBe(text);
});

test("names of members say what their values are", () => {
  for (const name of ["password", "X-Api-Key", "accessToken", "client_secret", "Authorization", "privateKey", "pwd"])
    expect([name, isSecretName(name)]).toEqual([name, true]);
  for (const name of ["path", "key", "author", "passed", "sessions", "text"])
    expect([name, isSecretName(name)]).toEqual([name, false]);
});

test("a value that is known is known in each way that it may be written", () => {
  const secret = 'p"ä/ß 1\n';
  const bytes = Buffer.from(secret);
  expect(formsOf(secret)).toEqual(
    expect.arrayContaining([
      secret,
      JSON.stringify(secret).slice(1, -1),
      bytes.toString("base64"),
      bytes.toString("base64url"),
      bytes.toString("hex"),
      encodeURIComponent(secret),
      encodeURIComponent(secret).replaceAll(/%../g, (escape) => escape.toLowerCase()),
    ]),
  );
});

test.each([
  "a",
  "=",
  ":",
  "sk-",
  "SG.",
  "eyJ",
  "xoxb-",
  "://",
  "://a:",
  "password",
  "password=",
  "password =  ",
  "%41",
  "%",
  "pc_",
  "-----BEGIN PRIVATE KEY-----",
  "bearer ",
  "?sig=",
  "AKIA",
  "ghp_",
  "Zm9v",
  "abc def ",
  '\\"password\\": ',
  "0",
  "a.",
  "-",
])("a text of nothing but %j takes no longer for being long", (part) => {
  const time = (length: number): number => {
    const text = part.repeat(Math.ceil(length / part.length));
    const startedMs = performance.now();
    maskSecrets(text);
    return performance.now() - startedMs;
  };
  time(2_000);
  // linear is a few milliseconds here; quadratic is minutes
  expect(time(400_000)).toBeLessThan(2_000);
});

test("an encoded secret is found behind whatever of its alphabet stands before it", () => {
  const bytes = Buffer.from(`the key is ${ISSUED["our own"] ?? ""}`);
  for (const encoded of (["base64", "base64url", "hex"] as const).map((form) => bytes.toString(form)))
    for (const before of ["", "a/", "v1-", "x", "ab", "https://x.example/cb/"])
      expect(maskSecrets(before + encoded), before).not.toContain(encoded.slice(0, 60));
});

test("what secretlint's recommended rules find is found here", async () => {
  const rule = { id: "@secretlint/secretlint-rule-preset-recommend", rule: creator };
  let found = 0;
  for (const secret of Object.values(ISSUED)) {
    const content = `first line\nvalue: ${secret}\nlast line`;
    const source = { filePath: "/notes.txt", content, contentType: "text" as const, ext: ".txt" };
    const { messages } = await lintSource({ source, options: { config: { rules: [rule] }, noPhysicFilePath: true } });
    for (const { range } of messages) {
      found++;
      expect(maskSecrets(content)).not.toContain(content.slice(...range).trim());
    }
  }
  expect(found).toBeGreaterThan(8);
});
