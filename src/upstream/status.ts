/**
 * What does an upstream's HTTP status mean for the call? The one place here that knows status numbers. What surprises:
 * a status says little about whether the tool ran; only where a specification says that the request was turned away
 * before it was read does a call count as not executed.
 */
import type { Executed } from "../model.ts";
import { Refusal } from "../refusal.ts";

const OK = 200;
const BAD_REQUEST = 400;
const UNAUTHORIZED = 401;
const FORBIDDEN = 403;
const NOT_FOUND = 404;
const METHOD_NOT_ALLOWED = 405;
const TOO_MANY = 429;
const UNAVAILABLE = 503;

/** No server keeps callers away for longer with one answer. */
const RETRY_AFTER_MS_MAX = 60_000;

/** What servers answer, in JSON-RPC, to a session that they do not know. */
const SESSION_CODES: ReadonlySet<number | null> = new Set([-32000, -32001, -32600]);
/**
 * 2026-07-28: header mismatch, unsupported version: turned away before the tool was looked at, for words that are ours.
 * Not −32021: what a tool needs of its caller is the server's own answer, for the caller to read.
 */
const ENVELOPE_CODES: ReadonlySet<number> = new Set([-32020, -32022]);

/** `excused`: it says nothing against the instance. */
export type Verdict = { readonly refusal: Refusal; readonly executed: Executed; readonly excused: boolean };

export function isSuccess(status: number): boolean {
  return status >= OK && status < 300;
}

/** May carry an event stream. */
export function isOk(status: number): boolean {
  return status === OK;
}

/** Says nothing about the era: another handshake would meet the same. */
export function isFinal(status: number): boolean {
  return status === UNAUTHORIZED || status === FORBIDDEN || status === TOO_MANY || status === UNAVAILABLE;
}

/** Says that what we believe of the instance may be out of date: its era, or that it has no sessions. */
export function isEstranged(status: number): boolean {
  return status === BAD_REQUEST || status === NOT_FOUND || status === METHOD_NOT_ALLOWED;
}

/** The session is gone, and with certainty nothing was executed in it. */
export function isSessionLost(status: number, code: number | null): boolean {
  return status === NOT_FOUND || (status === BAD_REQUEST && SESSION_CODES.has(code));
}

/** A standing stream is refused for good (405 above all); not where the session may be gone, or the server ill. */
export function isNever(status: number, hasSession: boolean): boolean {
  return status >= BAD_REQUEST && status < 500 && status !== TOO_MANY && !(status === NOT_FOUND && hasSession);
}

export function isEnvelopeError(code: number): boolean {
  return ENVELOPE_CODES.has(code);
}

/** A status where an answer should have been. */
export function verdictOf(status: number, retryAfterMs?: number): Verdict {
  // both are answered before a request is acted on: MCP's authorization, RFC 9110 §15.5.2 and §15.5.4
  if (status === UNAUTHORIZED || status === FORBIDDEN)
    return {
      ...refused("upstream_error", "The server refuses the gateway's credential."),
      executed: "no",
      excused: true,
    };
  // a proxy in front may say either after the server began: unknown
  if (status === TOO_MANY || status === UNAVAILABLE)
    return refused("upstream_unavailable", "The server is overloaded.", retryAfterMs);
  const refusal = refused("upstream_error", "The server answered with an error status.");
  return { ...refusal, excused: status >= BAD_REQUEST && status < 500 };
}

function refused(code: "upstream_error" | "upstream_unavailable", message: string, retryAfterMs?: number): Verdict {
  const refusal = new Refusal(code, message, retryAfterMs === undefined ? {} : { retryAfterMs });
  return { refusal, executed: "unknown", excused: false };
}

/** Seconds, or a date (RFC 9110 §10.2.3); undefined for anything else, and for what is over: nothing is to be waited for. */
export function retryAfter(value: string | string[] | undefined, nowMs: number): number | undefined {
  if (typeof value !== "string") return undefined;
  const ms = /^\d{1,9}$/.test(value) ? Number(value) * 1000 : Date.parse(value) - nowMs;
  return ms > 0 ? Math.min(ms, RETRY_AFTER_MS_MAX) : undefined;
}
