/**
 * How the index follows the trail: every file of every writer from where it was read to, a slice at a time. What
 * surprises: where much waits, the newest file comes first, so that what was recorded a moment ago is found while a year
 * of records is still being read; and a file that is not what it was (the spool cuts back what was never durable) means to begin again.
 */
import { closeSync, openSync, readSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { GATHERED, WRITER } from "./gather.ts";
import type { Index } from "./projection-index.ts";
import { callIdOf, kindOf, rowOf } from "./row.ts";
import type { CallRow } from "./row.ts";
import { LINE_BYTES_MAX, isAfter, parseSegment } from "./segments.ts";
import type { SegmentName } from "./segments.ts";
import { parseSpan } from "./span.ts";

const SLICE_BYTES = 8 * 1024 * 1024;
/** What is less is read oldest first: whoever follows gets calls in order. */
const IN_ORDER_BYTES_MAX = 64 * 1024 * 1024;
const TAIL_BYTES = 64;
const NEWLINE = 0x0a;

/** The index must be thrown away: a file of the trail is another than was read. */
export class TrailChanged extends Error {
  override readonly name = "TrailChanged";
}

/** Where in which file a record ended: by writer and file. */
export type Seen = { readonly writer: string; readonly file: string; readonly end: number };
export type Tail = {
  /** Looks at the disk, and forgets files that are gone. @throws Error of the disk */
  readonly look: () => void;
  /** Reads a slice of a file that has something new; false where none has. @throws TrailChanged, Error */
  readonly step: () => boolean;
  /** Bytes that the last look found and nobody has read. */
  readonly behind: () => number;
  /** Sizes at the last look, by `writer/file`. */
  readonly sizes: () => ReadonlyMap<string, number>;
  /** The file of a row's record. */
  readonly fileOf: (segment: number) => { readonly path: string; readonly writer: string | null } | null;
};

type File = SegmentName & {
  readonly id: number;
  readonly writer: string;
  readonly path: string;
  read: number;
  tail: string;
  size: number;
  /** It has a successor and was read to its end: it cannot grow any more. */
  done: boolean;
  /** What was read of it, maybe by an earlier process, is what stands there. */
  checked: boolean;
};
type State = {
  readonly directory: string;
  readonly index: Index;
  /** By `writer/file`. */
  readonly files: Map<string, File>;
  readonly byId: Map<number, File>;
  lastId: number;
};

/** `onRow`: each call that ended, as it is read. */
export function createTail(directory: string, index: Index, onRow: (row: CallRow, seen: Seen) => void): Tail {
  const state: State = { directory, index, files: new Map(), byId: new Map(), lastId: 0 };
  for (const { id, writer, file, bytes, tail } of index.segments()) {
    state.lastId = Math.max(state.lastId, id);
    add(state, { id, writer, file, read: bytes, tail });
  }
  const buffer = Buffer.alloc(SLICE_BYTES);
  const behind = (): readonly File[] => [...state.files.values()].filter(({ read, size }) => read < size);
  return {
    look: () => look(state),
    step: () => {
      const waiting = behind();
      const much = waiting.reduce((sum, { read, size }) => sum + size - read, 0) > IN_ORDER_BYTES_MAX;
      const next = waiting.reduce<File | null>(
        (one, other) => (one === null || isAfter(other, one) === much ? other : one),
        null,
      );
      if (next === null) return false;
      readSlice(state, next, { buffer, onRow });
      return true;
    },
    behind: () => behind().reduce((sum, { read, size }) => sum + size - read, 0),
    sizes: () => new Map([...state.files].map(([key, { size, read }]) => [key, Math.max(size, read)])),
    fileOf: (segment) => {
      const file = state.byId.get(segment);
      return file === undefined ? null : { path: file.path, writer: writerOf(file) };
    },
  };
}

type Known = {
  readonly id: number;
  readonly writer: string;
  readonly file: string;
  readonly read: number;
  readonly tail: string;
};

function add({ directory, files, byId }: State, { id, writer, file, read, tail }: Known): void {
  const segment = parseSegment(file);
  const folder = writer === "" ? directory : join(directory, GATHERED, writer);
  if (segment === null) return;
  const known: File = {
    ...segment,
    id,
    writer,
    path: join(folder, file),
    read,
    tail,
    size: 0,
    done: false,
    checked: read === 0,
  };
  files.set(`${writer}/${file}`, known);
  byId.set(id, known);
}

function look(state: State): void {
  const { files, byId, index } = state;
  const found = new Map([...foldersOf(state.directory)].map(([writer, folder]) => [writer, namesIn(folder)]));
  for (const [key, { id, writer, file }] of files) {
    if (found.get(writer)?.has(file) === true) continue;
    index.whole(() => index.dropSegment(id));
    files.delete(key);
    byId.delete(id);
  }
  for (const [writer, names] of found) {
    for (const [file, { number }] of names) {
      const key = `${writer}/${file}`;
      if (!files.has(key)) add(state, { id: ++state.lastId, writer, file, read: 0, tail: "" });
      const known = files.get(key);
      if (known === undefined || known.done) continue;
      known.size = statSync(known.path).size;
      if (known.size < known.read) throw new TrailChanged(file);
      if (!known.checked) bytesOf(known, Buffer.alloc(TAIL_BYTES));
      known.checked = true;
      known.done = known.read === known.size && names.has(file.replace(/\d+\.jsonl$/, (end) => successor(end, number)));
    }
  }
}

function writerOf({ writer }: File): string | null {
  return writer === "" ? null : writer;
}

function successor(end: string, number: number): string {
  return `${String(number + 1).padStart(end.length - ".jsonl".length, "0")}.jsonl`;
}

function foldersOf(directory: string): ReadonlyMap<string, string> {
  const gathered = join(directory, GATHERED);
  const names = readdirSync(directory).includes(GATHERED) ? readdirSync(gathered, { withFileTypes: true }) : [];
  const writers = names.filter((one) => one.isDirectory() && WRITER.test(one.name));
  return new Map([["", directory], ...writers.map(({ name }) => [name, join(gathered, name)] as const)]);
}

function namesIn(folder: string): ReadonlyMap<string, SegmentName> {
  const segments = readdirSync(folder).map(parseSegment);
  return new Map(segments.filter((one) => one !== null).map((one) => [one.file, one]));
}

type Reading = { readonly buffer: Buffer; readonly onRow: (row: CallRow, seen: Seen) => void };

function readSlice({ index }: State, file: File, { buffer, onRow }: Reading): void {
  const bytes = bytesOf(file, buffer);
  const end = bytes.lastIndexOf(NEWLINE) + 1;
  if (end === 0) {
    // what a crash tore, or what is being written; or no lines at all, which nothing of ours is
    if (bytes.length >= LINE_BYTES_MAX) file.done = true;
    file.size = file.read;
    return;
  }
  const rows: (() => void)[] = [];
  index.whole(() => {
    for (const { row, at } of indexed(index, file, bytes.subarray(0, end)))
      rows.push(() => onRow(row, { writer: file.writer, file: file.file, end: at }));
    file.read += end;
    // what is written meanwhile is the next look's: whoever asks would else wait as long as others call
    file.size = Math.max(file.size, file.read);
    file.tail = bytes.toString("latin1", Math.max(0, end - TAIL_BYTES), end);
    index.saveSegment({ id: file.id, writer: file.writer, file: file.file, bytes: file.read, tail: file.tail });
  });
  for (const told of rows) told();
}

/** What follows that which was read already. @throws TrailChanged where that is not what stands there */
function bytesOf(file: File, buffer: Buffer): Buffer {
  const descriptor = openSync(file.path, "r");
  try {
    const before = file.tail.length;
    const length = readSync(descriptor, buffer, 0, buffer.length, file.read - before);
    if (length < before || buffer.toString("latin1", 0, before) !== file.tail) throw new TrailChanged(file.file);
    return buffer.subarray(before, length);
  } finally {
    closeSync(descriptor);
  }
}

/** As line.ts writes it: the kind of record, then the call. */
const INTENT =
  /"portcullis\.record","value":\{"stringValue":"intent"\}\},\{"key":"portcullis\.call\.id","value":\{"stringValue":"([0-9a-f-]{36})"/;

type Line = { readonly text: string; readonly offset: number };

/** Puts the calls of whole lines into the index, and gives those that ended, with where the record ends. */
function indexed(index: Index, file: File, bytes: Buffer): readonly { readonly row: CallRow; readonly at: number }[] {
  // nearly every intent is followed by its outcome at once, and then needs no row of its own
  const open = new Map<string, Line>();
  const ended: { readonly row: CallRow; readonly at: number }[] = [];
  const put = ({ text, offset }: Line): CallRow | null => {
    const span = parseSpan(text);
    if (span === null || kindOf(span) === "") return null;
    open.delete(callIdOf(span));
    const row = { ...rowOf(span, ""), writer: writerOf(file) };
    index.put(row, span, { segment: file.id, offset, bytes: text.length });
    return kindOf(span) === "intent" ? null : row;
  };
  for (let from = 0; from < bytes.length;) {
    const to = bytes.indexOf(NEWLINE, from);
    const line = { text: bytes.toString("latin1", from, to), offset: file.read + from };
    from = to + 1;
    const [, callId] = INTENT.exec(line.text) ?? [];
    if (callId !== undefined) open.set(callId, line);
    else {
      const row = put(line);
      if (row !== null) ended.push({ row, at: line.offset + line.text.length + 1 });
    }
  }
  for (const line of [...open.values()]) put(line);
  return ended;
}
