/**
 * Recorded spans to a collector, by OpenTelemetry's own exporters: OTLP over HTTP as protobuf, or over gRPC. What surprises:
 * an answer counts only if it can be read. A web server that says 200 to anything would else swallow the audit's copy.
 * Loaded only where a target is configured: it costs 250 ms.
 */
import { OTLPExporterBase } from "@opentelemetry/otlp-exporter-base";
import { convertLegacyHttpOptions, createOtlpHttpExportDelegate } from "@opentelemetry/otlp-exporter-base/node-http";
import {
  convertLegacyOtlpGrpcOptions,
  createEmptyMetadata,
  createOtlpGrpcExportDelegate,
} from "@opentelemetry/otlp-grpc-exporter-base";
import {
  JsonTraceSerializer,
  ProtobufTraceSerializer,
  TraceExporterMetricsHelper,
} from "@opentelemetry/otlp-transformer";
import type { IExportTraceServiceResponse, ISerializer } from "@opentelemetry/otlp-transformer";
import type { ReadableSpan } from "@opentelemetry/sdk-trace";
import { drawn } from "./export-draw.ts";
import type { RecordedSpan } from "./span.ts";

/** The same records twice: as they are to be shown, children included, and as they stand in the spool. */
export type Records = {
  readonly spans: readonly RecordedSpan[];
  readonly lines: readonly { readonly file: string; readonly text: string }[];
};
export type Sender = {
  /** Resolves once the collector has taken them, to how many it did not want. @throws (rejects) Error of the network or the collector */
  readonly send: (records: Records) => Promise<number>;
  readonly close: () => Promise<void>;
};
export type SenderOptions = {
  /** Over HTTP, the base address, to which `/v1/traces` is added, or that path itself. */
  readonly url: string;
  readonly protocol: "http/protobuf" | "grpc";
  readonly headers: { readonly [name: string]: string };
  readonly timeoutMs: number;
  readonly version: string;
};
type Exporter = InstanceType<typeof OTLPExporterBase<ReadableSpan[]>>;
/** What the collector answered to the request that is under way. */
type Reply = { readable: boolean; rejected: number };

export function createSender(options: SenderOptions): Sender {
  const reply: Reply = { readable: false, rejected: 0 };
  const connect = options.protocol === "grpc" ? overGrpc : overHttp;
  let exporter: Exporter | null = null;
  return {
    send: async ({ spans }) => {
      if (spans.length === 0) return 0;
      exporter ??= connect(options, readingInto(reply));
      try {
        await exported(exporter, drawn(spans, options.version));
        if (!reply.readable) throw Object.assign(new Error("It answered no OTLP."), { code: "NOT_OTLP" });
      } catch (cause) {
        // a channel that failed waits up to two minutes before it looks again: our own back-off decides that
        void exporter.shutdown();
        exporter = null;
        throw cause;
      }
      return reply.rejected;
    },
    close: async () => exporter?.shutdown(),
  };

  function exported(to: Exporter, items: readonly ReadableSpan[]): Promise<void> {
    reply.readable = false;
    reply.rejected = 0;
    return new Promise((resolve, reject) => {
      to.export([...items], ({ code, error }) => {
        if ((code as number) === SUCCESS) resolve();
        else reject(error ?? new Error("The collector did not take the spans."));
      });
    });
  }
}

/** ExportResultCode of the SDK's core, which is no dependency of ours. */
const SUCCESS = 0;

type Serializer = ISerializer<ReadableSpan[], IExportTraceServiceResponse>;

/** Some collectors answer protobuf with JSON, and mean the same. What the protocol says of rejected spans: not sent again. */
function readingInto(reply: Reply): Serializer {
  return {
    serializeRequest: (spans) => ProtobufTraceSerializer.serializeRequest(spans),
    deserializeResponse: (bytes) => {
      const from = bytes[0] === 0x7b ? JsonTraceSerializer : ProtobufTraceSerializer;
      const response = from.deserializeResponse(bytes);
      reply.rejected = Number(response.partialSuccess?.rejectedSpans ?? 0);
      reply.readable = true;
      return response;
    },
  };
}

function overHttp({ url, headers, timeoutMs }: SenderOptions, serializer: Serializer): Exporter {
  const options = convertLegacyHttpOptions(
    { url: tracesUrl(url), headers: { ...headers }, timeoutMillis: timeoutMs },
    "TRACES",
    "v1/traces",
    { "Content-Type": "application/x-protobuf" },
  );
  const name = "otlp_http_span_exporter";
  return new OTLPExporterBase(
    createOtlpHttpExportDelegate(options, serializer, name, TraceExporterMetricsHelper, undefined),
  );
}

/** `https:` with the authorities that Node trusts, `http:` in the open. */
function overGrpc({ url, headers, timeoutMs }: SenderOptions, serializer: Serializer): Exporter {
  const metadata = createEmptyMetadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  const options = convertLegacyOtlpGrpcOptions({ url, metadata, timeoutMillis: timeoutMs }, "TRACES");
  const path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
  return new OTLPExporterBase(
    createOtlpGrpcExportDelegate(
      options,
      serializer,
      "otlp_grpc_span_exporter",
      TraceExporterMetricsHelper,
      undefined,
      "TraceExportService",
      path,
    ),
  );
}

function tracesUrl(url: string): string {
  const at = new URL(url);
  if (!at.pathname.endsWith("/v1/traces")) at.pathname = `${at.pathname.replace(/\/$/, "")}/v1/traces`;
  return at.href;
}
