/** A token is believed only if a configured issuer signed it, for this path, for now, with an algorithm that is allowed. */
import { createHmac } from "node:crypto";
import { exportJWK, exportSPKI, generateKeyPair, importJWK, UnsecuredJWT } from "jose";
import type { CryptoKey } from "jose";
import { afterAll, beforeAll, expect, test } from "vitest";
import { believing, bench, issuerOf } from "./jwt-parts.ts";
import { AUDIENCE, startIssuer } from "./support/issuer.ts";
import type { Claims, TestIssuer } from "./support/issuer.ts";

let idp: TestIssuer;
let other: TestIssuer;
let rsa: TestIssuer;
beforeAll(async () => {
  idp = await startIssuer();
  other = await startIssuer({ kids: "other" });
  rsa = await startIssuer({ alg: "RS256", kids: "rsa" });
});
afterAll(async () => {
  for (const one of [idp, other, rsa]) await one.close();
});

const now = () => Math.floor(Date.now() / 1000);
const OWN = "https://gw.example/mcp/files";

/** All three issuers, the first with an audience of its own for `/mcp/files`. */
function inForce() {
  const audiences = [
    { path: "/mcp/files", accepted: [OWN] as const },
    { path: "/", accepted: [AUDIENCE] as const },
  ];
  return believing([issuerOf(idp, { audiences }), issuerOf(other), issuerOf(rsa)]);
}

test("a sound token is believed, and its bearer is who it says", async () => {
  expect(await bench().ask(await idp.sign({ roles: ["analyst"] }), inForce())).toEqual({
    id: "carol",
    kind: "user",
    roles: ["analyst"],
    permissions: ["demo:use", "files:read"],
    tenant: "default",
    onBehalfOf: null,
    claims: {},
  });
});

test.each(["ES256", "RS256", "PS256", "EdDSA"])("%s is believed", async (alg) => {
  const one = await startIssuer({ alg });
  expect(await bench().cause(await one.sign(), believing([issuerOf(one)]))).toBe("let in");
  await one.close();
});

test.each(["at+jwt", "application/at+jwt", "JWT", undefined])("the type %s is an access token's", async (typ) => {
  expect(await bench().cause(await idp.sign({}, { typ }), inForce())).toBe("let in");
});

type Refused = readonly [name: string, token: () => string | Promise<string>, cause: string];
const withClaims = (claims: Claims) => () => idp.sign(claims);
const REFUSED: readonly Refused[] = [
  ["no JWT at all", () => "a.b", "malformed token"],
  ["three empty parts", () => "..", "malformed token"],
  ["parts that are not JSON", () => "e30.bm8.AA", "malformed token"],
  ["an encrypted token", () => "e30.e30.e30.e30.e30", "malformed token"],
  ["an unknown issuer", withClaims({ iss: "https://idp.example" }), "token of an unknown issuer"],
  ["an issuer with a slash more", async () => idp.sign({ iss: `${idp.issuer}/` }), "token of an unknown issuer"],
  ["no issuer", withClaims({ iss: undefined }), "token of an unknown issuer"],
  ["another audience", withClaims({ aud: "https://other.example" }), "token for another audience"],
  ["no audience", withClaims({ aud: undefined }), "token for another audience"],
  ["an audience that begins alike", withClaims({ aud: `${AUDIENCE}/` }), "token for another audience"],
  ["an expired token", withClaims({ exp: now() - 1 }), "expired token"],
  ["no expiry", withClaims({ exp: undefined }), "token without the claims that it must have"],
  ["an expiry that is no number", withClaims({ exp: "9999999999" }), "token without the claims that it must have"],
  ["a token of tomorrow", withClaims({ nbf: now() + 86_400 }), "token that is not yet valid"],
  ["a token issued tomorrow", withClaims({ iat: now() + 86_400 }), "token that is not yet valid"],
  ["no subject", withClaims({ sub: undefined }), "token without a usable subject"],
  ["an empty subject", withClaims({ sub: "" }), "token without a usable subject"],
  ["a subject that moves the cursor", withClaims({ sub: "a\u001b[2J" }), "token without a usable subject"],
  ["a subject of many letters", withClaims({ sub: "a".repeat(200) }), "token without a usable subject"],
  ["a token bound to a key", withClaims({ cnf: { jkt: "x" } }), "token bound to a key"],
  ["an unknown key id", () => idp.sign({}, { kid: "key-9" }), "token of an unknown or ambiguous key"],
  ["another issuer's key id", () => idp.sign({}, { kid: "other-0" }), "token of an unknown or ambiguous key"],
  ["another issuer's key", () => other.sign({ iss: idp.issuer }, { kid: "key-0" }), "token with a wrong signature"],
  ["another issuer's key and key id", () => other.sign({ iss: idp.issuer }), "token of an unknown or ambiguous key"],
  ["a logout token", () => idp.sign({}, { typ: "logout+jwt" }), "token of another type"],
  [
    "a critical extension",
    () => byHand({ alg: "ES256", kid: "key-0", crit: ["exp"], exp: 1 }, idp),
    "token with a critical extension",
  ],
  ["the algorithm none", none, "token of an algorithm that is not allowed"],
  ["HS256 with the RSA public key for a secret", () => confused("HS256"), "token of an algorithm that is not allowed"],
  ["the same, said to be RS256", () => confused("RS256"), "token with a wrong signature"],
  ["a payload that was tampered with", tampered, "token with a wrong signature"],
  ["a signature that is missing", async () => (await idp.sign()).replace(/[^.]+$/, ""), "token with a wrong signature"],
  ["a key in the header", () => embedded("jwk"), "token with a wrong signature"],
  ["a key in the header, and no key id", () => embedded("jwk", { kid: undefined }), "token with a wrong signature"],
  ["a URL of keys in the header", () => embedded("jku"), "token with a wrong signature"],
  ["a URL of certificates in the header", () => embedded("x5u"), "token with a wrong signature"],
  ["a token that is too large", withClaims({ more: "x".repeat(8000) }), "token that is too large"],
];

test.each(REFUSED)("%s is refused", async (_, make, cause) => {
  expect(await bench().cause(await make(), inForce())).toBe(cause);
});

test("each of them looks the same outside, and as an unknown key does", async () => {
  const { ask } = bench();
  const snapshot = inForce();
  const outside = new Set<string>();
  for (const token of [...REFUSED.map(([, make]) => make), () => `pc_nobody_${"0".repeat(64)}`, () => "x"]) {
    const refusal = await Promise.try(ask, await token(), snapshot).catch((thrown: unknown) => thrown);
    const { code, message, detail } = refusal as { code: string; message: string; detail: object };
    outside.add(JSON.stringify({ code, message, ...detail, cause: null }));
  }
  expect([...outside]).toEqual([
    '{"code":"unauthenticated","message":"No valid credential was presented.","cause":null}',
  ]);
});

test("a token for one path is refused at another, also once it is known", async () => {
  const { cause } = bench();
  const snapshot = inForce();
  const [wide, own] = [await idp.sign(), await idp.sign({ aud: OWN })];
  for (let round = 0; round < 2; round++) {
    for (const path of ["/mcp", "/tools", "/graphql", "/mcp/filesystem", "/mcp/other"]) {
      expect([path, await cause(wide, snapshot, path)]).toEqual([path, "let in"]);
      expect([path, await cause(own, snapshot, path)]).toEqual([path, "token for another audience"]);
    }
    for (const path of ["/mcp/files", "/mcp/files@1.2.0", "/mcp/files%401.2.0"]) {
      expect([path, await cause(wide, snapshot, path)]).toEqual([path, "token for another audience"]);
      expect([path, await cause(own, snapshot, path)]).toEqual([path, "let in"]);
    }
  }
  expect(await cause(await idp.sign({ aud: ["https://x.example", OWN] }), snapshot, "/mcp/files")).toBe("let in");
});

test("without a key id, the issuer must have one key only", async () => {
  const one = await startIssuer();
  const snapshot = believing([issuerOf(one)]);
  expect(await bench().cause(await one.sign({}, { kid: undefined }), snapshot)).toBe("let in");
  await one.rotate("keep");
  const cause = await bench().cause(await one.sign({}, { kid: undefined }), snapshot);
  expect(cause).toBe("token of an unknown or ambiguous key");
  await one.close();
});

test("a key set with a secret or a private key in it gives away nothing and believes nothing", async () => {
  const one = await startIssuer();
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  one.serve([
    { kty: "oct", k: Buffer.alloc(32).toString("base64url"), kid: "hs" },
    { ...(await exportJWK(privateKey)), kid: "private" },
    { ...(await exportJWK(publicKey)), kid: "encryption", use: "enc" },
  ]);
  const { cause } = bench();
  const snapshot = believing([issuerOf(one)]);
  for (const kid of ["hs", "private", "encryption"]) {
    expect([kid, await cause(await one.sign({}, { kid }, privateKey), snapshot)]).not.toEqual([kid, "let in"]);
  }
  await one.close();
});

test("the clock may differ by what the issuer's settings tolerate, and no more", async () => {
  const tolerant = believing([issuerOf(idp, { clockToleranceMs: 30_000 })]);
  const { cause } = bench();
  expect(await cause(await idp.sign({ exp: now() - 20, nbf: now() - 60 }), tolerant)).toBe("let in");
  expect(await cause(await idp.sign({ nbf: now() + 20, iat: now() + 20 }), tolerant)).toBe("let in");
  expect(await cause(await idp.sign({ exp: now() - 40 }), tolerant)).toBe("expired token");
  expect(await cause(await idp.sign({ nbf: now() + 40 }), tolerant)).toBe("token that is not yet valid");
  expect(await cause(await idp.sign({ iat: now() + 40 }), tolerant)).toBe("token that is not yet valid");
});

test("where no issuer is configured a token is malformed, and nobody is asked", async () => {
  const before = idp.asked();
  expect(await bench().cause(await idp.sign(), believing([]))).toBe("malformed credential");
  expect(idp.asked()).toBe(before);
});

test("a token's text is kept nowhere", async () => {
  const { identity, ask } = bench();
  const token = await idp.sign();
  await ask(token, inForce());
  const kept = JSON.stringify([...identity.tokens.known]);
  for (const part of token.split(".")) expect(kept).not.toContain(part);
});

/** jose would sign none of these: the signature is an HMAC. */
function byHand(header: object, { issuer }: TestIssuer, secret = "secret"): string {
  const claims = { iss: issuer, aud: AUDIENCE, sub: "carol", exp: now() + 300 };
  const text = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

function none(): string {
  return new UnsecuredJWT({ sub: "carol" })
    .setIssuer(idp.issuer)
    .setAudience(AUDIENCE)
    .setExpirationTime("5m")
    .encode();
}

/** The old confusion: a verifier that takes its key for the algorithm that the token names. */
async function confused(alg: string): Promise<string> {
  const [jwk = {}] = rsa.keys();
  const secret = await exportSPKI((await importJWK(jwk, "RS256")) as CryptoKey);
  return byHand({ alg, kid: "rsa-0", typ: "JWT" }, rsa, secret);
}

async function tampered(): Promise<string> {
  const [header = "", payload = "", signature = ""] = (await idp.sign()).split(".");
  const claims = Buffer.from(payload, "base64url").toString().replace("carol", "admin");
  return [header, Buffer.from(claims).toString("base64url"), signature].join(".");
}

/** Signed by the attacker's own key, which the header offers. */
async function embedded(name: "jwk" | "jku" | "x5u", more: object = {}): Promise<string> {
  const { publicKey, privateKey } = await generateKeyPair("ES256", { extractable: true });
  const offered = name === "jwk" ? await exportJWK(publicKey) : `${other.issuer}/jwks`;
  return idp.sign({}, { kid: "key-0", [name]: offered, ...more }, privateKey);
}
