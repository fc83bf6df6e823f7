/**
 * WHO is asking? Turns what was presented into a principal, or refuses. What surprises: too many failures from an
 * address turn only its *failures* into `rate_limited`; a valid key from there is still served. A stranger behind the
 * same NAT or loopback could otherwise lock an agent out, and looking a key up costs 2 µs, so nothing is saved by
 * refusing it unread. Unknown id, wrong secret and revoked key look alike outside; `cause` tells the audit which.
 */
import { hash, timingSafeEqual } from "node:crypto";
import type { Asked, Call, Principal, Snapshot } from "../model.ts";
import type { Ports } from "../ports.ts";
import { Refusal } from "../refusal.ts";
import { createAddressLimit, tooManyFailures } from "./address-limit.ts";
import type { AddressLimit } from "./address-limit.ts";
import { parseKey } from "./api-key.ts";
import type { KeyPorts } from "./issuer-keys.ts";
import { LOCAL, principalOf } from "./principal.ts";
import { byToken, createTokens } from "./token.ts";
import type { Tokens } from "./token.ts";

export type Identity = { readonly addressLimit: AddressLimit; readonly tokens: Tokens };

/** `failures` per address and `windowMs`, before further ones are refused `rate_limited`. */
export function createIdentity(
  options: { readonly failures: number; readonly windowMs: number },
  ports: Pick<Ports, "random"> & KeyPorts,
): Identity {
  return { addressLimit: createAddressLimit(options, ports.random), tokens: createTokens(ports) };
}

/**
 * Synchronous where it succeeds, but for a token that is seen for the first time.
 * @throws Refusal unauthenticated, rate_limited, overloaded, forbidden for want of a scope (as a rejection)
 */
export function authenticate(identity: Identity, call: Call): Principal | Promise<Principal> {
  const found = identify(identity, call);
  if (found instanceof Promise)
    return found.then((late) => (late instanceof Error ? refuse(identity, call, late) : late));
  return found instanceof Error ? refuse(identity, call, found) : found;
}

/** Why a caller was refused: for the audit alone, never outward. Constant, so that no secret can be in it. */
const CAUSES = {
  none: new Error("no credential"),
  malformed: new Error("malformed credential"),
  unknown: new Error("unknown key id"),
  secret: new Error("wrong secret"),
  revoked: new Error("revoked key"),
  orphan: new Error("key of an unknown principal"),
} as const;

function identify({ tokens }: Identity, call: Call): Principal | Error | Promise<Principal | Error> {
  const { asked, snapshot } = call;
  const { credential } = asked;
  if (credential.kind === "local") return LOCAL;
  if (credential.kind !== "secret") return anonymous(snapshot, asked.path);
  const text = credential.value;
  const key = parseKey(text);
  if (key !== null) return byKey(snapshot, key.id, text);
  // where no issuer is believed any more, what is known of tokens has still to be forgotten
  const isToken = text.includes(".") && (snapshot.settings.issuers.length > 0 || tokens.known.size > 0);
  return isToken ? byToken(tokens, call, text) : CAUSES.malformed;
}

function byKey(snapshot: Snapshot, id: string, text: string): Principal | Error {
  const known = holderOf(snapshot, id);
  // the same work whether the id exists or not: the time taken must not tell which ids do
  const matches = timingSafeEqual(hash("sha256", text, "buffer"), known?.digest ?? NO_DIGEST);
  if (known === null) return CAUSES.unknown;
  if (!matches) return CAUSES.secret;
  return known.holder;
}

type Known = { readonly digest: Buffer; readonly holder: Principal | Error };

/** Composed once for each key of a snapshot, so that a call allocates nothing here; gone with its snapshot. */
const knownKeys = new WeakMap<Snapshot, Map<string, Known>>();

function holderOf(snapshot: Snapshot, id: string): Known | null {
  let byId = knownKeys.get(snapshot);
  if (byId === undefined) knownKeys.set(snapshot, (byId = new Map()));
  const cached = byId.get(id);
  if (cached !== undefined) return cached;
  const key = snapshot.keys.get(id);
  // unknown ids are not remembered: a stranger could invent them without end
  if (key === undefined) return null;
  const digest = Buffer.from(key.hash.replace("sha256:", ""), "hex");
  const holder = key.revokedAt === null ? (principalOf(snapshot, key) ?? CAUSES.orphan) : CAUSES.revoked;
  const known = { digest: digest.length === NO_DIGEST.length ? digest : NO_DIGEST, holder };
  byId.set(id, known);
  return known;
}

/** No text hashes to zeros: what an unknown id's secret is compared with. */
const NO_DIGEST = Buffer.alloc(32);

function anonymous({ settings, principals }: Snapshot, path: string): Principal | Error {
  const granted = settings.anonymous;
  const open = granted?.paths.some((prefix) => path === prefix || path.startsWith(`${prefix.replace(/\/$/, "")}/`));
  return (open === true && granted !== null ? principals.get(granted.principal) : undefined) ?? CAUSES.none;
}

async function refuse({ addressLimit }: Identity, { asked }: { readonly asked: Asked }, cause: Error): Promise<never> {
  if (cause instanceof Refusal) throw cause;
  const retryAfterMs = await addressLimit.fail(asked.ip);
  if (retryAfterMs === null) throw new Refusal("unauthenticated", "No valid credential was presented.", { cause });
  throw tooManyFailures(retryAfterMs, cause);
}
