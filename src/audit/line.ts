/**
 * How a call becomes one line: an OTLP/JSON span, left open after its last attribute, where the chain adds the line's
 * number and the hash of the line before. What surprises: intent and outcome share one text of facts, made once; the
 * intent is an internal child of the call's span, of no length, so that a trace viewer shows one call once.
 */
import type { Call, JsonObject } from "../model.ts";
import type { Refusal } from "../refusal.ts";
import { escape, flat, intAttribute, textAttribute } from "./attributes.ts";
import { keyedDigest } from "./digest.ts";
import { JSON_MAX, factsOf, reasonsOf } from "./facts.ts";
import { readTraceparent } from "../trace.ts";
import { timings } from "./stages.ts";
import { maskedJson, maskedText } from "./mask.ts";
import { hiddenOf, keptResult } from "./privacy.ts";

/** How a call ended. */
export type Ending = {
  readonly outcome: "success" | "error" | "refused";
  /** Refusal code, `tool_error`, or an upstream's JSON-RPC code. */
  readonly errorType: string | null;
  /** Bounded and masked here. */
  readonly message: string | null;
  readonly refusal: Refusal | null;
  /** What the upstream answered, where it was a result. */
  readonly result: JsonObject | null;
  /** Requests that the record stands for; null where it is one. */
  readonly count: number | null;
};

export type Lines = {
  /** `spanId` is the intent's own. */
  readonly intent: (call: Call, spanId: string) => string;
  readonly ending: (kind: "outcome" | "refusal", call: Call, endedMs: number, ending: Ending) => string;
};

/** `key` keys the digest of arguments; `version` is the product's. */
export function createLines(key: Buffer, version: string): Lines {
  const digest = keyedDigest(key);
  const head = flat(
    `{"resourceSpans":[{"resource":{"attributes":[${RESOURCE}{"key":"service.version","value":{"stringValue":"${escape(version)}"}}]},${SCOPE}`,
  );
  return {
    intent: (call, spanId) => {
      const facts = factsOf(call, digest);
      call.facts = facts;
      const at = nanoseconds(call.startedMs);
      const span = spanOf(call, spanId, call.spanId) + INTENT + timesOf(at, at);
      return `${head}${span}${INTENT_FLAGS}${record.intent}${facts}${changeOf(call)}`;
    },
    ending: (kind, call, endedMs, ending) => {
      const facts = call.facts ?? factsOf(call, digest);
      const times = timesOf(nanoseconds(call.startedMs), nanoseconds(Math.max(endedMs, call.startedMs)));
      const span = spanOf(call, call.spanId, call.parentSpanId) + serverOf(call) + times + statusOf(call, ending);
      const flags = call.parentSpanId === null ? LOCAL : REMOTE;
      const took = timings(call, endedMs, ending.errorType);
      return `${head}${span}"flags":${flags},"attributes":[${record[kind]}${facts}${endOf(call, ending)}${resultOf(call, ending, digest)}${took}`;
    },
  };
}

const RESOURCE = '{"key":"service.name","value":{"stringValue":"portcullis"}},';
const SCOPE = '"scopeSpans":[{"scope":{"name":"portcullis/audit","version":"1"},"spans":[{';
/** OTLP's flags: sampled, and whether the parent is remote is known: it is not, or it is. */
const LOCAL = 0x101;
const REMOTE = 0x301;
const INTENT_FLAGS = flat(`"flags":${LOCAL},"attributes":[`);

const record = {
  intent: flat(textAttribute("portcullis.record")("intent")),
  outcome: flat(textAttribute("portcullis.record")("outcome")),
  refusal: flat(textAttribute("portcullis.record")("refusal")),
} as const;
const write = {
  outcome: textAttribute("portcullis.outcome"),
  errorType: textAttribute("error.type"),
  executed: textAttribute("portcullis.executed"),
  attempts: intAttribute("portcullis.attempts"),
  instance: textAttribute("portcullis.instance"),
  count: intAttribute("portcullis.count"),
  change: textAttribute("portcullis.change", JSON_MAX),
  result: textAttribute("gen_ai.tool.call.result", JSON_MAX),
  resultDigest: textAttribute("portcullis.result.digest"),
} as const;

function spanOf({ traceId }: Call, spanId: string, parentSpanId: string | null): string {
  const parent = parentSpanId === null ? "" : `"parentSpanId":"${parentSpanId}",`;
  return `"traceId":"${traceId}","spanId":"${spanId}",${parent}`;
}

/** Kind 1 is INTERNAL. */
const INTENT = '"name":"intent","kind":1,';

/** Kind 2 is SERVER. A name that nobody registered stays out of the span's name: those are few, or a viewer drowns. */
function serverOf(call: Call): string {
  const { operation, tool } = call;
  const name = tool === null ? escape(operation) : `${operation} ${escape(tool.name)}`;
  return `"name":"${name}","kind":2,${linksOf(call)}`;
}

/** What the header said, where `_meta` named the parent. */
function linksOf({ asked, parentSpanId }: Call): string {
  if (asked.linked === undefined || asked.linked === null) return "";
  const link = readTraceparent(asked.linked);
  if (link === null || link.spanId === parentSpanId) return "";
  return `"links":[{"traceId":"${link.traceId}","spanId":"${link.spanId}"}],`;
}

function timesOf(start: string, end: string): string {
  return `"startTimeUnixNano":"${start}","endTimeUnixNano":"${end}",`;
}

function nanoseconds(ms: number): string {
  const whole = Math.floor(ms);
  return `${whole}${String(Math.floor((ms - whole) * 1e6)).padStart(6, "0")}`;
}

/** Code 1 is OK, 2 ERROR. */
function statusOf(call: Call, { errorType, message }: Ending): string {
  if (errorType === null) return '"status":{"code":1},';
  const text = message === null ? "" : `,"message":"${escape(maskedText(message, MESSAGE_MAX, hiddenOf(call)))}"`;
  return `"status":{"code":2${text}},`;
}
const MESSAGE_MAX = 250;

/** Only where the operator wants it: most results are somebody's data. */
function resultOf(call: Call, { result }: Ending, digest: (text: string) => string): string {
  const mode = call.tool?.auditResults ?? "off";
  if (result === null || mode === "off") return "";
  const kept = keptResult(call, result);
  return write.resultDigest(digest(JSON.stringify(result))) + (kept === null ? "" : write.result(kept));
}

function endOf(call: Call, { outcome, errorType, refusal, count }: Ending): string {
  return (
    write.outcome(outcome) +
    (errorType === null ? "" : write.errorType(errorType)) +
    write.executed(call.executed) +
    (call.attempts === 0 ? "" : write.attempts(call.attempts)) +
    (call.instance === null ? "" : write.instance(call.instance)) +
    // policy's own reasons are among the facts; these are the faults that left no decision
    (call.decision === null ? reasonsOf(call, refusal?.detail.reasons) : "") +
    (count === null ? "" : write.count(count)) +
    changeOf(call)
  );
}

function changeOf({ change }: Call): string {
  return change === null ? "" : write.change(maskedJson(change, { shapes: true }));
}
