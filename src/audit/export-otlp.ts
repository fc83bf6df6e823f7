/**
 * Recorded spans to a collector, by OpenTelemetry's SDK and its OTLP/HTTP protobuf exporter. What surprises: the spans
 * exist before the SDK hears of them. Its tracer is made to draw each again, with the record's own ids and times, always
 * sampled; nothing of the product is traced while it runs. Loaded only where a target is configured: it costs 250 ms.
 */
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, trace } from "@opentelemetry/api";
import type { Attributes, Context, HrTime, Tracer } from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { NodeSDK } from "@opentelemetry/sdk-node";
import { AlwaysOnSampler } from "@opentelemetry/sdk-trace";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import type { RecordedSpan } from "./span.ts";

/** The same records twice: read, and as they stand in the spool. */
export type Records = {
  readonly spans: readonly RecordedSpan[];
  readonly lines: readonly { readonly file: string; readonly text: string }[];
};
export type Sender = {
  /** Resolves once the collector has taken them all. @throws (rejects) Error of the network or the collector */
  readonly send: (records: Records) => Promise<void>;
  readonly close: () => Promise<void>;
};
export type SenderOptions = {
  /** Base address, to which `/v1/traces` is added, or that path itself. */
  readonly url: string;
  readonly headers: { readonly [name: string]: string };
  readonly timeoutMs: number;
  readonly version: string;
};

export function createSender({ url, headers, timeoutMs, version }: SenderOptions): Sender {
  const exporter = new OTLPTraceExporter({ url: tracesUrl(url), headers: { ...headers }, timeoutMillis: timeoutMs });
  return {
    send: ({ spans }) =>
      new Promise((resolve, reject) => {
        exporter.export([...drawn(spans, version)], (result) => {
          const code: number = result.code;
          if (code === SUCCESS) resolve();
          else reject(result.error ?? new Error("The collector did not take the spans."));
        });
      }),
    close: () => exporter.shutdown(),
  };
}

/** ExportResultCode of the SDK's core, which is no dependency of ours. */
const SUCCESS = 0;

function tracesUrl(url: string): string {
  const at = new URL(url);
  if (!at.pathname.endsWith("/v1/traces")) at.pathname = `${at.pathname.replace(/\/$/, "")}/v1/traces`;
  return at.href;
}

/** The SDK registers itself for the whole process, so there is one, whatever the number of targets. */
type Easel = {
  readonly tracer: Tracer;
  readonly next: { traceId: string; spanId: string };
  readonly done: ReadableSpan[];
};
let easel: Easel | null = null;

function drawn(spans: readonly RecordedSpan[], version: string): readonly ReadableSpan[] {
  easel ??= setUp(version);
  for (const span of spans) draw(easel, span);
  const done = easel.done.splice(0);
  // an SDK switched off by its environment would lose records without a word
  if (done.length !== spans.length)
    throw Object.assign(new Error("The OpenTelemetry SDK is off."), { code: "OTEL_SDK_DISABLED" });
  return done;
}

function setUp(version: string): Easel {
  const next = { traceId: "", spanId: "" };
  const done: ReadableSpan[] = [];
  new NodeSDK({
    resource: resourceFromAttributes({ "service.name": "portcullis", "service.version": version }),
    autoDetectResources: false,
    textMapPropagator: null,
    instrumentations: [],
    metricReaders: [],
    logRecordProcessors: [],
    sampler: new AlwaysOnSampler(),
    spanLimits: { attributeCountLimit: 256, attributeValueLengthLimit: Number.POSITIVE_INFINITY },
    idGenerator: { generateTraceId: () => next.traceId, generateSpanId: () => next.spanId },
    spanProcessors: [
      { onStart: () => {}, onEnd: (span) => void done.push(span), forceFlush: nothing, shutdown: nothing },
    ],
  }).start();
  return { tracer: trace.getTracer("portcullis/audit", "1"), next, done };
}

async function nothing(): Promise<void> {}

function draw({ tracer, next }: Easel, span: RecordedSpan): void {
  next.traceId = span.traceId;
  next.spanId = span.spanId;
  const attributes: Attributes = {};
  for (const [name, value] of span.attributes) attributes[name] = typeof value === "object" ? [...value] : value;
  const drawing = tracer.startSpan(
    span.name,
    { kind: SpanKind.SERVER, startTime: hrTime(span.start), attributes },
    parentOf(span),
  );
  if (span.status === "ok") drawing.setStatus({ code: SpanStatusCode.OK });
  if (span.status === "error") drawing.setStatus({ code: SpanStatusCode.ERROR, message: span.statusMessage ?? "" });
  drawing.end(hrTime(span.end));
}

function parentOf({ traceId, parentSpanId, parentIsRemote }: RecordedSpan): Context {
  if (parentSpanId === null) return ROOT_CONTEXT;
  const parent = { traceId, spanId: parentSpanId, traceFlags: TraceFlags.SAMPLED, isRemote: parentIsRemote };
  return trace.setSpanContext(ROOT_CONTEXT, parent);
}

/** Decimal nanoseconds → seconds and nanoseconds; a number would lose the last three digits. */
function hrTime(nanoseconds: string): HrTime {
  return [Number(nanoseconds.slice(0, -9)), Number(nanoseconds.slice(-9))];
}
