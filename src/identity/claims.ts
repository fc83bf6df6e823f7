/**
 * What does a verified token say of its bearer? Only what its issuer's settings point at is read; the rest of the token
 * is forgotten. What surprises: `act` (RFC 8693) makes the bearer an agent, and only the outermost actor counts, as the
 * RFC has it: those within are history. A client that is its own subject (RFC 9068) is an agent too, with no user.
 */
import type { JWTPayload } from "jose";
import { isObject, JsonFault, parseJsonText } from "../json.ts";
import type { Issuer } from "../config-jwt.ts";
import type { Json, JsonObject } from "../model.ts";
import { FAULTS } from "./faults.ts";

export type TokenFacts = {
  /** With the issuer's prefix. */
  readonly subject: string;
  /** Who acts for the subject, with the prefix too. */
  readonly actor: string | null;
  /** The subject is a client that speaks for itself. */
  readonly isClient: boolean;
  /** As named: whether a role counts is the snapshot's to say. */
  readonly roles: readonly string[];
  readonly tenant: string;
  /** For policies. */
  readonly claims: JsonObject;
  readonly audiences: readonly string[];
  /** One of the scopes that the issuer's tokens must have is missing. */
  readonly lacksScope: boolean;
  /** Unix epoch; the tolerance is in it. */
  readonly expiresMs: number;
};

const NAME_CHARACTERS_MAX = 192;
const CLAIMS_CHARACTERS_MAX = 4096;

/** An Error where the token is whole, but nobody's. */
export function readClaims(payload: JWTPayload, issuer: Issuer): TokenFacts | Error {
  const subject = nameIn(payload, issuer.principal);
  if (subject === null) return FAULTS.subject;
  // RFC 7800: good only together with a proof that this gateway does not ask for; without it, it may be stolen
  if (payload["cnf"] !== undefined) return FAULTS.bound;
  const actor = actorOf(payload);
  if (actor === undefined || actor === subject) return FAULTS.actor;
  const tenant = issuer.tenant === null ? "default" : nameIn(payload, issuer.tenant);
  if (tenant === null) return FAULTS.tenant;
  const claims = selected(payload, issuer.claims);
  if (claims === null) return FAULTS.claims;
  const scopes = new Set([...wordsOf(payload["scope"]), ...wordsOf(payload["scp"])]);
  const client = payload["client_id"] ?? payload["azp"];
  return {
    subject: issuer.prefix + subject,
    actor: actor === null ? null : issuer.prefix + actor,
    isClient: client !== undefined && client === payload.sub,
    roles: issuer.roles === null ? [] : rolesIn(payload, issuer.roles, issuer.admin),
    tenant,
    claims,
    audiences: typeof payload.aud === "string" ? [payload.aud] : wordsOf(payload.aud),
    lacksScope: issuer.scopes.some((scope) => !scopes.has(scope)),
    expiresMs: (payload.exp ?? 0) * 1000 + issuer.clockToleranceMs,
  };
}

/** The gateway's own role, which the file need not declare: an identity provider's `admin` is often another matter. */
function rolesIn(payload: JWTPayload, pointer: string, admin: boolean): readonly string[] {
  return [...new Set(wordsOf(valueAt(payload, pointer)))].filter((role) => admin || role !== "admin");
}

/** Null without one, undefined for one that cannot be read: not taken for none, which would make an agent its user. */
function actorOf({ act, iss }: JWTPayload): string | null | undefined {
  if (act === undefined) return null;
  if (!isObject(act as Json)) return undefined;
  const actor = act as JWTPayload;
  // another issuer's alice is not this one's
  if (actor.iss !== undefined && actor.iss !== iss) return undefined;
  return nameIn(actor, "/sub") ?? undefined;
}

function nameIn(payload: JWTPayload, pointer: string): string | null {
  const name = valueAt(payload, pointer);
  if (typeof name !== "string" || name === "" || name.length > NAME_CHARACTERS_MAX) return null;
  // what does not show would make two names look like one
  return name.isWellFormed() && name.trim() === name && !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(name) ? name : null;
}

/** RFC 6901; undefined where nothing is there. */
function valueAt(payload: JWTPayload, pointer: string): unknown {
  let value: unknown = payload;
  for (const step of pointer.split("/").slice(1)) {
    const key = step.replaceAll("~1", "/").replaceAll("~0", "~");
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as { readonly [key: string]: unknown })[key];
  }
  return value;
}

/** A list of words, or one text of them: scopes and roles come as either. */
function wordsOf(value: unknown): readonly string[] {
  if (typeof value === "string") return value.split(" ").filter((word) => word !== "");
  return Array.isArray(value) ? value.filter((word) => typeof word === "string") : [];
}

/** Named one by one: what changes with each token, or is nobody's business, stays out. Null where it is too much. */
function selected(payload: JWTPayload, names: readonly string[]): JsonObject | null {
  const entries = names.filter((name) => Object.hasOwn(payload, name)).map((name) => [name, payload[name]]);
  const text = JSON.stringify(Object.fromEntries(entries));
  if (text.length > CLAIMS_CHARACTERS_MAX) return null;
  try {
    return parseJsonText(text, "rounded") as JsonObject;
  } catch (fault) {
    if (fault instanceof JsonFault) return null;
    throw fault;
  }
}
