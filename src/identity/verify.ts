/**
 * Is this token its issuer's, and in time? Signature, algorithm, type, issuer, audience and times, by jose; what the
 * token then says is claims.ts. What surprises: nothing is told but which of our constants it failed at, since jose's
 * own errors carry the claims; and keys in the header (`jwk`, `jku`, `x5u`) are never looked at.
 */
import { decodeProtectedHeader, errors, jwtVerify } from "jose";
import type { JWTPayload } from "jose";
import type { Issuer } from "../model.ts";
import { readClaims } from "./claims.ts";
import type { TokenFacts } from "./claims.ts";
import { KEYS_AWAY } from "./issuer-keys.ts";
import type { FindKey } from "./issuer-keys.ts";

/** Constant, for the audit alone. */
export const FAULTS = {
  malformed: new Error("malformed token"),
  algorithm: new Error("token of an algorithm that is not allowed"),
  type: new Error("token of another type"),
  critical: new Error("token with a critical extension"),
  key: new Error("token of an unknown or ambiguous key"),
  signature: new Error("token with a wrong signature"),
  expired: new Error("expired token"),
  early: new Error("token that is not yet valid"),
  audience: new Error("token for another audience"),
  claims: new Error("token without the claims that it must have"),
} as const;

/** `typ` of an access token; a logout token or the like is signed by the same issuer, and is no credential. */
const TYPES = /^(application\/)?(at\+jwt|jwt)$/i;

export async function verifyToken(
  token: string,
  issuer: Issuer,
  { findKey, nowMs }: { readonly findKey: FindKey; readonly nowMs: number },
): Promise<TokenFacts | Error> {
  const fault = headerFault(token, issuer);
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
    return thrown === KEYS_AWAY ? KEYS_AWAY : faultOf(thrown);
  }
}

function headerFault(token: string, { algorithms }: Issuer): Error | null {
  try {
    const { alg, typ, crit } = decodeProtectedHeader(token);
    if (alg === undefined || !algorithms.includes(alg)) return FAULTS.algorithm;
    if (typ !== undefined && !(typeof typ === "string" && TYPES.test(typ))) return FAULTS.type;
    return crit === undefined ? null : FAULTS.critical;
  } catch {
    return FAULTS.malformed;
  }
}

function isFromTheFuture({ iat }: JWTPayload, latestMs: number): boolean {
  return iat !== undefined && iat * 1000 > latestMs;
}

function faultOf(thrown: unknown): Error {
  if (thrown instanceof errors.JWTExpired) return FAULTS.expired;
  if (thrown instanceof errors.JWTClaimValidationFailed) {
    if (thrown.claim === "nbf") return FAULTS.early;
    return thrown.claim === "aud" ? FAULTS.audience : FAULTS.claims;
  }
  if (thrown instanceof errors.JWSSignatureVerificationFailed) return FAULTS.signature;
  if (thrown instanceof errors.JWKSNoMatchingKey || thrown instanceof errors.JWKSMultipleMatchingKeys)
    return FAULTS.key;
  // an error that is not jose's is ours
  if (!(thrown instanceof errors.JOSEError || thrown instanceof TypeError)) throw thrown;
  return FAULTS.malformed;
}
