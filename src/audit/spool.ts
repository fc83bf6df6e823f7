/**
 * Where records become durable before anyone is answered. Lines are committed in groups: in `write` mode those of one
 * turn of the event loop, on the calling thread, since an append to the page cache is quicker than handing it to anyone;
 * in `fsync` mode all that came while the disk worked, with one write and one fdatasync; and where a Redis stream must
 * have the lines too, all that came while Redis worked.
 */
import { dirname } from "node:path";
import type { Clock, Random } from "../ports.ts";
import { openChain } from "./chain.ts";
import type { Chain, ChainOptions } from "./chain.ts";
import { realDisk } from "./disk.ts";
import type { SpoolDisk } from "./disk.ts";
import type { Stream } from "./stream.ts";

export type SpoolOptions = {
  readonly directory: string;
  /** `write` survives the death of the process, `fsync` that of the machine. */
  readonly flush: "write" | "fsync";
  /** `[a-z0-9]{1,32}`: one gateway's files, whoever gathers them. */
  readonly writer?: string;
  readonly segmentBytes?: number;
  /** With less free than this the spool refuses, before the disk is quite full. */
  readonly freeBytesMin?: number;
  /** Kept besides for those who are known. */
  readonly reserveBytes?: number;
  readonly segmentMs?: number;
  readonly disk?: SpoolDisk;
  /** Where the lines must be, too, before anyone hears; null where the file is enough. */
  readonly stream?: Stream | null;
  readonly durable?: ChainOptions["durable"];
};

export type SpoolStats = {
  /** False while writes fail, the disk is nearly full, or the stream cannot be written. */
  readonly writable: boolean;
  readonly records: number;
  readonly failures: number;
  /** Lines waiting to be durable. */
  readonly queued: number;
  readonly segment: string;
  /** Number of the newest durable line, and its SHA-256. */
  readonly sequence: number;
  readonly head: string;
};

export type Spool = {
  /** Takes a line left open by line.ts; resolves once it is durable, rejects with the disk's Error. */
  readonly append: (body: string) => Promise<void>;
  /** The same for what a stranger causes: it is refused while there is still room for those who are known. */
  readonly appendStranger: (body: string) => Promise<void>;
  readonly stats: () => SpoolStats;
  /** Resolves once every accepted line is durable; refuses the ones after. */
  readonly close: () => Promise<void>;
};

const SEGMENT_BYTES = 64 * 1024 * 1024;
const SEGMENT_MS = 86_400_000;
const FREE_BYTES_MIN = 64 * 1024 * 1024;
const RESERVE_BYTES = 128 * 1024 * 1024;
const QUEUE_LINES_MAX = 10_000;
const QUEUE_BYTES_MAX = 64 * 1024 * 1024;
const BATCH_BYTES_MAX = 1024 * 1024;
const SYNC_MAX_MS = 5_000;

/** @throws Error if the directory or the first file cannot be made */
export function openSpool(options: SpoolOptions, ports: { readonly clock: Clock; readonly random: Random }): Spool {
  const { directory, flush, writer = "gateway", disk = realDisk, stream = null } = options;
  const { segmentBytes = SEGMENT_BYTES, segmentMs = SEGMENT_MS, freeBytesMin = FREE_BYTES_MIN, durable } = options;
  const synced = flush === "fsync";
  const kept = { directory, writer, disk, durable };
  const chain = openChain({ ...kept, segmentBytes, segmentMs, freeBytesMin, synced }, ports);
  const waits = synced || stream !== null;
  const spool = waits ? queueing(chain, { disk, directory, flush, stream }) : writing(chain);
  const { reserveBytes = RESERVE_BYTES } = options;
  return {
    ...spool,
    appendStranger: async (body) => {
      if (!chain.spares(reserveBytes)) throw new Error("What is left of the disk is reserved.");
      await spool.append(body);
    },
  };
}

/** The lines of one turn of the event loop are one write: a system call costs more than the line it carries. */
function writing(chain: Chain): Omit<Spool, "appendStranger"> {
  let batch = newBatch();
  const commit = ({ bodies, done }: Batch): void => {
    batch = newBatch();
    try {
      chain.confirm(chain.put(bodies));
      done.resolve();
    } catch (cause) {
      done.reject(cause);
    }
  };
  return {
    append: (body) => {
      const into = batch;
      // one that was full is written already
      if (into.bodies.push(body) === 1) setImmediate(() => batch === into && commit(into));
      into.bytes += body.length;
      if (into.bytes >= BATCH_BYTES_MAX) commit(into);
      return into.done.promise;
    },
    stats: () => statsOf(chain, batch.bodies.length, null),
    close: async () => {
      if (batch.bodies.length > 0) await batch.done.promise.catch(() => {});
      chain.close();
    },
  };
}

type Batch = { readonly bodies: string[]; bytes: number; readonly done: PromiseWithResolvers<void> };

function newBatch(): Batch {
  return { bodies: [], bytes: 0, done: Promise.withResolvers<void>() };
}

type Queue = {
  readonly batches: Batch[];
  lines: number;
  bytes: number;
  committing: Promise<void> | null;
  /** The disk has not answered for so long that nobody is asked to wait for it. (A stream has a deadline of its own.) */
  stalled: boolean;
  closed: boolean;
};

type Places = Required<Pick<SpoolOptions, "disk" | "directory" | "flush" | "stream">>;

function queueing(chain: Chain, places: Places): Omit<Spool, "appendStranger"> {
  const { stream } = places;
  const queue: Queue = { batches: [], lines: 0, bytes: 0, committing: null, stalled: false, closed: false };
  return {
    append: (body) => {
      const refusal = refuses(queue, body, stream);
      if (refusal !== null) return Promise.reject(refusal);
      const batch = enqueue(queue, body);
      queue.committing ??= commitAll(queue, (bodies) => commit(chain, places, bodies));
      return batch.done.promise;
    },
    stats: () => statsOf(chain, queue.lines, stream),
    close: async () => {
      queue.closed = true;
      await queue.committing;
      chain.close();
    },
  };
}

function refuses(queue: Queue, body: string, stream: Stream | null): Error | null {
  if (queue.closed) return new Error("The spool is closed.");
  if (stream?.writable() === false) return new Error("Redis cannot be written.");
  if (queue.stalled) return new Error("The disk does not answer.");
  const full = queue.lines >= QUEUE_LINES_MAX || queue.bytes + body.length > QUEUE_BYTES_MAX;
  return full ? new Error("The spool's queue is full.") : null;
}

function enqueue(queue: Queue, body: string): Batch {
  let batch = queue.batches.at(-1);
  if (batch === undefined || batch.bytes >= BATCH_BYTES_MAX) {
    batch = newBatch();
    queue.batches.push(batch);
  }
  batch.bodies.push(body);
  batch.bytes += body.length;
  queue.lines++;
  queue.bytes += body.length;
  return batch;
}

/** One committer at a time: what arrives while the disk works is the next batch. */
async function commitAll(queue: Queue, commitLines: (bodies: readonly string[]) => Promise<void>): Promise<void> {
  // lines of the same turn of the event loop share a batch
  await new Promise((resolve) => setImmediate(resolve));
  for (let batch = queue.batches.shift(); batch !== undefined; batch = queue.batches.shift()) {
    discount(queue, batch);
    const deadline = setTimeout(stall, SYNC_MAX_MS, queue, batch);
    await commitLines(batch.bodies).then(batch.done.resolve, batch.done.reject);
    clearTimeout(deadline);
    queue.stalled = false;
  }
  queue.committing = null;
}

/** The write in flight may still succeed, which leaves a record too many, never one too few. */
function stall(queue: Queue, current: Batch): void {
  queue.stalled = true;
  for (const batch of [current, ...queue.batches.splice(0)]) {
    if (batch !== current) discount(queue, batch);
    batch.done.reject(new Error("The disk does not answer."));
  }
}

function discount(queue: Queue, batch: Batch): void {
  queue.lines -= batch.bodies.length;
  queue.bytes -= batch.bytes;
}

async function commit(
  chain: Chain,
  { disk, directory, flush, stream }: Places,
  bodies: readonly string[],
): Promise<void> {
  const written = chain.put(bodies);
  const { fd, fresh, file, after, head } = written;
  const text = stream === null ? "" : written.bytes.toString("latin1");
  try {
    if (flush === "fsync") {
      await disk.sync(fd);
      // a file whose name is lost with the power is lost too, and so is one in a folder whose name is
      if (fresh) await disk.syncDirectory(directory);
      if (fresh && after.sequence === 0)
        for (const above of [dirname(directory), dirname(dirname(directory))]) await disk.syncDirectory(above);
    }
    await stream?.append({ file, after, head, text });
  } catch (cause) {
    chain.abandon();
    throw cause;
  }
  chain.confirm(written);
}

function statsOf(chain: Chain, queued: number, stream: Stream | null): SpoolStats {
  const { head, records, failures, segment } = chain.state();
  const writable = chain.writable() && stream?.writable() !== false;
  return { writable, records, failures, queued, segment, sequence: head.sequence, head: head.hash };
}
