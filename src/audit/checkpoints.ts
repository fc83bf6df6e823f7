/**
 * When is a chain signed? Every so many records, every so often, at the end of each file and of each chain, and now and then
 * while nothing happens, which says that nothing happened. What surprises: it is done between two records, since a signature
 * costs less than handing it to anyone; and what a crash left unsigned is signed by the next start, as it is found.
 */
import { join } from "node:path";
import type { SigningKey } from "../ed25519.ts";
import type { Ports } from "../ports.ts";
import type { Durable } from "./chain.ts";
import type { Ended, Signed } from "./checkpoint.ts";
import type { SpoolDisk } from "./disk.ts";
import { append, leafOf, rootOf } from "./merkle.ts";
import { appendNote, signTree } from "./notes.ts";
import { resume } from "./resume.ts";
import { NOTES, parseSegment } from "./segments.ts";
import { emptyTree } from "./tree.ts";
import type { Tree } from "./tree.ts";

export type CheckpointOptions = {
  /** The spool's. */
  readonly directory: string;
  readonly writer: string;
  readonly disk: SpoolDisk;
  /** The first signs; what one of them signed is gone on from. */
  readonly keys: readonly [SigningKey, ...SigningKey[]];
  readonly every: number;
  readonly intervalMs: number;
  /** Whether what is signed must survive the machine. */
  readonly sync: boolean;
  readonly publish: (signed: Signed) => void;
};
export type CheckpointStatus = {
  /** Records of this start, and how many of them a checkpoint covers. */
  readonly records: number;
  readonly covered: number;
  /** RFC 3339; null before the first. */
  readonly time: string | null;
  /** Why the last one could not be written; null while all goes well. */
  readonly lastError: string | null;
};
export type Checkpoints = {
  readonly add: (lines: Durable) => void;
  readonly status: () => CheckpointStatus;
  /** Of the chain that grows, no line before this one is kept: signs so. @throws Error of the disk */
  readonly forget: (first: number) => void;
  /** Signs what is not yet signed. */
  readonly close: () => Promise<void>;
};

/** So many intervals after the last checkpoint an idle chain gets another of the same size. */
const IDLE_INTERVALS = 30;
const CLOSE_MAX_MS = 1_000;

/** A chain that grows, and what is signed of it. */
type Growing = Tree & {
  previous: Ended | null;
  /** What it follows became known after it was last signed. */
  unsaid: boolean;
  first: number;
  covered: number;
  signedMs: number;
  time: string | null;
  fd: number | null;
};
type State = {
  readonly options: CheckpointOptions;
  readonly ports: Ports;
  growing: Growing | null;
  /** What the first chain of this start follows; null also while it is read how the last start ended. */
  before: Ended | null;
  lastError: string | null;
};

export function openCheckpoints(options: CheckpointOptions, ports: Ports): Checkpoints {
  const state: State = { options, ports, growing: null, before: null, lastError: null };
  // chains that begin from now on are this start's own
  const since = Math.floor(ports.clock.nowMs());
  const resuming = resume(options, ports, since)
    .then((before) => learn(state, before))
    .catch((cause: unknown) => ports.log.warn({ err: cause }, "how the audit trail ended before cannot be read"));
  const timer = setInterval(tick, options.intervalMs, state).unref();
  return {
    add: (lines) => add(state, lines),
    status: () => {
      const { growing, lastError } = state;
      return {
        records: growing?.range.size ?? 0,
        covered: growing?.covered ?? 0,
        time: growing?.time ?? null,
        lastError,
      };
    },
    forget: (first) => {
      const { growing } = state;
      if (growing === null) return;
      growing.first = first;
      mark(state, growing);
      if (state.lastError !== null) throw new Error("What is removed could not be signed.");
    },
    close: async () => {
      clearInterval(timer);
      await Promise.race([resuming, new Promise((late) => setTimeout(late, CLOSE_MAX_MS).unref())]);
      end(state);
    },
  };
}

function learn(state: State, before: Ended | null): void {
  const { growing } = state;
  state.before = before;
  if (before === null || growing === null || growing.previous !== null) return;
  Object.assign(growing, { previous: before, unsaid: true });
}

function add(state: State, { file, hashes, head, end: bytes }: Durable): void {
  const growing = state.growing?.file === file ? state.growing : turn(state, file);
  for (const hash of hashes) append(growing.range, leafOf(hash));
  Object.assign(growing, { head, bytes });
  if (growing.range.size - growing.covered >= state.options.every) mark(state, growing);
}

/** Another file: the end of the one before is signed, so that what comes after can be checked without it. */
function turn(state: State, file: string): Growing {
  const chain = parseSegment(file)?.chain ?? file;
  let { growing } = state;
  if (growing !== null && !isSigned(growing)) mark(state, growing);
  if (growing?.chain !== chain) {
    const previous = end(state) ?? state.before;
    growing = { ...emptyTree(chain), previous, unsaid: false, first: 1, covered: 0, signedMs: 0, time: null, fd: null };
    state.growing = growing;
  }
  growing.file = file;
  return growing;
}

function tick(state: State): void {
  const { growing, options, ports } = state;
  if (growing === null || growing.range.size === 0) return;
  if (isSigned(growing) && ports.clock.monotonicMs() - growing.signedMs < IDLE_INTERVALS * options.intervalMs) return;
  mark(state, growing);
}

function isSigned({ covered, range, unsaid }: Growing): boolean {
  return covered === range.size && !unsaid;
}

/** How the chain that grew until now ended. */
function end(state: State): Ended | null {
  const { growing } = state;
  state.growing = null;
  if (growing === null) return null;
  if (!isSigned(growing)) mark(state, growing);
  if (growing.fd !== null) closeQuietly(state, growing.fd);
  return { chain: growing.chain, size: growing.range.size, root: rootOf(growing.range).toString("base64") };
}

function mark(state: State, growing: Growing): void {
  const { options, ports } = state;
  const signed = signTree(growing, growing, options.keys[0], ports.clock);
  try {
    growing.fd ??= options.disk.open(join(options.directory, growing.chain + NOTES));
    appendNote(options, growing.fd, signed.note);
    Object.assign(growing, { covered: growing.range.size, unsaid: false, time: signed.checkpoint.time });
    growing.signedMs = ports.clock.monotonicMs();
    state.lastError = null;
    options.publish(signed);
  } catch (cause) {
    // it is tried again with the next ones: the records themselves are safe
    if (growing.fd !== null) closeQuietly(state, growing.fd);
    growing.fd = null;
    if (state.lastError === null) ports.log.warn({ err: cause }, "a checkpoint of the audit could not be written");
    state.lastError = cause instanceof Error && "code" in cause ? String(cause.code) : "the disk took it not";
  }
}

function closeQuietly({ options }: State, fd: number): void {
  try {
    options.disk.close(fd);
  } catch {
    // every note was written before
  }
}
