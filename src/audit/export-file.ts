/**
 * The trail as text for other programs, read from the files: while the gateway runs, after it, or somewhere else. What
 * surprises: a line of OTLP/JSON is the record's own line with its children beside it, so that what only this product
 * knows, the chain's links, goes along.
 */
import { join } from "node:path";
import { spansOf } from "./export-spans.ts";
import { linesFrom } from "./lines.ts";
import { listSegments } from "./segments.ts";
import { parseSpan } from "./span.ts";
import type { AttributeValue, RecordedSpan } from "./span.ts";

export type ExportFormat = "otlp-json" | "jsonl";
export type Between = { readonly sinceMs: number | null; readonly untilMs: number | null };

/** One line each, without its newline, the oldest writer's first. What is torn or unreadable is stepped over. */
export async function* exportLines(
  directory: string,
  format: ExportFormat,
  { sinceMs, untilMs }: Between,
): AsyncGenerator<string> {
  for (const { file } of await listSegments(directory)) {
    for await (const { text } of linesFrom(join(directory, file), 0)) {
      const span = parseSpan(text);
      if (span === null) continue;
      const ms = Number(span.start.slice(0, -6));
      if ((sinceMs !== null && ms < sinceMs) || (untilMs !== null && ms >= untilMs)) continue;
      yield format === "jsonl" ? flat(span) : withChildren(text, span);
    }
  }
}

/** One record, names as in the registry of attributes; for jq, and for tables. */
function flat(span: RecordedSpan): string {
  const { name, traceId, spanId, parentSpanId, start, end, status, statusMessage, attributes } = span;
  const time = new Date(Number(start.slice(0, -6))).toISOString();
  const durationMs = Number(BigInt(end) - BigInt(start)) / 1e6;
  const own = { time, name, traceId, spanId, parentSpanId, durationMs, status, statusMessage };
  return JSON.stringify({ ...own, ...Object.fromEntries(attributes) });
}

type TracesData = {
  readonly resourceSpans: readonly { readonly scopeSpans: readonly { readonly spans: object[] }[] }[];
};

function withChildren(text: string, span: RecordedSpan): string {
  const [, ...children] = spansOf(span);
  if (children.length === 0) return text;
  const data = JSON.parse(text) as TracesData;
  data.resourceSpans[0]?.scopeSpans[0]?.spans.push(...children.map(otlp));
  return JSON.stringify(data);
}

const KINDS = { internal: 1, server: 2, client: 3 } as const;
const STATUSES = { unset: 0, ok: 1, error: 2 } as const;

function otlp({ traceId, spanId, parentSpanId, name, kind, start, end, status, attributes }: RecordedSpan): object {
  return {
    traceId,
    spanId,
    parentSpanId,
    name,
    kind: KINDS[kind],
    startTimeUnixNano: start,
    endTimeUnixNano: end,
    status: { code: STATUSES[status] },
    attributes: [...attributes].map(([key, value]) => ({ key, value: valueOf(value) })),
  };
}

function valueOf(value: AttributeValue): object {
  if (typeof value === "object") return { arrayValue: { values: value.map(valueOf) } };
  return typeof value === "number" ? { intValue: String(value) } : { stringValue: value };
}
