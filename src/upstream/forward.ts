/**
 * The stage that calls: which instance, one deadline over all attempts, and what is true if it fails. What surprises:
 * a call is sent a second time only when not one byte of it was sent, or the tool is declared idempotent, and either
 * only within the server's budget; and `call.executed` never goes back, however the second attempt ends.
 */
import type { Traffic } from "../config-traffic.ts";
import type { Answer, Call, CallRequest, Discovery, InstanceSpec, Try } from "../model.ts";
import type { Permit } from "../policy/authorize.ts";
import { Refusal } from "../refusal.ts";
import { attemptTraceparent } from "../trace.ts";
import { observe, observeFailure } from "./balance.ts";
import { TOO_LARGE, within } from "./connection.ts";
import type { Exchange } from "./connection.ts";
import type { Group } from "./group.ts";
import type { Instance } from "./instance.ts";
import type { Use } from "./tools.ts";

export type InstanceStatus = {
  readonly id: string;
  readonly server: string;
  readonly version: string;
  readonly kind: "stdio" | "http";
  readonly state: "idle" | "ready" | "set_aside";
  readonly breaker: "closed" | "open" | "half_open";
  /** 0: takes no new call. */
  readonly weight: number;
  readonly inFlight: number;
  /** Peak EWMA of how long its answers take, 1 being what is usual for the tool. */
  readonly ewma: number;
  /** Since the start. */
  readonly ejections: number;
  /** Constant words, never the server's. */
  readonly lastError: string | null;
};
export type TrafficStatus = {
  readonly server: string;
  readonly version: string;
  readonly running: number;
  readonly waiting: number;
  /** Calls that were sent again, since the start. */
  readonly retries: number;
  /** Tools that are not called, since they run into their deadline again and again. */
  readonly openTools: readonly string[];
};
export type Upstreams = {
  /** Keeps what is unchanged, closes what is gone once its last call is done, opens what is new when it is needed. */
  readonly reconcile: (versions: readonly InstancesOf[]) => void;
  /** Asks the first healthy instance. @throws Refusal upstream_*, cancelled */
  readonly discover: (server: string, version: string, signal: AbortSignal) => Promise<Discovery>;
  readonly onListChanged: (listener: (server: string, version: string) => void) => void;
  readonly status: () => readonly InstanceStatus[];
  readonly traffic: () => readonly TrafficStatus[];
  /** The last bytes that a child wrote to stderr: for operators, never for callers. */
  readonly stderr: (id: string) => string;
  /** Undefined where it has no instance. */
  readonly group: (server: string, version: string) => Group | undefined;
  readonly resultBytesMax: number;
  /** Lets calls finish, then closes everything. */
  readonly close: () => Promise<void>;
  /** Kills every child at once: for a process that is going down. */
  readonly abandon: () => void;
};
export type InstancesOf = {
  readonly server: string;
  readonly version: string;
  readonly specs: readonly InstanceSpec[];
  /** In the order of `specs`; 1 where there is none. */
  readonly weights?: readonly number[];
  readonly terms?: Traffic;
};

/** @throws Refusal upstream_unavailable, upstream_timeout, upstream_error, input_required, cancelled */
export async function forward(upstreams: Upstreams, permit: Permit, request: CallRequest, call: Call): Promise<Answer> {
  const { server, version, timeoutMs } = permit.tool;
  const group = upstreams.group(server, version);
  if (group === undefined) throw new Refusal("upstream_unavailable", "The server has no instance.");
  const exchange = callExchange(upstreams, permit, request, call);
  try {
    const answer = await within(exchange, timeoutMs, call.asked.signal, () =>
      inTurn(group, permit, { exchange, resultBytesMax: upstreams.resultBytesMax }, call),
    );
    return completed(answer);
  } finally {
    note(call, exchange);
  }
}

/** Waits for its turn, if it has to: that is part of its time. */
async function inTurn(
  group: Group,
  permit: Permit,
  { exchange, resultBytesMax }: Pick<Trying, "exchange" | "resultBytesMax">,
  call: Call,
): Promise<Answer> {
  const deadlineMs = group.nowMs() + permit.tool.timeoutMs;
  const { tenant } = permit.principal;
  // what will be refused takes nobody's place in the queue
  group.tools.look(permit.tool.upstreamName, tenant);
  const turn = group.bulkhead.enter(exchange, tenant);
  if (turn !== undefined) await turn;
  try {
    const use = group.tools.admit(permit.tool.upstreamName, tenant);
    const { idempotent } = permit.tool;
    const trying: Trying = { group, exchange, use, idempotent, deadlineMs, resultBytesMax };
    return await attempts(trying, call);
  } finally {
    group.bulkhead.leave();
  }
}

type Trying = {
  readonly group: Group;
  readonly exchange: Exchange;
  readonly use: Use;
  readonly idempotent: boolean;
  readonly deadlineMs: number;
  readonly resultBytesMax: number;
};

/** A call that is itself what makes instances fail must not go round all of them. */
const SENT_MAX = 3;

async function attempts(trying: Trying, call: Call): Promise<Answer> {
  const { group, exchange, use } = trying;
  const tried: Instance[] = [];
  let failure: Refusal | null = null;
  let sent = 0;
  for (;;) {
    const instance = exchange.gaveUp === null ? group.pick(tried) : null;
    if (instance === null || (tried.length > 0 && !group.budget.withdraw())) {
      group.tools.report(use, "nothing");
      throw exchange.gaveUp ?? failure ?? group.none();
    }
    if (tried.length > 0) group.retries++;
    // what was refused unsent earns nothing: a flood of it would pay for a flood of retries
    else group.budget.deposit();
    tried.push(instance);
    const startedMs = group.nowMs();
    const attempt = began(call, exchange, instance.spec.id, startedMs);
    exchange.timeLeftMs = Math.max(1, Math.floor(trying.deadlineMs - startedMs));
    exchange.heard?.();
    try {
      const answer = await instance.send(exchange);
      attempt.toMs = group.nowMs() - call.beganMs;
      answered(trying, instance, startedMs);
      return answer;
    } catch (thrown) {
      failure = Refusal.from(thrown);
      attempt.toMs = group.nowMs() - call.beganMs;
      attempt.error = (exchange.gaveUp ?? failure).code;
      note(call, exchange);
      failed(trying, instance);
      if (exchange.gaveUp !== null) throw exchange.gaveUp;
      // as large elsewhere; and five of these in a row are the tool's, unless this caller may have less than others
      if (failure.detail.cause === TOO_LARGE) {
        group.tools.report(use, exchange.bytesMax < trying.resultBytesMax ? "nothing" : "failed");
        throw failure;
      }
      // not what `executed` says: a 403 may also come from a proxy that did not like the tool's answer
      if (exchange.executed === "yes" || (exchange.sent && ++sent === (trying.idempotent ? SENT_MAX : 1))) {
        // it may be what this caller asks for that makes instances fail
        if (exchange.excused) group.tools.report(use, "nothing");
        else group.tools.report(use, "failed", { pauseMs: failure.detail.retryAfterMs ?? null });
        throw failure;
      }
      exchange.executed = "no";
      exchange.sent = false;
      exchange.excused = false;
    }
  }
}

/** The server hears of this attempt, whose span is drawn from the record. */
function began(call: Call, exchange: Exchange, instance: string, nowMs: number): Try {
  call.instance = instance;
  exchange.traceparent = attemptTraceparent(call, call.attempts++);
  const fromMs = nowMs - call.beganMs;
  const attempt: Try = { instance, fromMs, toMs: 0, error: "" };
  call.tries.push(attempt);
  return attempt;
}

const USUAL_SHARE = 0.1;

function answered({ group, use }: Trying, instance: Instance, startedMs: number): void {
  const nowMs = group.nowMs();
  const tookMs = nowMs - startedMs;
  const { tool } = use;
  observe(instance.load, tookMs, tool.usualMs ?? tookMs, nowMs);
  tool.usualMs = tool.usualMs === null ? tookMs : tool.usualMs + (tookMs - tool.usualMs) * USUAL_SHARE;
  group.tools.report(use, "worked");
}

/** Of a deadline that passed, whose fault it is says a probe: the instance's if it is silent, else the tool's. */
function failed({ group, exchange, use }: Trying, instance: Instance): void {
  const { gaveUp, excused, executed } = exchange;
  // whose fault a deadline is or not: one that answers no call must not look like one that is never slow
  if (gaveUp?.code === "upstream_timeout" || (gaveUp === null && !excused))
    observeFailure(instance.load, group.nowMs());
  if (gaveUp?.code === "upstream_timeout")
    void instance.suspect(executed !== "no").then((alive) => group.tools.report(use, alive ? "failed" : "nothing"));
  else if (gaveUp !== null) group.tools.report(use, "nothing");
}

function callExchange(upstreams: Upstreams, permit: Permit, request: CallRequest, call: Call): Exchange {
  const limit = permit.obligations.max_result_bytes;
  const { idleTimeoutMs, idempotent } = permit.tool;
  const exchange: Exchange = {
    method: "tools/call",
    params: { name: permit.tool.upstreamName, arguments: request.arguments },
    meta: request.meta,
    tool: permit.tool,
    traceparent: null,
    // state belongs to the trace that it came with: to a fresh one it means nothing
    tracestate: call.parentSpanId === null ? null : safeTracestate(call.asked.tracestate),
    tenant: permit.principal.tenant,
    onProgress: null,
    bytesMax: limit === null ? upstreams.resultBytesMax : Math.min(limit + ENVELOPE_BYTES, upstreams.resultBytesMax),
    idleTimeoutMs,
    // the call's own: two callers who chose the same would get each other's answer
    idempotencyKey: idempotent ? call.id : null,
    timeLeftMs: null,
    executed: "no",
    sent: false,
    bytes: 0,
    gaveUp: null,
    excused: false,
    heard: null,
    stop: null,
  };
  // only where somebody listens: a server that is asked for progress streams its answer
  if (request.onProgress !== null || idleTimeoutMs !== null)
    exchange.onProgress = progressOf(exchange, request.onProgress, call);
  return exchange;
}

/** A function of its own: a closure above would cost each call, also those that ask for no progress. */
function progressOf(exchange: Exchange, tell: CallRequest["onProgress"], call: Call): Exchange["onProgress"] {
  return (params) => {
    exchange.heard?.();
    tell?.(params, call);
  };
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
