/** How is a refusal told, and which headers does every answer of a call carry? The same fields at every door. */
import { refuse } from "../call.ts";
import type { Gateway } from "../gateway.ts";
import type { Answer, Call, Interface, JsonObject, Outcome } from "../model.ts";
import { REFUSALS, Refusal } from "../refusal.ts";
import { challengeOf } from "./challenge.ts";
import { askedOf } from "./exchange.ts";
import type { Exchange } from "./exchange.ts";

/**
 * `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) of the tightest limit, the call's id, and
 * of a refusal for want of a credential how to get one.
 */
export function callHeaders(call: Call, refusal?: Refusal): { readonly [name: string]: string } {
  const headers: { [name: string]: string } = { "portcullis-call-id": call.id };
  const { limit } = call;
  if (limit !== null) {
    const name = limit.name.replaceAll(/[^\x20-\x7e]|["\\]/g, "_");
    // a limit of calls at once has no window, and nobody knows when a place comes free
    const timed = limit.windowMs > 0;
    headers["ratelimit-policy"] = `"${name}";q=${limit.limit}${timed ? `;w=${Math.ceil(limit.windowMs / 1000)}` : ""}`;
    headers["ratelimit"] = `"${name}";r=${limit.remaining}${timed ? `;t=${Math.ceil(limit.resetMs / 1000)}` : ""}`;
  }
  if (refusal === undefined) return headers;
  // a proxy sees no body: what was shed before any work, it may send elsewhere
  headers["portcullis-refusal"] = refusal.code;
  const { retryAfterMs } = refusal.detail;
  if (retryAfterMs !== undefined) headers["retry-after"] = String(Math.ceil(retryAfterMs / 1000));
  const challenge = challengeOf(call, refusal);
  if (challenge !== null) headers["www-authenticate"] = challenge;
  return headers;
}

/** What an agent must know before it tries again (contract §6). */
export function refusalBody(refusal: Refusal, call: Call): JsonObject {
  const { title, retryable } = REFUSALS[refusal.code];
  const { reasons, errors, retryAfterMs } = refusal.detail;
  return {
    code: refusal.code,
    title,
    detail: refusal.message,
    callId: call.id,
    retryable,
    executed: call.executed,
    ...(reasons === undefined ? {} : { reasons }),
    ...(errors === undefined ? {} : { errors }),
    // clocks count in parts of a millisecond, and who comes too early is refused again
    ...(retryAfterMs === undefined ? {} : { retryAfterMs: Math.ceil(retryAfterMs) }),
  };
}

export function statusOf(refusal: Refusal): number {
  return refusal.detail.status ?? REFUSALS[refusal.code].http;
}

/** A server's own error, in its words, is for MCP callers alone; to others it is this, and it stands in the audit. */
export function withoutUpstreamError(outcome: Outcome<Answer>): Outcome<JsonObject> {
  if (!outcome.ok) return outcome;
  const { call, value } = outcome;
  if (value.kind === "result") return { ok: true, call, value: value.result };
  return { ok: false, call, refusal: new Refusal("upstream_error", "The server answered with an error.") };
}

/** RFC 9457. */
export function replyProblem(
  exchange: Pick<Exchange, "reply">,
  outcome: Outcome<unknown> & { readonly ok: false },
): void {
  const { refusal, call } = outcome;
  const status = statusOf(refusal);
  const body = { type: `urn:portcullis:refusal:${refusal.code}`, status, ...refusalBody(refusal, call) };
  const headers = { "content-type": "application/problem+json", ...callHeaders(call, refusal) };
  exchange.reply(status, headers, JSON.stringify(body));
}

export function replyJson(exchange: Exchange, value: object, headers: { readonly [name: string]: string } = {}): void {
  exchange.reply(200, { "content-type": "application/json", ...headers }, JSON.stringify(value));
}

/** A `malformed` for doors that speak problem+json. */
export function malformedProblem(spoken: Interface) {
  return async (gateway: Gateway, exchange: Exchange, refusal: Refusal): Promise<void> => {
    const outcome = await refuse(gateway, askedOf(exchange, { interface: spoken }), refusal);
    if (!outcome.ok) replyProblem(exchange, outcome);
  };
}
