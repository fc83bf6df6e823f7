/**
 * The load generator for gRPC, of the same jobs as load.ts: one connection, as a proxy holds one, and on it as many
 * calls at a time as the job says. Plain HTTP/2 with prepared messages, so that it needs a fraction of what it measures.
 */
import { connect } from "node:http2";
import type { ClientHttp2Session } from "node:http2";
import type { Job, Result } from "./load.ts";

const HEADERS = {
  ":method": "POST",
  ":path": "/envoy.service.auth.v3.Authorization/Check",
  "content-type": "application/grpc",
  te: "trailers",
  "grpc-timeout": "10S",
};

process.on("message", (job: Job) => void perform(job).then((result) => process.send?.(result)));
process.on("disconnect", () => process.exit(0));

async function perform(job: Job): Promise<Result> {
  const session = connect(`http://127.0.0.1:${job.port}`);
  session.on("error", () => session.destroy());
  const frame = framed(Buffer.from(job.requests[0] ?? "", "base64"));
  const startedMs = performance.now();
  const latencies: number[] = [];
  let failures = 0;
  let firstFailure: string | null = null;
  const lane = async (): Promise<void> => {
    while (performance.now() - startedMs < job.durationMs && latencies.length < job.callsMax) {
      const sentMs = performance.now();
      const answer = await call(session, frame);
      latencies.push(performance.now() - sentMs);
      if (answer.includes(job.marker)) continue;
      failures++;
      firstFailure ??= answer.toString("utf8", 0, 400);
      if (session.destroyed) return;
    }
  };
  await Promise.all(Array.from({ length: job.connections }, lane));
  const seconds = (performance.now() - startedMs) / 1000;
  session.close();
  const sorted = latencies.toSorted((one, other) => one - other);
  const at = (share: number) => sorted[Math.floor(sorted.length * share)] ?? Number.NaN;
  return { calls: latencies.length, failures, firstFailure, seconds, p50Ms: at(0.5), p99Ms: at(0.99) };
}

/** gRPC's frame: not compressed, and how long. */
function framed(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

/** The answer's bytes, or what went wrong in words. */
function call(session: ClientHttp2Session, frame: Buffer): Promise<Buffer> {
  return new Promise((resolve) => {
    const stream = session.request(HEADERS);
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", (fault) => resolve(Buffer.from(fault.message)));
    stream.on("end", () => resolve(Buffer.concat(chunks)));
    stream.end(frame);
  });
}
