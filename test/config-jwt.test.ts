/** What an operator may say of an identity provider, and what is refused before anybody is believed. */
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { maskedConfig } from "../src/config-mask.ts";
import { buildSnapshot } from "../src/snapshot/build.ts";
import { problems, read } from "./config-text.ts";

const entry = (more: string) =>
  `auth:\n  jwt:\n    - {issuer: "https://idp.example", audience: "https://gw.example/mcp"${more}}\n`;

test("an issuer and an audience are enough; the rest has defaults", async () => {
  const { config } = await read(entry(""));
  expect(config.auth.jwt).toEqual([
    {
      issuer: "https://idp.example",
      audience: ["https://gw.example/mcp"],
      paths: {},
      principal: "/sub",
      prefix: "",
      admin: false,
      claims: [],
      scopes: [],
      algorithms: ["ES256", "RS256", "PS256", "EdDSA"],
      allowPrivate: false,
      clockTolerance: 10_000,
    },
  ]);
});

test("README's examples are taken as they stand", async () => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const examples = [...readme.matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, text = ""]) => text);
  const env = { BUNDLE_TOKEN: "t" };
  const taken = await Promise.all(examples.map(async (text) => (await read(text, env)).config));
  const [bundle, shadow, instances, registering, routes, tokens, envoy, limits, exported, kept] = taken;
  expect([examples.length, tokens?.auth.jwt[0]?.roles]).toEqual([10, "/realm_access/roles"]);
  expect([bundle?.bundle?.poll, shadow?.shadow[0]?.name]).toEqual([60_000, "next"]);
  expect(exported?.audit.export.map(({ protocol }) => protocol)).toEqual(["http/protobuf", "grpc"]);
  expect(kept?.servers[0]?.tools["read_text_file"]?.audit).toEqual({ arguments: "masked", results: "digest" });
  expect(instances?.servers[0]?.instances.map(({ weight }) => weight)).toEqual([3, 1]);
  expect(registering?.servers[0]?.register).toMatchObject({
    ttl: 15_000,
    origins: ["https://*.files.internal:8443"],
  });
  expect(routes?.routes["files"]?.canary).toEqual({ version: "2.0.0", percent: 10 });
  expect(envoy?.extAuthz).toEqual({ http: true, grpc: "127.0.0.1:9191" });
  expect(limits?.limits.map(({ kind }) => kind)).toEqual(["sliding", "fixed", "bucket", "concurrent"]);
});

test("the snapshot carries the issuers as plain data, the longest path first", async () => {
  const { config } = await read(
    entry(', paths: {"/mcp/a": "https://gw.example/a", "/mcp/a/long": "urn:long"}, roles: /r'),
  );
  const parts = nothingElse();
  const { settings } = buildSnapshot({ config, ...parts });
  expect(JSON.parse(JSON.stringify(settings))).toEqual(settings);
  expect(settings.issuers[0]?.audiences).toEqual([
    { path: "/mcp/a/long", accepted: ["urn:long"] },
    { path: "/mcp/a", accepted: ["https://gw.example/a"] },
    { path: "/", accepted: ["https://gw.example/mcp"] },
  ]);
  const { settings: more } = buildSnapshot({ config: (await read(entry(""))).config, ...parts });
  expect(more).not.toEqual(settings);
});

test("a setting that changes makes another revision", async () => {
  const parts = nothingElse();
  const texts = ["", ", roles: /r", ", admin: true", ", scopes: [a]", ", prefix: x", ", clockTolerance: 1s"];
  const configs = await Promise.all(texts.map((text) => read(entry(text))));
  const revisions = configs.map(({ config }) => buildSnapshot({ config, ...parts }).revision);
  expect(new Set(revisions).size).toBe(texts.length);
});

test.each([
  ["http to anywhere but loopback", ', jwks: "http://idp.example/jwks"', "an https URL without user and fragment"],
  ["a user in a URL", ', jwks: "https://a:b@idp.example/jwks"', "an https URL without user and fragment"],
  ["no algorithm", ", algorithms: []", "algorithms"],
  ["the algorithm none", ", algorithms: [none]", "algorithms"],
  ["a symmetric algorithm", ", algorithms: [HS256]", "algorithms"],
  ["a name that is no pointer", ", roles: roles", "a JSON pointer such as /realm_access/roles"],
  ["a pointer with a broken escape", ", roles: /a~2", "a JSON pointer such as /realm_access/roles"],
  ["a scope that would break out of its header", ", scopes: ['a\" b']", "printable text without spaces and quotes"],
  ["a path that is none", ', paths: {"mcp": "https://gw.example"}', "a path such as /mcp/files"],
  ["keys at a URL that may hide a secret", ", jwks: 'https://idp.example/jwks?code=x'", "a URL without query"],
  [
    "two resources that clients could not tell apart",
    ', paths: {"/ext_authz/x": "https://mcp.example/mcp"}',
    "two audiences have the path /mcp",
  ],
  ["a tolerance of hours", ", clockTolerance: 2h", "a duration of at most 5m"],
  ["a key that there is not", ", audiences: x", 'did you mean "audience"'],
])("%s is refused", async (_, more, message) => {
  expect((await problems(entry(more))).join()).toContain(message);
});

test.each([
  ["http", "http://idp.example"],
  ["a query", "https://idp.example/?a=b"],
  ["no URL", "idp.example"],
])("an issuer of %s is refused", async (_, issuer) => {
  expect(await problems(`auth:\n  jwt: [{issuer: "${issuer}", audience: a}]\n`)).toHaveLength(1);
});

test("several issuers must not be able to speak of the same name", async () => {
  const two = (one: string, other: string) =>
    `auth:\n  jwt:\n    - {issuer: "https://a.example", audience: x, prefix: "${one}"}\n    - {issuer: "https://b.example", audience: x, prefix: "${other}"}\n`;
  for (const [one, other] of [
    ["", ""],
    ["", "b:"],
    ["a", "a"],
    ["a:", "a:b:"],
  ] as const) {
    expect((await problems(two(one, other))).join()).toContain("each needs a prefix that begins no other");
  }
  expect((await read(two("a:", "b:"))).config.auth.jwt).toHaveLength(2);
  const twice = two("a:", "b:").replace("https://b.example", "https://a.example");
  expect((await problems(twice)).join()).toContain("auth.jwt already has the issuer https://a.example");
});

test("what is shown of it is as the file says it", async () => {
  const { config } = await read(entry(', jwks: "https://idp.example/jwks", clockTolerance: 90s'));
  const shown = JSON.stringify(maskedConfig(config));
  expect(shown).toContain('"clockTolerance":"90s"');
});

function nothingElse() {
  const none = new Map();
  const known = { discovered: none, fresh: new Set<string>(), approved: none };
  return { ...known, issuedKeys: none, servers: none, tools: none, policy: null, received: null };
}
