/**
 * Where records become durable: append-only files of lines, each carrying its number and the SHA-256 of the line before.
 * What surprises: `write` mode calls write(2) on the spot, since an append to the page cache costs 1.3 µs and any
 * queue costs more; only `fsync` mode gathers lines, one write and one fdatasync for all that came meanwhile. After a
 * failed write a file is cut back to its last good line and never written again: the next file continues the chain.
 */
import { hash } from "node:crypto";
import { join } from "node:path";
import type { Clock, Random } from "../ports.ts";
import { realDisk } from "./disk.ts";
import type { SpoolDisk } from "./disk.ts";
import { GENESIS, segmentFile } from "./segments.ts";

export type SpoolOptions = {
  readonly directory: string;
  /** `write` survives the death of the process, `fsync` that of the machine. */
  readonly flush: "write" | "fsync";
  /** `[a-z0-9]{1,32}`: one gateway's files, whoever gathers them. */
  readonly writer?: string;
  readonly segmentBytes?: number;
  /** Below this the spool refuses, so that the disk never is quite full. */
  readonly freeBytesMin?: number;
  readonly disk?: SpoolDisk;
};

export type SpoolStats = {
  /** False while the last write failed or the disk is nearly full. */
  readonly writable: boolean;
  readonly records: number;
  readonly failures: number;
  readonly queued: number;
  readonly segment: string;
  /** Number and SHA-256 of the newest durable line. */
  readonly sequence: number;
  readonly head: string;
};

export type Spool = {
  /** Takes a line open at its end (see line.ts); resolves once it is durable. @throws (rejects) Error of the disk */
  readonly append: (body: string) => Promise<void>;
  readonly stats: () => SpoolStats;
  readonly close: () => Promise<void>;
};

const SEGMENT_BYTES = 64 * 1024 * 1024;
const FREE_BYTES_MIN = 64 * 1024 * 1024;
const FREE_CHECK_MS = 2_000;
const QUEUE_LINES_MAX = 10_000;
const QUEUE_BYTES_MAX = 64 * 1024 * 1024;
const BATCH_BYTES_MAX = 1024 * 1024;
const BACKOFF_MS = { first: 50, most: 2_000 } as const;

type Head = { readonly sequence: number; readonly hash: string };
type Batch = { readonly bodies: string[]; bytes: number; readonly done: PromiseWithResolvers<void> };
type State = {
  readonly options: Required<SpoolOptions>;
  readonly clock: Clock;
  readonly random: Random;
  fd: number | null;
  boot: string;
  number: number;
  /** Durable bytes of the open segment. */
  bytes: number;
  head: Head;
  records: number;
  failures: number;
  /** No attempt before this. */
  retryAtMs: number;
  backoffMs: number;
  freeCheckAtMs: number;
  queue: Batch[];
  queued: { lines: number; bytes: number };
  committing: Promise<void> | null;
  closed: boolean;
};

/** @throws Error if the directory or the first file cannot be made */
export function openSpool(options: SpoolOptions, { clock, random }: { readonly clock: Clock; readonly random: Random }): Spool {
  const state: State = {
    options: {
      writer: "gateway",
      segmentBytes: SEGMENT_BYTES,
      freeBytesMin: FREE_BYTES_MIN,
      disk: realDisk,
      ...options,
    },
    clock,
    random,
    fd: null,
    boot: newBoot(clock, random),
    number: 1,
    bytes: 0,
    head: { sequence: 0, hash: GENESIS },
    records: 0,
    failures: 0,
    retryAtMs: 0,
    backoffMs: BACKOFF_MS.first,
    freeCheckAtMs: 0,
    queue: [],
    queued: { lines: 0, bytes: 0 },
    committing: null,
    closed: false,
  };
  state.options.disk.mkdir(options.directory);
  openSegment(state);
  return {
    append: options.flush === "write" ? (body) => appendNow(state, body) : (body) => appendLater(state, body),
    stats: () => statsOf(state),
    close: () => close(state),
  };
}

// ---- write mode ----------------------------------------------------------------------------------

const DONE = Promise.resolve();

function appendNow(state: State, body: string): Promise<void> {
  try {
    const lines = chained(state.head, [body]);
    put(state, lines.text);
    settle(state, lines, 1);
    return DONE;
  } catch (cause) {
    return Promise.reject(cause);
  }
}

// ---- fsync mode ----------------------------------------------------------------------------------

function appendLater(state: State, body: string): Promise<void> {
  if (state.closed) return Promise.reject(new Error("The spool is closed."));
  const { queued } = state;
  if (queued.lines >= QUEUE_LINES_MAX || queued.bytes + body.length > QUEUE_BYTES_MAX) {
    return Promise.reject(new Error("The spool's queue is full."));
  }
  queued.lines++;
  queued.bytes += body.length;
  let batch = state.queue.at(-1);
  if (batch === undefined || batch.bytes > BATCH_BYTES_MAX) {
    batch = { bodies: [], bytes: 0, done: Promise.withResolvers<void>() };
    state.queue.push(batch);
  }
  batch.bodies.push(body);
  batch.bytes += body.length;
  state.committing ??= commitAll(state);
  return batch.done.promise;
}

/** One committer at a time; what arrives while the disk works is the next batch. */
async function commitAll(state: State): Promise<void> {
  // lines of the same turn of the event loop share a batch
  await new Promise((resolve) => setImmediate(resolve));
  for (let batch = state.queue.shift(); batch !== undefined; batch = state.queue.shift()) {
    try {
      await commit(state, batch);
      batch.done.resolve();
    } catch (cause) {
      batch.done.reject(cause);
    }
    state.queued.lines -= batch.bodies.length;
    state.queued.bytes -= batch.bytes;
  }
  state.committing = null;
}

async function commit(state: State, batch: Batch): Promise<void> {
  const { disk, directory } = state.options;
  const fresh = state.bytes === 0;
  const lines = chained(state.head, batch.bodies);
  const fd = put(state, lines.text);
  try {
    await disk.sync(fd);
    // a file whose name is lost with the power is lost too
    if (fresh) await disk.syncDirectory(directory);
  } catch (cause) {
    abandon(state, cause);
    throw cause;
  }
  settle(state, lines, batch.bodies.length);
}

// ---- both ----------------------------------------------------------------------------------------

type Chained = Head & { readonly text: string };

/** The end of a line is ours: number, hash of the line before, and the brackets that line.ts left open. */
function chained(head: Head, bodies: readonly string[]): Chained {
  let { sequence, hash: previous } = head;
  let text = "";
  for (const body of bodies) {
    sequence++;
    const line = `${body}{"key":"audit.sequence.number","value":{"intValue":"${sequence}"}},{"key":"audit.sequence.prev_hash","value":{"stringValue":"${previous}"}}]}]}]}]}`;
    previous = hash("sha256", line, "hex");
    text += `${line}\n`;
  }
  return { sequence, hash: previous, text };
}

/** Writes all of it or throws; lines are ASCII, so a character is a byte. */
function put(state: State, text: string): number {
  ready(state);
  const fd = state.fd ?? openSegment(state);
  try {
    for (let done = 0; done < text.length; ) {
      const wrote = state.options.disk.write(fd, done === 0 ? text : text.slice(done));
      if (wrote <= 0) throw new Error("The disk took nothing.");
      done += wrote;
    }
    return fd;
  } catch (cause) {
    abandon(state, cause);
    throw cause;
  }
}

function settle(state: State, lines: Chained, count: number): void {
  state.head = lines;
  state.bytes += lines.text.length;
  state.records += count;
  state.backoffMs = BACKOFF_MS.first;
}
