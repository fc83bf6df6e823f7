/**
 * Whose tokens does an operator believe, and what is read from them? One entry of `auth.jwt`. What surprises: nothing
 * here grants a permission. A token names roles, and the configuration's own map says what they may do.
 */
import { z } from "zod";
import { duration } from "./config-duration.ts";

/** Asymmetric alone: with HS256 a public key would be the secret, and `none` is no signature. */
const ALGORITHMS = ["ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512", "EdDSA"] as const;
const TOLERANCE_MS_MAX = 300_000;

const pointer = z.string().regex(/^(?:\/(?:[^~/]|~[01])+)+$/, "a JSON pointer such as /realm_access/roles");
/** What may stand between quotes in a header. */
const quotable = z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]{1,512}$/, "printable text without spaces and quotes");
const secureUrl = quotable.refine(isSecureUrl, "an https URL without user and fragment; http for loopback alone");
/** It travels in snapshots: what may be a secret has no place in it. */
const issuerUrl = secureUrl.refine((text) => !text.includes("?"), "a URL without query");
const path = z.string().regex(/^(\/[\w.-]+)+$/, "a path such as /mcp/files");

export const jwtSchema = z.strictObject({
  issuer: issuerUrl.describe("As tokens name it in `iss`, to the letter."),
  audience: z
    .union([quotable, z.array(quotable).min(1).max(16)])
    .transform((one) => (typeof one === "string" ? [one] : one))
    .describe("Which `aud` a token must name; of several the first is the resource that clients are told of."),
  paths: z
    .record(path, quotable)
    .default({})
    .describe("Paths with an audience of their own, instead of the other, and all below them."),
  principal: pointer.default("/sub").describe("Where a token says who it is for."),
  prefix: z
    .string()
    .regex(/^[\w.:@/-]{0,64}$/, "up to 64 letters, digits and . : @ / -")
    .default("")
    .describe("Put before the name: with several issuers each needs its own."),
  roles: pointer.optional().describe("Where a token names roles; those count that the configuration knows."),
  admin: z.boolean().default(false).describe("Whether the role admin counts when a token names it."),
  tenant: pointer.optional().describe("Where a token names its tenant; a token without one is refused then."),
  claims: z
    .array(z.string().min(1).max(64))
    .max(16)
    .default([])
    .describe("Claims that policies see as input.principal.claims, 4 KiB together."),
  scopes: z
    .array(quotable)
    .max(16)
    .default([])
    .describe("Scopes that a token must have; a token that lacks one is told which."),
  algorithms: z.array(z.enum(ALGORITHMS)).min(1).default(["ES256", "RS256", "PS256", "EdDSA"]),
  jwks: issuerUrl.optional().describe("Where its keys are; found out from the issuer where it is not said."),
  allowPrivate: z.boolean().default(false).describe("The issuer may have a loopback or private address."),
  clockTolerance: duration.refine((ms) => ms <= TOLERANCE_MS_MAX, "a duration of at most 5m").default(10_000),
});

/** Whose tokens are believed, and what is read from them. Pointers are RFC 6901, into a token's claims. */
export type Issuer = {
  /** As tokens name it in `iss`, to the letter. */
  readonly issuer: string;
  /** Which audiences count at which path, the longest path first; the last is `/` and stands for all others. */
  readonly audiences: readonly { readonly path: string; readonly accepted: readonly [string, ...string[]] }[];
  readonly principal: string;
  /** Put before every name that its tokens bring. */
  readonly prefix: string;
  readonly roles: string | null;
  /** Whether the role `admin` counts when a token names it. */
  readonly admin: boolean;
  readonly tenant: string | null;
  /** Claims that policies see. */
  readonly claims: readonly string[];
  /** A token must have them all. */
  readonly scopes: readonly string[];
  readonly algorithms: readonly string[];
  /** null: found out from the issuer. */
  readonly jwks: string | null;
  readonly allowPrivate: boolean;
  readonly clockToleranceMs: number;
};

/** Keys that come in the clear are anybody's keys. */
export function isSecureUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname, username, password, hash } = new URL(text);
  if (username + password + hash !== "") return false;
  return protocol === "https:" || (protocol === "http:" && /^(localhost|127(\.\d+){3}|\[::1\])$/.test(hostname));
}
