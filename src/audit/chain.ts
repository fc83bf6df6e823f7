/**
 * One writer's chain of lines over its files: line n carries n and the SHA-256 of line n−1. What surprises: after any
 * error a file is cut back to its last durable line and never written again, since a descriptor whose fsync failed
 * may call the next one good although the data is gone; the next file continues the chain. Where the cut fails, or may be
 * undone by a loss of power, or somebody else may have the lines, a new chain begins, so that what came back can never fork it.
 */
import { join } from "node:path";
import type { Clock, Random } from "../ports.ts";
import type { SpoolDisk } from "./disk.ts";
import { GENESIS, linked } from "./link.ts";
import type { Head } from "./link.ts";
import { segmentFile } from "./segments.ts";

export type ChainOptions = {
  readonly directory: string;
  readonly writer: string;
  readonly segmentBytes: number;
  readonly freeBytesMin: number;
  /** After so long a file ends, however small. */
  readonly segmentMs: number;
  /** Lines must survive a loss of power. */
  readonly synced: boolean;
  readonly disk: SpoolDisk;
  /** Hears of lines once they are durable, in order. */
  readonly durable?: ((lines: Durable) => void) | undefined;
};
/** The SHA-256 of each, where they stand, and where the last one ends. */
export type Durable = {
  readonly file: string;
  readonly hashes: readonly string[];
  readonly head: Head;
  readonly end: number;
};

/** Lines handed to the operating system and not yet confirmed. */
export type Written = {
  readonly fd: number;
  readonly fresh: boolean;
  readonly file: string;
  /** The lines; good until the next `put` of any chain. */
  readonly bytes: Buffer;
  readonly size: number;
  readonly hashes: readonly string[];
  /** What they follow. */
  readonly after: Head;
  readonly head: Head;
};

export type Chain = {
  /** Appends lines left open by line.ts. @throws Error of the disk: nothing was kept */
  readonly put: (bodies: readonly string[]) => Written;
  readonly confirm: (written: Written) => void;
  /** Takes back what was put and not confirmed, though it may stand somewhere already. */
  readonly abandon: () => void;
  /** So many bytes are left besides those that are never used. */
  readonly spares: (bytes: number) => boolean;
  /** Tries to become writable again if it is not. */
  readonly writable: () => boolean;
  readonly state: () => Readonly<Pick<State, "head" | "records" | "failures"> & { segment: string }>;
  readonly close: () => void;
};

const FREE_CHECK_MS = 2_000;
const BACKOFF_MS = { first: 50, most: 2_000 } as const;

type State = {
  readonly options: ChainOptions;
  readonly clock: Clock;
  readonly random: Random;
  fd: number | null;
  boot: string;
  number: number;
  /** Durable bytes of the open file. */
  bytes: number;
  head: Head;
  records: number;
  failures: number;
  retryAtMs: number;
  backoffMs: number;
  freeCheckAtMs: number;
  freeBytes: number;
  openedMs: number;
  closed: boolean;
};

/** @throws Error if the directory or the first file cannot be made */
export function openChain(
  options: ChainOptions,
  { clock, random }: { readonly clock: Clock; readonly random: Random },
): Chain {
  const state: State = {
    options,
    clock,
    random,
    fd: null,
    boot: newBoot(clock, random),
    number: 1,
    bytes: 0,
    head: GENESIS,
    records: 0,
    failures: 0,
    retryAtMs: 0,
    backoffMs: BACKOFF_MS.first,
    freeCheckAtMs: 0,
    freeBytes: Infinity,
    openedMs: 0,
    closed: false,
  };
  options.disk.mkdir(options.directory);
  openFile(state);
  return {
    put: (bodies) => put(state, bodies),
    confirm: (written) => confirm(state, written),
    abandon: () => abandon(state, true),
    spares: (bytes) => freeBytes(state) >= options.freeBytesMin + bytes,
    writable: () => writable(state),
    state: () => ({ ...state, segment: fileName(state) }),
    close: () => {
      state.closed = true;
      closeFile(state);
    },
  };
}

function put(state: State, bodies: readonly string[]): Written {
  const fd = ready(state);
  const after = state.head;
  const { bytes, head, hashes } = linked(after, bodies);
  let done = 0;
  try {
    while (done < bytes.length) {
      const wrote = state.options.disk.write(fd, done === 0 ? bytes : bytes.subarray(done));
      if (wrote <= 0) throw new Error("The disk took nothing.");
      done += wrote;
    }
  } catch (cause) {
    // the file that a chain begins with is begun again, and synced as it then is
    const begun = state.bytes > 0 || after.sequence > 0;
    abandon(state, state.options.synced && done > 0 && begun);
    throw cause;
  }
  const { length: size } = bytes;
  return { fd, fresh: state.bytes === 0, file: fileName(state), bytes, size, hashes, after, head };
}

function confirm(state: State, { file, size, hashes, head }: Written): void {
  state.head = head;
  state.bytes += size;
  state.records += hashes.length;
  state.backoffMs = BACKOFF_MS.first;
  state.options.durable?.({ file, hashes, head, end: state.bytes });
}

/** `forks`: a chain that went on would be another one than what may come back. */
function abandon(state: State, forks: boolean): void {
  state.failures++;
  state.retryAtMs = state.clock.monotonicMs() + state.backoffMs;
  state.backoffMs = Math.min(state.backoffMs * 2, BACKOFF_MS.most);
  if (state.fd === null) return;
  const { disk, directory } = state.options;
  try {
    disk.truncate(state.fd, state.bytes);
    // a file without a line keeps its name, or goes: a full disk must not leave one empty file per attempt
    if (forks && state.bytes === 0) disk.remove(join(directory, fileName(state)));
    if (state.bytes > 0) state.number++;
    if (forks) beginChain(state);
  } catch {
    beginChain(state);
  }
  closeFile(state);
}

function beginChain(state: State): void {
  state.boot = newBoot(state.clock, state.random);
  state.number = 1;
  state.head = GENESIS;
}

/** The file to write to. */
function ready(state: State): number {
  check(state);
  const { segmentBytes, segmentMs } = state.options;
  const old = state.bytes > 0 && state.clock.monotonicMs() - state.openedMs >= segmentMs;
  if (state.fd !== null && (state.bytes >= segmentBytes || old)) {
    closeFile(state);
    state.number++;
  }
  return state.fd ?? openFile(state);
}

/** Refuses early while the disk is known to be bad. */
function check(state: State): void {
  if (state.closed) throw new Error("The spool is closed.");
  if (state.clock.monotonicMs() < state.retryAtMs) throw new Error("The spool waits after a failed write.");
  if (freeBytes(state) < state.options.freeBytesMin) throw new Error("The disk is nearly full.");
}

/** As of the last two seconds. @throws Error of the disk */
function freeBytes(state: State): number {
  const now = state.clock.monotonicMs();
  if (now >= state.freeCheckAtMs) {
    state.freeCheckAtMs = now + FREE_CHECK_MS;
    state.freeBytes = state.options.disk.freeBytes(state.options.directory);
  }
  return state.freeBytes;
}

function openFile(state: State): number {
  const { disk, directory } = state.options;
  try {
    const fd = disk.open(join(directory, fileName(state)));
    state.fd = fd;
    state.bytes = 0;
    state.openedMs = state.clock.monotonicMs();
    if (disk.size(fd) !== 0) throw new Error("The new segment is not empty.");
    return fd;
  } catch (cause) {
    abandon(state, false);
    throw cause;
  }
}

function closeFile(state: State): void {
  const { fd } = state;
  state.fd = null;
  state.bytes = 0;
  if (fd === null) return;
  try {
    state.options.disk.close(fd);
  } catch {
    // whatever close says, every line in the file was confirmed before
  }
}

/** Never rotates: it may be asked while the open file is being synced. */
function writable(state: State): boolean {
  try {
    check(state);
    if (state.fd === null) openFile(state);
    return true;
  } catch {
    return false;
  }
}

function fileName({ options, boot, number }: State): string {
  return segmentFile(options.writer, boot, number);
}

/** Sorts by time, and no two starts share one. */
function newBoot(clock: Clock, random: Random): string {
  return Math.floor(clock.nowMs()).toString(16).padStart(12, "0") + random.hex(4);
}
