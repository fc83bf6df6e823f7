/**
 * The stage that calls: which instance, one deadline over all attempts, and what is true if it fails. What surprises:
 * a call is sent a second time only when not one byte of it was sent, or the tool is declared idempotent; and
 * `call.executed` never goes back, however the second attempt ends.
 */
import type { Answer, Call, CallRequest, Discovery, InstanceSpec } from "../model.ts";
import type { Permit } from "../policy/authorize.ts";
import { Refusal } from "../refusal.ts";
import { within } from "./connection.ts";
import type { Exchange } from "./connection.ts";
import type { Instance } from "./instance.ts";

export type InstanceStatus = {
  readonly id: string;
  readonly server: string;
  readonly version: string;
  readonly kind: "stdio" | "http";
  readonly state: "idle" | "ready" | "set_aside";
  readonly inFlight: number;
  /** Constant words, never the server's. */
  readonly lastError: string | null;
};
export type Upstreams = {
  /** Keeps what is unchanged, closes what is gone once its last call is done, opens what is new when it is needed. */
  readonly reconcile: (instances: readonly InstanceOf[]) => void;
  /** Asks the first healthy instance. @throws Refusal upstream_*, cancelled */
  readonly discover: (server: string, version: string, signal: AbortSignal) => Promise<Discovery>;
  readonly onListChanged: (listener: (server: string, version: string) => void) => void;
  readonly status: () => readonly InstanceStatus[];
  /** The last bytes that a child wrote to stderr: for operators, never for callers. */
  readonly stderr: (id: string) => string;
  /** The fit instance with the least in flight, none of `tried`; null if there is none. */
  readonly pick: (server: string, version: string, tried: readonly Instance[]) => Instance | null;
  readonly resultBytesMax: number;
  /** Lets calls finish, then closes everything. */
  readonly close: () => Promise<void>;
  /** Kills every child at once: for a process that is going down. */
  readonly abandon: () => void;
};
export type InstanceOf = {
  readonly server: string;
  readonly version: string;
  readonly spec: InstanceSpec;
};

/** @throws Refusal upstream_unavailable, upstream_timeout, upstream_error, input_required, cancelled */
export async function forward(upstreams: Upstreams, permit: Permit, request: CallRequest, call: Call): Promise<Answer> {
  const exchange = callExchange(upstreams, permit, request, call);
  try {
    const answer = await within(exchange, permit.tool.timeoutMs, call.asked.signal, () =>
      attempts(upstreams, permit, exchange, call),
    );
    return completed(answer);
  } finally {
    note(call, exchange);
  }
}

async function attempts(upstreams: Upstreams, permit: Permit, exchange: Exchange, call: Call): Promise<Answer> {
  const { server, version, idempotent } = permit.tool;
  const tried: Instance[] = [];
  let failure: Refusal | null = null;
  for (;;) {
    const instance = upstreams.pick(server, version, tried);
    if (instance === null) throw failure ?? new Refusal("upstream_unavailable", "No healthy instance of the server.");
    tried.push(instance);
    call.instance = instance.spec.id;
    call.attempts++;
    try {
      return await instance.send(exchange);
    } catch (thrown) {
      failure = Refusal.from(thrown);
      note(call, exchange);
      if (failure.code === "upstream_timeout" || exchange.gaveUp?.code === "upstream_timeout") instance.suspect();
      if (exchange.gaveUp !== null) throw exchange.gaveUp;
      if (exchange.executed === "yes" || (exchange.executed === "unknown" && !idempotent)) throw failure;
      exchange.executed = "no";
    }
  }
}

function callExchange(upstreams: Upstreams, permit: Permit, request: CallRequest, call: Call): Exchange {
  const limit = permit.obligations.max_result_bytes;
  return {
    method: "tools/call",
    params: { name: permit.tool.upstreamName, arguments: request.arguments },
    meta: request.meta,
    tool: permit.tool,
    traceparent: `00-${call.traceId}-${call.spanId}-01`,
    // state belongs to the trace that it came with: to a fresh one it means nothing
    tracestate: call.parentSpanId === null ? null : safeTracestate(call.asked.tracestate),
    onProgress: request.onProgress === null ? null : progressOf(request.onProgress, call),
    bytesMax: limit === null ? upstreams.resultBytesMax : Math.min(limit + ENVELOPE_BYTES, upstreams.resultBytesMax),
    executed: "no",
    bytes: 0,
    gaveUp: null,
    stop: null,
  };
}

/** A function of its own: a closure above would cost each call, also those that ask for no progress. */
function progressOf(tell: NonNullable<CallRequest["onProgress"]>, call: Call): Exchange["onProgress"] {
  return (params) => tell(params, call);
}

/** The JSON-RPC envelope around a result: a policy's `max_result_bytes` is about the result, and exact in `redact`. */
const ENVELOPE_BYTES = 16 * 1024;

/** It becomes a header: one line of what the standard allows, or nothing. */
function safeTracestate(text: string | null): string | null {
  return text !== null && /^[\x21-\x7e](?:[\x20-\x7e]{0,510}[\x21-\x7e])?$/.test(text) ? text : null;
}

/** What is known so far; `unknown` of an earlier attempt is not taken back by a later one that was not sent. */
function note(call: Call, exchange: Exchange): void {
  if (exchange.executed === "yes" || call.executed === "no") call.executed = exchange.executed;
}

/** A result that is not one: the tool wants to ask first, or speaks an extension that nobody declared. */
function completed(answer: Answer): Answer {
  if (answer.kind === "error") return answer;
  const type = answer.result["resultType"];
  if (type === undefined || type === "complete") return answer;
  if (type === "input_required") throw new Refusal("input_required", "The tool asks the caller something first.");
  throw new Refusal("upstream_error", "The server answered with an unknown kind of result.");
}
