/**
 * Whose token is this? A token is verified once and then known by its SHA-256, at most until it expires: the text itself
 * is kept nowhere. What surprises: what is remembered is what the token says, never what its bearer may. That is asked of the
 * snapshot of each call, so that a role, an issuer or a path that changed counts from the next call on.
 */
import { hash } from "node:crypto";
import type { Issuer } from "../config-jwt.ts";
import type { Call, Principal, Snapshot } from "../model.ts";
import { Refusal } from "../refusal.ts";
import type { TokenFacts } from "./claims.ts";
import { FAULTS } from "./faults.ts";
import type { KeyPorts } from "./issuer-keys.ts";
import { principalOfToken } from "./principal.ts";
import { acceptedAt } from "./resource.ts";
import type { Verified, Verify } from "./verify.ts";

export type Tokens = {
  /** By digest of the token, oldest first. */
  readonly known: Map<string, Known>;
  readonly verify: Verify;
  /** Verifications under way. */
  verifying: number;
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
  let loading: Promise<Verify> | undefined;
  const load = (): Promise<Verify> =>
    (loading ??= import("./verify.ts").then(({ createVerify }) => createVerify(ports)));
  return { known: new Map(), verifying: 0, verify: async (token, asked) => (await load())(token, asked) };
}

const KNOWN_MAX = 10_000;
/** At once: a signature takes a hundred times as long as a look-up, and those that wait must not become endless. */
const VERIFYING_MAX = 256;
/** A door cuts what is longer. */
const TOKEN_CHARACTERS_MAX = 8191;

/** Synchronous for a token that is known. An Error says why not, for the audit; a Refusal is for the caller too. */
export function byToken(tokens: Tokens, call: Call, text: string): Principal | Error | Promise<Principal | Error> {
  if (text.length > TOKEN_CHARACTERS_MAX) return FAULTS.large;
  const digest = hash("sha256", text, "base64");
  const known = tokens.known.get(digest);
  if (known !== undefined) {
    if (isUnder(known, call.snapshot)) return holderOf(known, call) ?? expired(tokens, digest);
    // an issuer that was taken out, or set otherwise, ends its tokens: put back, it verifies them anew
    tokens.known.delete(digest);
  }
  return verified(tokens, call, { text, digest });
}

/** Whether it was verified under settings that are in force; brings it up to this snapshot if so. */
function isUnder(known: Known, snapshot: Snapshot): boolean {
  if (known.revision === snapshot.revision) return true;
  const issuer = snapshot.settings.issuers.find((one) => textOf(one) === known.settings);
  if (issuer === undefined) return false;
  known.issuer = issuer;
  known.revision = snapshot.revision;
  known.holder = principalOfToken(snapshot, known.facts) ?? FAULTS.taken;
  return true;
}

function expired({ known }: Tokens, digest: string): Error {
  known.delete(digest);
  return FAULTS.expired;
}

/** Null once it has expired. */
function holderOf({ facts, issuer, holder }: Known, call: Call): Principal | Error | null {
  if (call.startedMs >= facts.expiresMs) return null;
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
  const { known, verify } = tokens;
  if (tokens.verifying >= VERIFYING_MAX)
    return new Refusal("overloaded", "Too many new tokens are being verified.", { retryAfterMs: 1000 });
  tokens.verifying++;
  const found = await verify(text, { issuers: snapshot.settings.issuers, nowMs: startedMs }).finally(
    () => tokens.verifying--,
  );
  if (found instanceof Error) return found;
  // another call may have been as far in the meantime: one token, one principal
  const other = known.get(digest);
  if (other !== undefined && isUnder(other, snapshot)) return holderOf(other, call) ?? FAULTS.expired;
  const fresh = knownOf(found, snapshot);
  remember(known, digest, fresh);
  return holderOf(fresh, call) ?? FAULTS.expired;
}

function knownOf({ facts, issuer }: Verified, snapshot: Snapshot): Known {
  const holder = principalOfToken(snapshot, facts) ?? FAULTS.taken;
  return { facts, settings: textOf(issuer), revision: snapshot.revision, issuer, holder };
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
