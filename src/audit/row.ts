/** A record as a row for people: what `calls` and `audit tail` show, and what they may be filtered by. */
import type { AttributeName } from "./attributes.ts";
import type { RecordedSpan } from "./span.ts";

export type CallRow = {
  readonly callId: string;
  /** RFC 3339 with milliseconds: when the call came in. */
  readonly time: string;
  /** null for requests of unknown callers. */
  readonly principal: string | null;
  readonly onBehalfOf: string | null;
  readonly tenant: string | null;
  readonly interface: string;
  readonly operation: string;
  readonly tool: string | null;
  readonly server: string | null;
  readonly version: string | null;
  readonly decision: "allow" | "deny" | null;
  readonly reasons: readonly string[];
  /** `unknown`: an intent without an outcome, because the call still runs or the process died. */
  readonly outcome: "success" | "error" | "refused" | "unknown";
  readonly errorType: string | null;
  readonly executed: "no" | "yes" | "unknown";
  readonly durationMs: number;
  readonly attempts: number;
  readonly policyRevision: string | null;
  readonly traceId: string;
  /** JSON text, masked; null where only a digest was kept. */
  readonly arguments: string | null;
  /** Requests that the row stands for. */
  readonly count: number;
  /** The sidecar that it happened at; null at this gateway itself. */
  readonly writer: string | null;
  readonly cursor: string;
};

/** Each must equal the row's field of that name; null is a field that must be absent, undefined one that may be anything. */
export type CallFilter = {
  readonly [
    Field in
      | "callId"
      | "writer"
      | "principal"
      | "onBehalfOf"
      | "tenant"
      | "interface"
      | "operation"
      | "tool"
      | "server"
      | "version"
      | "decision"
      | "outcome"
      | "errorType"
      | "policyRevision"
      | "traceId"
  ]?: string | null | undefined;
} & {
  /** One of its reasons. */
  readonly reason?: string | undefined;
  /** Unix epoch in milliseconds: came in at or after, before. */
  readonly fromMs?: number | undefined;
  readonly toMs?: number | undefined;
};

/** What fits into an `Int` of the graph: one number that does not would be no answer for a whole page. */
export const INT_MAX = 2 ** 31 - 1;

export function kindOf(span: RecordedSpan): string {
  return textOf(span, "portcullis.record") ?? "";
}

export function callIdOf(span: RecordedSpan): string {
  return textOf(span, "portcullis.call.id") ?? "";
}

export function rowOf(span: RecordedSpan, cursor: string): CallRow {
  const intent = kindOf(span) === "intent";
  const { attributes } = span;
  const reasons = attributes.get("portcullis.reasons" satisfies AttributeName);
  return {
    callId: callIdOf(span),
    time: new Date(Number(span.start.slice(0, -6))).toISOString(),
    principal: textOf(span, "portcullis.principal.id"),
    onBehalfOf: textOf(span, "portcullis.on_behalf_of"),
    tenant: textOf(span, "portcullis.tenant"),
    interface: textOf(span, "portcullis.interface") ?? "",
    operation: textOf(span, "portcullis.operation") ?? span.name,
    tool: textOf(span, "gen_ai.tool.name"),
    server: textOf(span, "portcullis.server.name"),
    version: textOf(span, "portcullis.server.version"),
    decision: oneOf(["allow", "deny"], textOf(span, "portcullis.decision")),
    reasons: Array.isArray(reasons) ? reasons : [],
    outcome: (intent ? null : oneOf(["success", "error", "refused"], textOf(span, "portcullis.outcome"))) ?? "unknown",
    errorType: textOf(span, "error.type"),
    executed: (intent ? null : oneOf(["no", "yes"], textOf(span, "portcullis.executed"))) ?? "unknown",
    durationMs: Number(BigInt(span.end) - BigInt(span.start)) / 1e6,
    attempts: numberOf(span, "portcullis.attempts") ?? 0,
    policyRevision: textOf(span, "portcullis.policy.revision"),
    traceId: span.traceId,
    arguments: textOf(span, "gen_ai.tool.call.arguments"),
    count: numberOf(span, "portcullis.count") ?? 1,
    writer: null,
    cursor,
  };
}

export function matches(row: CallRow, filter: CallFilter): boolean {
  const { fromMs, toMs, reason, ...equal } = filter;
  if (reason !== undefined && !row.reasons.includes(reason)) return false;
  for (const [field, wanted] of Object.entries(equal)) {
    if (wanted !== undefined && row[field as keyof typeof equal] !== wanted) return false;
  }
  const timeMs = Date.parse(row.time);
  return (fromMs === undefined || timeMs >= fromMs) && (toMs === undefined || timeMs < toMs);
}

function textOf(span: RecordedSpan, name: AttributeName): string | null {
  const value = span.attributes.get(name);
  return typeof value === "string" ? value : null;
}

function numberOf(span: RecordedSpan, name: AttributeName): number | null {
  const value = span.attributes.get(name);
  // a record of another gateway may say anything
  return Number.isSafeInteger(value) && Number(value) >= 0 && Number(value) <= INT_MAX ? Number(value) : null;
}

function oneOf<const Word extends string>(words: readonly Word[], value: string | null): Word | null {
  return words.find((word) => word === value) ?? null;
}
