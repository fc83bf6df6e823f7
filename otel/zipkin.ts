/**
 * Zipkin, for those who want to see a trace on a machine that has nothing but Java: where its jar is, and our spans in its
 * own words. It does not speak OTLP, so this reads what `audit export` would print and posts it.
 */
import { homedir } from "node:os";
import { join } from "node:path";
import { spansOf } from "../src/audit/export-spans.ts";
import type { RecordedSpan } from "../src/audit/span.ts";

export const ZIPKIN = "io.zipkin:zipkin-server:3.5.1:jar:exec";
/** Where Maven puts it. */
export const ZIPKIN_JAR = join(homedir(), ".m2/repository/io/zipkin/zipkin-server/3.5.1/zipkin-server-3.5.1-exec.jar");

export type ZipkinSpan = {
  readonly traceId: string;
  readonly id: string;
  readonly parentId?: string;
  readonly name: string;
  readonly kind?: "SERVER" | "CLIENT";
  /** Microseconds. */
  readonly timestamp: number;
  readonly duration: number;
  readonly localEndpoint: { readonly serviceName: string };
  readonly remoteEndpoint?: { readonly serviceName: string };
  readonly tags: { readonly [name: string]: string };
};

/** A record and its children. Zipkin shows an `error` tag in red. */
export function zipkinSpans(record: RecordedSpan): readonly ZipkinSpan[] {
  return spansOf(record).map(({ traceId, spanId, parentSpanId, name, kind, start, end, status, attributes }) => {
    const tags = Object.fromEntries([...attributes].map(([key, value]) => [key, String(value)]));
    const server = attributes.get("mcp.server.name");
    return {
      traceId,
      id: spanId,
      ...(parentSpanId === null ? {} : { parentId: parentSpanId }),
      name,
      ...(kind === "internal" ? {} : { kind: kind === "server" ? "SERVER" : "CLIENT" }),
      timestamp: Number(BigInt(start) / 1000n),
      duration: Math.max(1, Number((BigInt(end) - BigInt(start)) / 1000n)),
      localEndpoint: { serviceName: "portcullis" },
      ...(kind === "client" && typeof server === "string" ? { remoteEndpoint: { serviceName: server } } : {}),
      tags: status === "error" ? { ...tags, error: tags["error.type"] ?? "error" } : tags,
    };
  });
}

/** @throws Error where Zipkin does not take them */
export async function postSpans(url: string, spans: readonly ZipkinSpan[]): Promise<void> {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(`${url}/api/v2/spans`, { method: "POST", headers, body: JSON.stringify(spans) });
  if (answer.status !== 202) throw new Error(`Zipkin answered ${answer.status}.`);
}

/** Loopback only, in memory, and without what it would otherwise look for. */
export function zipkinArgs(port: number): readonly string[] {
  return [
    "-Xmx256m",
    `-Dserver.address=127.0.0.1`,
    `-Darmeria.ports[0].ip=127.0.0.1`,
    "-jar",
    ZIPKIN_JAR,
    `--armeria.ports[0].port=${port}`,
    "--armeria.ports[0].ip=127.0.0.1",
    "--armeria.ports[0].protocols[0]=http",
    "--logging.level.root=warn",
  ];
}
