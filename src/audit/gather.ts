/**
 * The records of other writers, as they wrote them: a control plane keeps each sidecar's chain in a folder of its own,
 * byte for byte, so that it verifies like its own. What surprises: lines arrive at least once and in order; one that is
 * there already is passed over, and one that does not follow the last is refused, whoever sends it.
 */
import { mkdir, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { JsonObject } from "../model.ts";
import { Refusal } from "../refusal.ts";
import { realDisk } from "./disk.ts";
import { noteGap } from "./elsewhere.ts";
import type { Elsewhere } from "./elsewhere.ts";
import { GENESIS, digestOf, linkOf } from "./link.ts";
import type { Head } from "./link.ts";
import { linesBackwards } from "./lines.ts";
import { LINE_BYTES_MAX, listSegments, parseSegment } from "./segments.ts";
import type { SegmentName } from "./segments.ts";
import { parseSpan } from "./span.ts";

export type Gather = {
  /**
   * Appends the lines of one file of one writer; resolves once they are on disk.
   * @throws Refusal invalid_request, conflict where they do not follow what is there, overloaded, audit_unavailable
   */
  readonly take: (writer: string, file: string, spans: readonly JsonObject[]) => Promise<void>;
  /** The same of lines as they are. `elsewhere`: what another gatherer has of the chain, and is not missed here. */
  readonly keep: (writer: string, file: string, lines: readonly string[], elsewhere: Elsewhere | null) => Promise<void>;
  /** Runs while nothing is written. */
  readonly alone: <Value>(work: () => Promise<Value>) => Promise<Value>;
  /** Folder of each writer. */
  readonly folders: () => Promise<ReadonlyMap<string, string>>;
};

/** What a chain ends with here, or with what stands elsewhere. */
type End = { readonly number: number; readonly bytes: number; readonly head: Head; readonly gap?: boolean };

/** Less than that, and what is left belongs to this gateway's own records: a sidecar cannot close its gate. */
const FREE_BYTES_MIN = 256 * 1024 * 1024;
/** One for each start of a sidecar. */
const CHAINS_MAX = 10_000;
const ENDS_MAX = 1_000;
/** Batches in line: a disk that hangs must not keep all that sidecars send again and again. */
const WAITING_MAX = 64;

export const GATHERED = "gathered";
export const WRITER = /^[a-z0-9][a-z0-9.-]{0,62}$/;

type Lines = { readonly segment: SegmentName; readonly lines: readonly string[]; readonly elsewhere: Elsewhere | null };

/** `kept`: lines of that chain are on disk. */
export function createGather(directory: string, kept: (writer: string, chain: string) => void = () => {}): Gather {
  const root = join(directory, GATHERED);
  const ends = new Map<string, End>();
  let last: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  const write = async (writer: string, { segment, lines, elsewhere }: Lines): Promise<void> => {
    const folder = join(root, writer);
    const id = `${writer}/${segment.chain}`;
    const end = ends.get(id) ?? (await endOf(folder, segment.chain));
    const { sequence: after } = end.head;
    const gap = elsewhere !== null && elsewhere.sequence > after ? { ...elsewhere, after } : null;
    const next = followed(gap === null ? end : { ...end, head: gap, gap: true }, segment, lines);
    ends.delete(id);
    if (next.text === "") ends.set(id, end);
    else {
      if (realDisk.freeBytes(directory) < FREE_BYTES_MIN) throw new Error("The disk is nearly full.");
      if (gap !== null) await noteGap(folder, segment.chain, gap);
      await append(folder, segment.file, next);
      ends.set(id, next.end);
      kept(writer, segment.chain);
    }
    for (const oldest of ends.keys()) if (ends.size > ENDS_MAX) ends.delete(oldest);
  };
  // one at a time: two batches of one writer must not meet in one file
  const alone: Gather["alone"] = (work) => {
    const done = last.then(work);
    last = done.catch(() => undefined);
    return done;
  };
  const keep: Gather["keep"] = (writer, file, lines, elsewhere) => {
    const segment = parseSegment(file);
    if (!WRITER.test(writer) || segment === null || lines.length === 0)
      throw new Refusal("invalid_request", "The records name no file of an audit trail.");
    if (waiting >= WAITING_MAX)
      throw new Refusal("overloaded", "Too many records wait for the disk.", { retryAfterMs: 1000 });
    waiting++;
    const done = alone(() => write(writer, { segment, lines, elsewhere })).finally(() => waiting--);
    return done.catch((cause: unknown) => {
      if (cause instanceof Refusal) throw cause;
      throw new Refusal("audit_unavailable", "The records could not be kept.", { cause });
    });
  };
  return {
    keep,
    alone,
    take: (writer, file, spans) => keep(writer, file, spans.map(lineOf), null),
    folders: async () => {
      const found = await readdir(root, { withFileTypes: true }).catch(() => []);
      const names = found.filter((one) => one.isDirectory() && WRITER.test(one.name)).map(({ name }) => name);
      return new Map(names.map((name) => [name, join(root, name)]));
    },
  };
}

/** The line that this was: the spool writes JSON without spaces, in ASCII. */
function lineOf(span: JsonObject): string {
  return JSON.stringify({ resourceSpans: [span] }).replace(
    /[\x7f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** As the spool writes: a character is a byte, and none is a line's end. */
const ASCII = /^[\x20-\x7e]*$/;

type Following = { readonly text: string; readonly from: number; readonly end: End };

/** @throws Refusal conflict */
function followed(end: End, segment: SegmentName, lines: readonly string[]): Following {
  let { head } = end;
  const fresh: string[] = [];
  for (const line of lines) {
    const link = line.length > LINE_BYTES_MAX || !ASCII.test(line) ? null : linkOf(Buffer.from(line, "latin1"));
    // whatever is kept here will be read by people: it must be a record, not only end like one
    if (link === null || parseSpan(line) === null)
      throw new Refusal("invalid_request", "A record is not a line of an audit trail.");
    if (link.sequence <= head.sequence) continue;
    if (link.sequence !== head.sequence + 1 || link.previous !== head.hash) throw doesNotFollow(head);
    head = { sequence: link.sequence, hash: digestOf(line) };
    fresh.push(line);
  }
  if (fresh.length === 0) return { text: "", from: end.bytes, end };
  const same = segment.number === end.number;
  const later = end.gap === true ? segment.number > end.number : segment.number === end.number + 1;
  if (!same && !later) throw doesNotFollow(head);
  const text = fresh.map((line) => `${line}\n`).join("");
  const from = same ? end.bytes : 0;
  return { text, from, end: { number: segment.number, bytes: from + text.length, head } };
}

function doesNotFollow({ sequence }: Head): Refusal {
  return new Refusal("conflict", `The records do not follow record ${sequence} of their chain.`);
}

/** What a crash left behind the last whole line goes first. */
async function append(folder: string, file: string, { text, from }: Following): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const handle = await open(join(folder, file), "a", 0o600);
  try {
    const { size } = await handle.stat();
    if (size < from) throw new Error("A file of the trail is shorter than it was.");
    if (size > from) await handle.truncate(from);
    await handle.appendFile(text, "latin1");
    await handle.datasync();
    // a file whose name is lost with the power is lost too
    if (from === 0) await realDisk.syncDirectory(folder);
  } finally {
    await handle.close();
  }
}

async function endOf(folder: string, chain: string): Promise<End> {
  const segments = await listSegments(folder).catch(() => []);
  const own = segments.filter((segment) => segment.chain === chain);
  if (own.length === 0 && new Set(segments.map((segment) => segment.chain)).size >= CHAINS_MAX)
    throw new Refusal("invalid_request", "There are too many chains of this writer.");
  for (const { file, number } of own.toReversed())
    for await (const lines of linesBackwards(join(folder, file), Number.MAX_SAFE_INTEGER)) {
      const newest = lines[0];
      const link = newest === undefined ? null : linkOf(Buffer.from(newest.text, "latin1"));
      if (newest === undefined || link === null) continue;
      const head = { sequence: link.sequence, hash: digestOf(newest.text) };
      return { number, bytes: newest.offset + newest.text.length + 1, head };
    }
  return { number: 0, bytes: 0, head: GENESIS };
}
