/**
 * Is this token its issuer's, and in time? Signature, algorithm, type, issuer, audience and times, by jose; what the
 * token then says is claims.ts. What surprises: this file and jose are loaded with the first token, since a gateway
 * without one should not pay for them; and keys in the header (`jwk`, `jku`, `x5u`) are never looked at.
 */
import { decodeJwt, decodeProtectedHeader, errors, jwtVerify } from "jose";
import type { JWTPayload } from "jose";
import type { Issuer } from "../config-jwt.ts";
import { readClaims } from "./claims.ts";
import type { TokenFacts } from "./claims.ts";
import { FAULTS } from "./faults.ts";
import { openIssuerKeys } from "./issuer-keys.ts";
import type { FindKey, KeyPorts } from "./issuer-keys.ts";

export type Verified = { readonly issuer: Issuer; readonly facts: TokenFacts };
type Asked = { readonly issuers: readonly Issuer[]; readonly nowMs: number };
/** One of FAULTS where it is not believed. */
export type Verify = (token: string, asked: Asked) => Promise<Verified | Error>;

export function createVerify(ports: KeyPorts): Verify {
  const keys = new Map<string, FindKey>();
  return async (token, { issuers, nowMs }) => {
    const issuer = issuerOf(issuers, token);
    if (issuer instanceof Error) return issuer;
    const facts = await verified(token, issuer, { findKey: keysOf(keys, issuers, { issuer, ports }), nowMs });
    return facts instanceof Error ? facts : { issuer, facts };
  };
}

/** Which one it claims to be of: believed only after its keys have said so too. */
function issuerOf(issuers: readonly Issuer[], token: string): Issuer | Error {
  try {
    const { iss } = decodeJwt(token);
    return issuers.find(({ issuer }) => issuer === iss) ?? FAULTS.issuer;
  } catch {
    return FAULTS.malformed;
  }
}

function keysOf(
  keys: Map<string, FindKey>,
  issuers: readonly Issuer[],
  { issuer, ports }: { readonly issuer: Issuer; readonly ports: KeyPorts },
): FindKey {
  const id = placeOf(issuer);
  let found = keys.get(id);
  if (found === undefined) {
    // those of issuers that are gone go with them
    const inForce = new Set(issuers.map(placeOf));
    for (const old of keys.keys()) if (!inForce.has(old)) keys.delete(old);
    keys.set(id, (found = openIssuerKeys(issuer, ports)));
  }
  return found;
}

/** The whole entry: an operator who changes it has a reason not to believe what was fetched before. */
function placeOf(issuer: Issuer): string {
  return JSON.stringify(issuer);
}

async function verified(
  token: string,
  issuer: Issuer,
  { findKey, nowMs }: { readonly findKey: FindKey; readonly nowMs: number },
): Promise<TokenFacts | Error> {
  const fault = headerFault(token);
  if (fault !== null) return fault;
  try {
    const { payload } = await jwtVerify(token, findKey, {
      algorithms: [...issuer.algorithms],
      issuer: issuer.issuer,
      // of some path; that it is this path's is asked on every call
      audience: issuer.audiences.flatMap(({ accepted }) => accepted),
      requiredClaims: ["exp"],
      clockTolerance: issuer.clockToleranceMs / 1000,
      currentDate: new Date(nowMs),
    });
    return isFromTheFuture(payload, nowMs + issuer.clockToleranceMs) ? FAULTS.early : readClaims(payload, issuer);
  } catch (thrown) {
    return faultOf(thrown);
  }
}

/** `typ` of an access token; a logout token or the like is signed by the same issuer, and is no credential. */
const TYPES = /^(application\/)?(at\+jwt|jwt)$/i;

function headerFault(token: string): Error | null {
  try {
    const { typ, crit } = decodeProtectedHeader(token);
    if (typ !== undefined && !(typeof typ === "string" && TYPES.test(typ))) return FAULTS.type;
    return crit === undefined ? null : FAULTS.critical;
  } catch {
    return FAULTS.malformed;
  }
}

function isFromTheFuture({ iat }: JWTPayload, latestMs: number): boolean {
  return iat !== undefined && iat * 1000 > latestMs;
}

/** jose's own errors carry the claims: nothing of them goes on. */
function faultOf(thrown: unknown): Error {
  if (thrown === FAULTS.away) return FAULTS.away;
  if (thrown instanceof errors.JOSEAlgNotAllowed) return FAULTS.algorithm;
  if (thrown instanceof errors.JWTExpired) return FAULTS.expired;
  if (thrown instanceof errors.JWTClaimValidationFailed) {
    if (thrown.claim === "nbf") return FAULTS.early;
    return thrown.claim === "aud" ? FAULTS.audience : FAULTS.required;
  }
  if (thrown instanceof errors.JWSSignatureVerificationFailed) return FAULTS.signature;
  if (thrown instanceof errors.JWKSNoMatchingKey || thrown instanceof errors.JWKSMultipleMatchingKeys)
    return FAULTS.key;
  // an error that is not jose's is ours
  if (!(thrown instanceof errors.JOSEError || thrown instanceof TypeError)) throw thrown;
  return FAULTS.malformed;
}
