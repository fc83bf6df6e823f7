/**
 * Recorded spans as the OpenTelemetry SDK holds them. What surprises: the spans exist before the SDK hears of them. Its
 * tracer is made to draw each again, with the record's own ids and times, always sampled; nothing of the product is
 * traced while it runs.
 */
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, TraceFlags, trace } from "@opentelemetry/api";
import type { Attributes, Context, HrTime, Link, Tracer } from "@opentelemetry/api";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { NodeSDK } from "@opentelemetry/sdk-node";
import { AlwaysOnSampler } from "@opentelemetry/sdk-trace";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import type { RecordedSpan } from "./span.ts";

/** The SDK registers itself for the whole process, so there is one, whatever the number of targets. */
type Easel = {
  readonly tracer: Tracer;
  readonly next: { traceId: string; spanId: string };
  readonly done: ReadableSpan[];
};
let easel: Easel | null = null;

/** @throws Error where the environment switched the SDK off */
export function drawn(spans: readonly RecordedSpan[], version: string): readonly ReadableSpan[] {
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
  for (const [name, value] of span.attributes)
    attributes[name] = typeof value === "object" ? ([...value] as string[] | number[]) : value;
  const drawing = tracer.startSpan(
    span.name,
    { kind: KINDS[span.kind], startTime: hrTime(span.start), attributes, links: linksOf(span) },
    parentOf(span),
  );
  if (span.status === "ok") drawing.setStatus({ code: SpanStatusCode.OK });
  if (span.status === "error") drawing.setStatus({ code: SpanStatusCode.ERROR, message: span.statusMessage ?? "" });
  drawing.end(hrTime(span.end));
}

const KINDS = { internal: SpanKind.INTERNAL, server: SpanKind.SERVER, client: SpanKind.CLIENT } as const;

function linksOf({ links }: RecordedSpan): Link[] {
  return links.map((link) => ({ context: { ...link, traceFlags: TraceFlags.SAMPLED, isRemote: true } }));
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
