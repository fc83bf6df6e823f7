/**
 * Whose bundle is it? OPA's signatures: a JWT in `.signatures.json` that holds the hash of every other file. What
 * surprises: data and manifest are hashed by what they say, keys in order and numbers as they are written, so that a
 * bundle may be written anew without being signed anew.
 */
import { createHash } from "node:crypto";
import { compactVerify, CompactSign, importPKCS8, importSPKI } from "jose";
import { fault, PolicyRefused } from "./diagnostic.ts";
import type { Files } from "./tar.ts";

export const SIGNING = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"] as const;
export type Signing = (typeof SIGNING)[number];
export type VerifyKey = {
  /** PEM. */
  readonly publicKey: string;
  readonly algorithm: Signing;
  readonly scope: string;
};
export type SignKey = { readonly privateKey: string; readonly algorithm: Signing; readonly keyId: string };

const SIGNATURES = ".signatures.json";
const HASHES: { readonly [name: string]: string } = { "SHA-256": "sha256", "SHA-384": "sha384", "SHA-512": "sha512" };

type Listed = { readonly name: string; readonly hash: string; readonly algorithm: string };

/** @throws PolicyRefused unless the one signature is the key's, and each file is what it says, and none is missing */
export async function verifyFiles(files: Files, key: VerifyKey): Promise<void> {
  const listed = await signedFiles(files, key);
  for (const [path, body] of files) {
    if (path === SIGNATURES) continue;
    const one = listed.get(path);
    if (one === undefined) throw refused(`${path} is not among the signed files`);
    const algorithm = HASHES[one.algorithm];
    if (algorithm === undefined) throw refused(`${path} is hashed by ${one.algorithm.slice(0, 20)}`);
    if (hashOf(path, body, algorithm) !== one.hash.toLowerCase()) throw refused(`${path} is not what was signed`);
    listed.delete(path);
  }
  const [missing] = listed.keys();
  if (missing !== undefined) throw refused(`${missing} was signed, and is not there`);
}

/** Whether it says that it is signed: then nobody takes it without the key. */
export function isSigned(files: Files): boolean {
  return files.has(SIGNATURES);
}

/** Whether it is a private key that this algorithm takes. */
export async function canSign(key: SignKey): Promise<boolean> {
  return await sign(Buffer.alloc(0), key).then(
    () => true,
    () => false,
  );
}

/** The files, and their signature. */
export async function signFiles(files: Files, key: SignKey): Promise<Files> {
  const listed = [...files].map(([name, body]) => ({
    name,
    hash: hashOf(name, body, "sha256"),
    algorithm: "SHA-256",
  }));
  const token = await sign(Buffer.from(JSON.stringify({ files: listed, keyid: key.keyId })), key);
  return new Map([...files, [SIGNATURES, Buffer.from(JSON.stringify({ signatures: [token] }))]]);
}

async function sign(payload: Buffer, { privateKey, algorithm, keyId }: SignKey): Promise<string> {
  const key = await importPKCS8(privateKey, algorithm);
  return await new CompactSign(payload).setProtectedHeader({ alg: algorithm, kid: keyId }).sign(key);
}

async function signedFiles(files: Files, { publicKey, algorithm, scope }: VerifyKey): Promise<Map<string, Listed>> {
  const body = files.get(SIGNATURES);
  if (body === undefined) throw refused("it is not signed");
  const key = await importSPKI(publicKey, algorithm).catch(() => {
    throw refused(`the public key is none for ${algorithm}`);
  });
  try {
    const { signatures } = JSON.parse(body.toString("utf8")) as { readonly signatures: readonly string[] };
    const [token, ...others] = signatures;
    if (token === undefined || others.length > 0) throw new Error("one signature is expected");
    const { payload } = await compactVerify(token, key, { algorithms: [algorithm] });
    const claims = JSON.parse(Buffer.from(payload).toString("utf8")) as { files: readonly Listed[]; scope?: string };
    if ((claims.scope ?? "") !== scope) throw new Error("another scope");
    return new Map(claims.files.map((one) => [one.name.replace(/^\//, ""), one]));
  } catch {
    throw refused("its signature is not that of the key, or of another scope");
  }
}

function refused(message: string): PolicyRefused {
  return new PolicyRefused([fault("bundle_signature", message)]);
}

const STRUCTURED = /(?:^|\/)(?:data\.json|\.manifest)$/;

function hashOf(path: string, body: Buffer, algorithm: string): string {
  const hash = createHash(algorithm);
  if (!STRUCTURED.test(path)) return hash.update(body).digest("hex");
  const asWritten = (_: string, value: unknown, { source = "" }: { readonly source?: string }): unknown =>
    typeof value === "number" ? JSON.rawJSON(source) : value;
  try {
    return hash.update(canonical(JSON.parse(body.toString("utf8"), asWritten))).digest("hex");
  } catch {
    throw refused(`${path} is not JSON`);
  }
}

/** Keys in the order of their UTF-8 bytes. */
function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null || JSON.isRawJSON(value)) return primitive(value);
  const entries = Object.entries(value).toSorted(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return `{${entries.map(([key, one]) => `${primitive(key)}:${canonical(one)}`).join(",")}}`;
}

/** As Go writes it. */
function primitive(value: unknown): string {
  return JSON.stringify(value).replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");
}
