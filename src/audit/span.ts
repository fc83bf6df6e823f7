/** One line of the spool read back: the span it holds, or null where it is none of ours. */
import type { TraceParent } from "../trace.ts";

export type AttributeValue = string | number | readonly string[] | readonly number[];
export type RecordedSpan = {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | null;
  /** The parent is the caller's span. */
  readonly parentIsRemote: boolean;
  readonly name: string;
  readonly kind: "internal" | "server" | "client";
  readonly links: readonly TraceParent[];
  /** Unix epoch in nanoseconds, as decimal digits. */
  readonly start: string;
  readonly end: string;
  readonly status: "unset" | "ok" | "error";
  readonly statusMessage: string | null;
  readonly attributes: ReadonlyMap<string, AttributeValue>;
};

/** By OTLP's codes; 0 is unspecified. */
const KINDS = ["internal", "internal", "server", "client"] as const;
const STATUSES = ["unset", "ok", "error"] as const;
/** Bit of `flags` in OTLP. */
const REMOTE = 0x200;

export function parseSpan(line: string): RecordedSpan | null {
  try {
    return spanOf(JSON.parse(line));
  } catch {
    return null;
  }
}

function spanOf(data: unknown): RecordedSpan | null {
  const span = first(field(first(field(first(field(data, "resourceSpans")), "scopeSpans")), "spans"));
  const traceId = text(field(span, "traceId"));
  const spanId = text(field(span, "spanId"));
  const start = text(field(span, "startTimeUnixNano"));
  const end = text(field(span, "endTimeUnixNano"));
  if (traceId === null || spanId === null || !isTime(start) || !isTime(end)) return null;
  const status = field(span, "status");
  const flags = field(span, "flags");
  return {
    traceId,
    spanId,
    parentSpanId: text(field(span, "parentSpanId")),
    parentIsRemote: typeof flags === "number" && (flags & REMOTE) !== 0,
    name: text(field(span, "name")) ?? "",
    kind: KINDS[Number(field(span, "kind") ?? 0)] ?? "internal",
    links: linksOf(field(span, "links")),
    start,
    end,
    status: STATUSES[Number(field(status, "code") ?? 0)] ?? "unset",
    statusMessage: text(field(status, "message")),
    attributes: attributesOf(field(span, "attributes")),
  };
}

function linksOf(list: unknown): readonly TraceParent[] {
  return (Array.isArray(list) ? list : []).flatMap((item) => {
    const [traceId, spanId] = [text(field(item, "traceId")), text(field(item, "spanId"))];
    return traceId === null || spanId === null ? [] : [{ traceId, spanId }];
  });
}

/** Nanoseconds since 1970, of a year that dates can hold. */
function isTime(value: string | null): value is string {
  // microseconds are what the index holds
  return value !== null && /^\d{1,19}$/.test(value) && Number.isSafeInteger(Number(value.slice(0, -3)));
}

function attributesOf(list: unknown): ReadonlyMap<string, AttributeValue> {
  const attributes = new Map<string, AttributeValue>();
  for (const item of Array.isArray(list) ? list : []) {
    const key = text(field(item, "key"));
    const value = valueOf(field(item, "value"));
    if (key !== null && value !== null) attributes.set(key, value);
  }
  return attributes;
}

/** OTLP/JSON writes 64-bit integers as strings. */
function valueOf(value: unknown): AttributeValue | null {
  const string = text(field(value, "stringValue"));
  if (string !== null) return string;
  const integer = text(field(value, "intValue"));
  if (integer !== null) return Number(integer);
  const values = field(field(value, "arrayValue"), "values");
  if (!Array.isArray(values)) return null;
  const numbers = values.length > 0 && values.every((item) => text(field(item, "intValue")) !== null);
  return numbers
    ? values.map((item) => Number(field(item, "intValue")))
    : values.map((item) => text(field(item, "stringValue")) ?? "");
}

function field(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? (value as { readonly [key: string]: unknown })[key] : undefined;
}

function first(value: unknown): unknown {
  return Array.isArray(value) ? value[0] : undefined;
}

function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
