/**
 * From the spool to collectors: at least once, in order, for as long as it takes. What surprises: nothing here knows
 * the call path, and the call path knows nothing of this. A collector that is away costs one request per back-off,
 * and the spool itself is the queue; what a process could not deliver, the next one does.
 */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Ports } from "../ports.ts";
import { cursorFile, recordsAfter, segmentsFrom } from "./export-cursor.ts";
import type { CursorFile, Position } from "./export-cursor.ts";
import type { Records, Sender } from "./export-otlp.ts";
import { isSampled } from "./export-sample.ts";
import { spansOf } from "./export-spans.ts";
import { linesFrom } from "./lines.ts";
import { parseSegment } from "./segments.ts";
import { parseSpan } from "./span.ts";
import type { RecordedSpan } from "./span.ts";

export type ExportTarget = {
  readonly otlp: string;
  readonly protocol: "http/protobuf" | "grpc";
  readonly headers: { readonly [name: string]: string };
  /** Share of the traces that it gets; whatever failed or was refused it gets always. */
  readonly sample: number;
};
/** Lines of one file of the spool, in order. Rejects with `rewind` where an earlier one is missing there. */
export type Ship = {
  /** For people. */
  readonly target: string;
  readonly send: (file: string, lines: readonly string[]) => Promise<void>;
};
export type ExportOptions = {
  /** The spool's. */
  readonly directory: string;
  readonly targets: readonly ExportTarget[];
  /** To whom the lines themselves go, as they are; null where there is none. */
  readonly ship?: Ship | null;
  /** The product's. */
  readonly version: string;
  readonly pollMs?: number;
  /** Of one request. */
  readonly timeoutMs?: number;
  readonly backoffMs?: { readonly first: number; readonly most: number };
};
export type ExportStatus = {
  /** Origin of the collector: an address may hold credentials. */
  readonly target: string;
  /** Records not yet delivered, as of the last attempt. */
  readonly lag: number;
  /** Delivered since the start. */
  readonly exported: number;
  /** Spans that it took, and then said it did not want, since the start. */
  readonly rejected: number;
  readonly lastError: string | null;
};
export type Exports = {
  readonly status: () => readonly ExportStatus[];
  /** Gives up what is under way; the next start goes on where the last delivery ended. */
  readonly close: () => Promise<void>;
};

/** Starts one pump per target; the SDK is loaded only if there is one. */
export async function startExports(
  { targets, ship = null, ...options }: ExportOptions,
  ports: Ports,
): Promise<Exports> {
  const stop = new AbortController();
  const pumps = targets.map((target) => startPump(target, options, ports, stop.signal));
  if (ship !== null) pumps.push(startShipping(ship, options, ports, stop.signal));
  return {
    status: () => pumps.map(({ state }) => ({ ...state })),
    close: async () => {
      stop.abort();
      // what is under way may be cut: it is sent again after the next start
      await Promise.race([
        Promise.all(pumps.map(({ ended }) => ended)),
        sleep(CLOSE_MAX_MS, undefined, { ref: false }),
      ]);
    },
  };
}

const POLL_MS = 1_000;
const TIMEOUT_MS = 10_000;
const BACKOFF_MS = { first: 1_000, most: 60_000 } as const;
const CLOSE_MAX_MS = 1_000;
const BATCH_RECORDS = 128;
/** Well below what a control plane takes in one body. */
const BATCH_CHARACTERS = 256 * 1024;

type State = { -readonly [Key in keyof ExportStatus]: ExportStatus[Key] };
type Pump = { readonly state: State; readonly ended: Promise<void> };
type Options = Omit<ExportOptions, "targets" | "ship">;

function startPump(target: ExportTarget, options: Options, ports: Ports, signal: AbortSignal): Pump {
  const state: State = { target: new URL(target.otlp).origin, lag: 0, exported: 0, rejected: 0, lastError: null };
  const cursor = cursorFile(options.directory, target.otlp, ports.disk);
  const connect = async (): Promise<Sender> => {
    const { createSender } = await import("./export-otlp.ts");
    const { timeoutMs = TIMEOUT_MS, version } = options;
    const { otlp: url, protocol, headers, sample } = target;
    const { send, close } = createSender({ url, protocol, headers, timeoutMs, version });
    const shown = (spans: readonly RecordedSpan[]) => spans.filter((span) => isSampled(span, sample)).flatMap(spansOf);
    return { send: ({ spans, lines }) => send({ spans: shown(spans), lines }), close };
  };
  return { state, ended: pump({ state, options, ports, signal }, cursor, connect) };
}

/**
 * A cursor of its own, whatever the address: what was taken is taken, wherever the control plane moves. A chain that it
 * refuses from its beginning on (its copy is another, or a line here is damaged) is left out, and said so; the chains
 * after it are no worse for it.
 */
function startShipping({ target, send }: Ship, options: Options, ports: Ports, signal: AbortSignal): Pump {
  const state: State = { target, lag: 0, exported: 0, rejected: 0, lastError: null };
  const cursor = cursorFile(options.directory, "control plane", ports.disk);
  const refused = new Map<string, "once" | "for good">();
  const ship = async (file: string, lines: readonly string[]): Promise<void> => {
    const chain = parseSegment(file)?.chain ?? file;
    if (refused.get(chain) === "for good") return;
    try {
      await send(file, lines);
    } catch (cause) {
      if (!(cause instanceof Error && "rewind" in cause)) throw cause;
      const again = refused.has(chain);
      refused.set(chain, again ? "for good" : "once");
      if (!again) throw cause;
      ports.log.error({ chain, err: cause }, "the control plane does not take a chain of the audit: it is left out");
    }
  };
  const sender: Sender = {
    send: async ({ lines }) => {
      for (const [file, some] of Map.groupBy(lines, (line) => line.file))
        await ship(
          file,
          some.map(({ text }) => text),
        );
      return 0;
    },
    close: () => Promise.resolve(),
  };
  return { state, ended: pump({ state, options, ports, signal }, cursor, () => Promise.resolve(sender)) };
}

type Run = { readonly state: State; readonly options: Options; readonly ports: Ports; readonly signal: AbortSignal };

async function pump(
  { state, options, ports, signal }: Run,
  cursor: CursorFile,
  connect: () => Promise<Sender>,
): Promise<void> {
  const { first, most } = options.backoffMs ?? BACKOFF_MS;
  let position = await cursor.read();
  let sender: Sender | null = null;
  let backoffMs = first;
  while (!signal.aborted) {
    try {
      sender ??= await connect();
      const batch = await readBatch(options.directory, position);
      if (batch.spans.length > 0) state.rejected += await sender.send(batch);
      const { end } = batch;
      if (end !== null && (end.file !== position?.file || end.offset !== position.offset)) await cursor.write(end);
      position = batch.end;
      state.exported += batch.spans.length;
      state.lastError = null;
      backoffMs = first;
      if (batch.spans.length > 0) continue;
      state.lag = 0;
      await pause(options.pollMs ?? POLL_MS, signal);
    } catch (cause) {
      if (state.lastError === null)
        ports.log.warn({ target: state.target, err: cause }, "An export of the audit failed: it is tried again.");
      // it lacks what it was sent before: it passes over what it has
      if (cause instanceof Error && "rewind" in cause) position = null;
      state.lastError = nameOf(cause);
      state.lag = await recordsAfter(options.directory, position).catch(() => state.lag);
      // jitter, so that a fleet does not come back as one
      await pause(backoffMs * (0.5 + ports.random.fraction() / 2), signal);
      backoffMs = Math.min(backoffMs * 2, most);
    }
  }
  await sender?.close();
}

type Batch = Records & { readonly end: Position | null };

/** The next records in order of age; what is torn or unreadable is stepped over. */
async function readBatch(directory: string, position: Position | null): Promise<Batch> {
  const spans: RecordedSpan[] = [];
  const lines: { readonly file: string; readonly text: string }[] = [];
  let characters = 0;
  let end = position;
  for (const { file, number } of await segmentsFrom(directory, position)) {
    if (end?.file !== file) end = { file, offset: 0, sequence: number === 1 ? 0 : (end?.sequence ?? 0) };
    for await (const line of linesFrom(join(directory, file), end.offset)) {
      const span = parseSpan(line.text);
      const sequence = span?.attributes.get("audit.sequence.number");
      end = { file, offset: line.end, sequence: typeof sequence === "number" ? sequence : end.sequence };
      if (span !== null) {
        spans.push(span);
        lines.push({ file, text: line.text });
      }
      characters += line.text.length;
      if (spans.length >= BATCH_RECORDS || characters >= BATCH_CHARACTERS) return { spans, lines, end };
    }
  }
  return { spans, lines, end };
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => {});
}

/** What failed, without an address: the status travels over the admin API. */
function nameOf(cause: unknown): string {
  const code = cause instanceof Error && "code" in cause ? cause.code : null;
  // HTTP has no status below 100, gRPC none above 16
  if (typeof code === "number") return code < 100 ? `it answered gRPC status ${code}` : `it answered ${code}`;
  return typeof code === "string" && /^\w{2,40}$/.test(code) ? code : "it took nothing";
}
