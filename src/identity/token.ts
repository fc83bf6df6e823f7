/**
 * Whose token is this? A token is verified once and then known by its SHA-256 until it expires: the text itself is kept
 * nowhere. What surprises: what is remembered is what the token says, never what its bearer may. That is asked of the
 * snapshot of each call, so that a role, an issuer or a path that changed counts from the next call on.
 */
import { hash } from "node:crypto";
import { decodeJwt } from "jose";
import type { Call, Issuer, Principal, Snapshot } from "../model.ts";
import { Refusal } from "../refusal.ts";
import type { TokenFacts } from "./claims.ts";
import { openIssuerKeys } from "./issuer-keys.ts";
import type { FindKey, KeyPorts } from "./issuer-keys.ts";
import { principalOfToken } from "./principal.ts";
import { acceptedAt } from "./resource.ts";
import { FAULTS, verifyToken } from "./verify.ts";

export type Tokens = {
  readonly ports: KeyPorts;
  /** By digest of the token, oldest first. */
  readonly known: Map<string, Known>;
  /** By the issuer's settings. */
  readonly keys: Map<string, FindKey>;
};
type Known = {
  readonly facts: TokenFacts;
  /** The settings that it was verified under. */
  readonly settings: string;
  // as of one snapshot; the principal is one object for as long, since what is known of a principal is kept by it
  revision: string;
  issuer: Issuer;
  holder: Principal | Error;
};

export function createTokens(ports: KeyPorts): Tokens {
  return { ports, known: new Map(), keys: new Map() };
}

const CAUSES = {
  large: new Error("token that is too large"),
  issuer: new Error("token of an unknown issuer"),
  taken: new Error("token in the name of a principal of the configuration"),
} as const;

const KNOWN_MAX = 10_000;
/** A door cuts what is longer. */
const TOKEN_CHARACTERS_MAX = 8191;

/** Synchronous for a token that is known. An Error says why not, for the audit; a Refusal is for the caller too. */
export function byToken(tokens: Tokens, call: Call, text: string): Principal | Error | Promise<Principal | Error> {
  if (text.length > TOKEN_CHARACTERS_MAX) return CAUSES.large;
  const digest = hash("sha256", text, "base64");
  const known = tokens.known.get(digest);
  if (known !== undefined && isUnder(known, call.snapshot)) return holderOf(known, call);
  return verified(tokens, call, { text, digest });
}

/** Whether it was verified under settings that are in force; brings it up to this snapshot if so. */
function isUnder(known: Known, snapshot: Snapshot): boolean {
  if (known.revision === snapshot.revision) return true;
  const issuer = snapshot.settings.issuers.find((one) => textOf(one) === known.settings);
  if (issuer === undefined) return false;
  known.issuer = issuer;
  known.revision = snapshot.revision;
  known.holder = principalOfToken(snapshot, known.facts) ?? CAUSES.taken;
  return true;
}

function holderOf({ facts, issuer, holder }: Known, call: Call): Principal | Error {
  if (call.startedMs >= facts.expiresMs) return FAULTS.expired;
  const accepted = acceptedAt(issuer, call.asked.path);
  if (!facts.audiences.some((audience) => accepted.includes(audience))) return FAULTS.audience;
  if (!facts.lacksScope || holder instanceof Error) return holder;
  // who asks is known, and the record names them
  call.principal = holder;
  return new Refusal("forbidden", "The token lacks a scope.", {
    reasons: ["insufficient_scope"],
    scopes: issuer.scopes,
  });
}

async function verified(
  tokens: Tokens,
  call: Call,
  { text, digest }: { readonly text: string; readonly digest: string },
): Promise<Principal | Error> {
  const { snapshot, startedMs } = call;
  const issuer = issuerOf(snapshot, text);
  if (issuer instanceof Error) return issuer;
  const facts = await verifyToken(text, issuer, { findKey: keysOf(tokens, snapshot, issuer), nowMs: startedMs });
  if (facts instanceof Error) return facts;
  // another call may have been as far in the meantime: one token, one principal
  const other = tokens.known.get(digest);
  if (other !== undefined && isUnder(other, snapshot)) return holderOf(other, call);
  const holder = principalOfToken(snapshot, facts) ?? CAUSES.taken;
  const known: Known = { facts, settings: textOf(issuer), revision: snapshot.revision, issuer, holder };
  remember(tokens.known, digest, known);
  return holderOf(known, call);
}

/** Which one it claims to be of: believed only after its keys have said so too. */
function issuerOf({ settings }: Snapshot, text: string): Issuer | Error {
  try {
    const { iss } = decodeJwt(text);
    return settings.issuers.find(({ issuer }) => issuer === iss) ?? CAUSES.issuer;
  } catch {
    return FAULTS.malformed;
  }
}

function keysOf({ keys, ports }: Tokens, { settings }: Snapshot, issuer: Issuer): FindKey {
  const id = textOf(issuer);
  let found = keys.get(id);
  if (found === undefined) {
    // those of issuers that are gone go with them
    const inForce = new Set(settings.issuers.map(textOf));
    for (const old of keys.keys()) if (!inForce.has(old)) keys.delete(old);
    keys.set(id, (found = openIssuerKeys(issuer, ports)));
  }
  return found;
}

function remember(known: Map<string, Known>, digest: string, one: Known): void {
  for (const oldest of known.keys()) {
    if (known.size < KNOWN_MAX) break;
    known.delete(oldest);
  }
  known.set(digest, one);
}

const texts = new WeakMap<Issuer, string>();

function textOf(issuer: Issuer): string {
  let text = texts.get(issuer);
  if (text === undefined) texts.set(issuer, (text = JSON.stringify(issuer)));
  return text;
}
