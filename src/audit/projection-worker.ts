/**
 * The thread that keeps the index of the audit trail and answers from it; runs as the worker of projection.ts. What
 * surprises: whoever asks waits until all that stood on disk at that moment is read, so that a call recorded before the
 * question is in the answer; but not for long: an answer that may lack some says so.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { platform, setPriority } from "node:os";
import { setImmediate as turn } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";
import { realPorts, silent } from "../ports.ts";
import { Refusal } from "../refusal.ts";
import type { RefusalCode } from "../refusal.ts";
import { keyOf, openIndex, removeIndex } from "./projection-index.ts";
import type { Index } from "./projection-index.ts";
import { countCalls, cursorOf, findPage } from "./projection-query.ts";
import type { Asked, PageQuery, Pointer } from "./projection-query.ts";
import { readStats } from "./projection-stats.ts";
import type { CallStats, StatsQuery } from "./projection-stats.ts";
import { TrailChanged, createTail } from "./projection-tail.ts";
import type { Seen, Tail } from "./projection-tail.ts";
import { callIdOf, matches, rowOf } from "./row.ts";
import type { CallRow } from "./row.ts";
import { parseSpan } from "./span.ts";

export type Place = { readonly directory: string; readonly file: string };
export type Question =
  | ({ readonly kind: "page" } & PageQuery)
  | ({ readonly kind: "count" } & Asked)
  | ({ readonly kind: "stats" } & StatsQuery)
  /** Rows of calls that end from now on, until `leave`. */
  | ({ readonly kind: "follow"; readonly follower: number } & Asked)
  | { readonly kind: "leave"; readonly follower: number }
  | { readonly kind: "catchUp" }
  /** Throws the index away and reads everything again. */
  | { readonly kind: "rebuild" };
/** `behindBytes`: what of the trail had not been read in time. */
export type Answer = { readonly behindBytes: number } & (
  | {
      readonly kind: "page";
      readonly rows: readonly CallRow[];
      readonly hasNextPage: boolean;
      readonly endCursor: string | null;
    }
  | { readonly kind: "count"; readonly count: number }
  | ({ readonly kind: "stats" } & CallStats)
  | { readonly kind: "done" }
);
export type Reply =
  | { readonly id: number; readonly answer: Answer }
  | { readonly id: number; readonly refused: RefusalCode; readonly message: string }
  /** `missed`: so many more that ended, and nobody kept. */
  | { readonly follower: number; readonly rows: readonly CallRow[]; readonly missed: number };

const CATCH_UP_MS = 2_000;
const REBUILD_MS = 20_000;
const FOLLOW_MS = 200;
/** Of one look, for one who follows. */
const FOLLOWED_MAX = 500;

const { clock } = realPorts(silent);
const { directory, file: indexFile } = workerData as Place;
// on Linux the priority is this thread's alone: calls come first
if (platform() === "linux") setPriority(5);

type Follower = Asked & { readonly since: ReadonlyMap<string, number>; rows: CallRow[]; missed: number };
const followers = new Map<number, Follower>();
let { index, tail } = begin();

function begin(): { readonly index: Index; readonly tail: Tail } {
  const opened = openIndex(indexFile);
  return { index: opened, tail: createTail(directory, opened, tellFollowers) };
}

function beginAgain(): void {
  index.close();
  removeIndex(indexFile);
  ({ index, tail } = begin());
}

parentPort?.on("message", ({ id, question }: { readonly id: number; readonly question: Question }) => {
  // what else is thrown here ends the thread, and is a failed answer there
  void answer(question).then(
    (told) => post({ id, answer: told }),
    (thrown: unknown) => {
      if (!(thrown instanceof Refusal)) throw thrown;
      post({ id, refused: thrown.code, message: thrown.message });
    },
  );
});
setInterval(() => void (followers.size > 0 && catchUp(FOLLOW_MS)), FOLLOW_MS).unref();

function post(reply: Reply): void {
  parentPort?.postMessage(reply);
}

async function answer(question: Question): Promise<Answer> {
  if (question.kind === "rebuild") beginAgain();
  if (question.kind === "leave") followers.delete(question.follower);
  const behindBytes = await catchUp(question.kind === "rebuild" ? REBUILD_MS : CATCH_UP_MS);
  if (question.kind === "page") return { kind: "page", behindBytes, ...readPage(question) };
  if (question.kind === "count") return { kind: "count", behindBytes, count: countCalls(index, question) };
  if (question.kind === "stats") return { kind: "stats", behindBytes, ...readStats(index, question) };
  if (question.kind === "follow") follow(question);
  return { kind: "done", behindBytes };
}

/** Reads what stands on disk now, as long as there is time; how many bytes are left. */
async function catchUp(forMs: number): Promise<number> {
  const endMs = clock.monotonicMs() + forMs;
  attempt(() => {
    tail.look();
    return true;
  });
  while (attempt(() => tail.step())) {
    // others may ask meanwhile
    await turn();
    if (clock.monotonicMs() > endMs) break;
  }
  for (const [follower, kept] of followers) {
    const { rows, missed } = kept;
    if (rows.length === 0 && missed === 0) continue;
    Object.assign(kept, { rows: [], missed: 0 });
    post({ follower, rows, missed });
  }
  return tail.behind();
}

/** An index that is damaged, or of a trail that is not what it was, is built anew. */
function attempt(work: () => boolean): boolean {
  try {
    return work();
  } catch (cause) {
    if (!(cause instanceof TrailChanged) && !isDamage(cause)) throw cause;
    beginAgain();
    tail.look();
    return true;
  }
}

/** SQLITE_CORRUPT and SQLITE_NOTADB; a full disk, say, is no reason to begin again. */
function isDamage(cause: unknown): boolean {
  const code = (cause as { readonly errcode?: unknown }).errcode;
  return typeof code === "number" && [11, 26].includes(code & 0xff);
}

function readPage(query: PageQuery) {
  const pointers = findPage(index, query);
  const shown = pointers.slice(0, query.first);
  const files = new Map<number, number>();
  try {
    const rows = shown.flatMap((pointer) => rowAt(pointer, files) ?? []);
    const last = shown.at(-1);
    return { rows, hasNextPage: pointers.length > shown.length, endCursor: last === undefined ? null : cursorOf(last) };
  } finally {
    for (const descriptor of files.values()) closeSync(descriptor);
  }
}

/** From the record itself; null where it is gone, as with a file that was removed a moment ago. */
function rowAt(pointer: Pointer, files: Map<number, number>): CallRow | null {
  const { segment, offset, bytes, at, n } = pointer;
  const file = tail.fileOf(segment);
  if (file === null) return null;
  try {
    const descriptor = files.get(segment) ?? openSync(file.path, "r");
    files.set(segment, descriptor);
    const line = Buffer.alloc(bytes);
    readSync(descriptor, line, 0, bytes, offset);
    const span = parseSpan(line.toString("latin1"));
    if (span === null) return null;
    const key = keyOf({ callId: callIdOf(span), writer: file.writer }, span);
    return key[0] === at && key[1] === n ? { ...rowOf(span, cursorOf(pointer)), writer: file.writer } : null;
  } catch {
    return null;
  }
}

function follow({ follower, filter, scope }: Question & { readonly kind: "follow" }): void {
  followers.set(follower, { filter, scope, since: tail.sizes(), rows: [], missed: 0 });
}

function tellFollowers(row: CallRow, { writer, file: name, end }: Seen): void {
  for (const follower of followers.values()) {
    const isNew = end > (follower.since.get(`${writer}/${name}`) ?? 0);
    if (!isNew || !matches(row, follower.scope) || !matches(row, follower.filter)) continue;
    if (follower.rows.length < FOLLOWED_MAX) follower.rows.push(row);
    else follower.missed++;
  }
}
