/**
 * The load generator: a process of its own that keeps N connections busy, one request after the other on each, and
 * notes how long each took. Raw sockets and prepared bytes, so that it needs a fraction of what it measures. A
 * request is good only if the answer is a 200 that holds the marker: a refusal is a failure, not a fast success.
 */
import { createConnection } from "node:net";
import type { Socket } from "node:net";

export type Job = {
  readonly port: number;
  /** Whole HTTP/1.1 requests; connection i sends number i, i + connections, … in turn. */
  readonly requests: readonly string[];
  readonly marker: string;
  readonly connections: number;
  readonly durationMs: number;
  /** Ends the job early, when this many answers have come. */
  readonly callsMax: number;
};
export type Result = {
  readonly calls: number;
  readonly failures: number;
  readonly firstFailure: string | null;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
};

const SAMPLES_MAX = 400_000;
const HEAD_END = Buffer.from("\r\n\r\n");
const LAST_CHUNK = Buffer.from("0\r\n\r\n");

type Run = Job & {
  readonly bytes: readonly Buffer[];
  readonly markerBytes: Buffer;
  readonly latencies: Float64Array;
  readonly untilMs: number;
  calls: number;
  failures: number;
  firstFailure: string | null;
};

process.on("message", (job: Job) => void perform(job).then((result) => process.send?.(result)));
process.on("disconnect", () => process.exit(0));

async function perform(job: Job): Promise<Result> {
  const startedMs = performance.now();
  const run: Run = {
    ...job,
    bytes: job.requests.map((text) => Buffer.from(text)),
    markerBytes: Buffer.from(job.marker),
    latencies: new Float64Array(SAMPLES_MAX),
    untilMs: startedMs + job.durationMs,
    calls: 0,
    failures: 0,
    firstFailure: null,
  };
  await Promise.all(Array.from({ length: job.connections }, (_, at) => connection(run, at)));
  const seconds = (performance.now() - startedMs) / 1000;
  const sorted = run.latencies.subarray(0, Math.min(run.calls, SAMPLES_MAX)).toSorted();
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
  const { calls, failures, firstFailure } = run;
  return { calls, failures, firstFailure, seconds, p50Ms: at(0.5), p99Ms: at(0.99) };
}

function connection(run: Run, first: number): Promise<void> {
  return new Promise((settle) => {
    const socket = createConnection({ host: "127.0.0.1", port: run.port, noDelay: true });
    let next = first % run.bytes.length;
    let pending: Buffer | null = null;
    let sentMs = 0;
    const send = () => {
      sentMs = performance.now();
      socket.write(run.bytes[next] as Buffer);
      next = (next + run.connections) % run.bytes.length;
    };
    const end = () => {
      socket.destroy();
      settle();
    };
    socket.on("connect", send);
    socket.on("data", (chunk: Buffer) => {
      pending = pending === null ? chunk : Buffer.concat([pending, chunk]);
      if (!complete(pending)) return;
      note(run, pending, performance.now() - sentMs);
      pending = null;
      if (performance.now() >= run.untilMs || run.calls >= run.callsMax) end();
      else send();
    });
    dropped(run, socket, end);
  });
}

/** A connection that breaks is one failure, and is not opened again: the rest of the run shows fewer calls. */
function dropped(run: Run, socket: Socket, end: () => void): void {
  const fail = (why: string) => {
    run.failures++;
    run.firstFailure ??= why;
    end();
  };
  socket.on("error", (error) => fail(error.message));
  socket.on("end", () => fail("the connection was closed"));
  socket.setTimeout(10_000, () => fail("no answer in 10 s"));
}

function note(run: Run, answer: Buffer, ms: number): void {
  if (run.calls < SAMPLES_MAX) run.latencies[run.calls] = ms;
  run.calls++;
  // the status is at a fixed place: HTTP/1.1 200
  if (answer.toString("latin1", 9, 12) === "200" && answer.includes(run.markerBytes)) return;
  run.failures++;
  run.firstFailure ??= answer.toString("utf8", 0, 400);
}

function complete(bytes: Buffer): boolean {
  const headEnd = bytes.indexOf(HEAD_END);
  if (headEnd === -1) return false;
  const head = bytes.toString("latin1", 0, headEnd);
  const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (length !== undefined) return bytes.length >= headEnd + 4 + Number(length);
  return bytes.subarray(-LAST_CHUNK.length).equals(LAST_CHUNK);
}
