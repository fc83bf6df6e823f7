/**
 * The index over the audit trail, in SQLite: a narrow row for each call, with what it is found by and where its record
 * stands. What surprises: it holds no content, so that a row is shown from the record itself and can never be less masked;
 * and a row's key is made from the record alone (when it came in, its call id), so that records may be read in any order,
 * twice, or all over again, and every cursor stays good.
 */
import { hash } from "node:crypto";
import { closeSync, fchmodSync, openSync, rmSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import type { StatementSync } from "node:sqlite";
import type { CallRow } from "./row.ts";
import type { RecordedSpan } from "./span.ts";

/** Another one is thrown away and built anew. */
const FORMAT = 2;
const WORDS_MAX = 20_000;
const CACHE_KB = 16 * 1024;

export type Index = {
  readonly db: DatabaseSync;
  readonly statement: (sql: string) => StatementSync;
  /** The number that a text has here; null for one that no record holds. */
  readonly find: (text: string) => number | null;
  readonly text: (word: number) => string;
  readonly put: (row: CallRow, span: RecordedSpan, place: RecordPlace) => void;
  /** All or nothing. */
  readonly whole: (work: () => void) => void;
  readonly segments: () => readonly IndexedSegment[];
  readonly saveSegment: (segment: IndexedSegment) => void;
  /** Its rows too, and the words that only they held. */
  readonly dropSegment: (id: number) => void;
  readonly close: () => void;
};
export type RecordPlace = { readonly segment: number; readonly offset: number; readonly bytes: number };
/** How far a file of the trail has been read. */
export type IndexedSegment = {
  readonly id: number;
  /** "" for this gateway's own. */
  readonly writer: string;
  readonly file: string;
  readonly bytes: number;
  /** What stands before that: another text there means another file. */
  readonly tail: string;
};

export const OUTCOMES = ["unknown", "success", "error", "refused"] as const;
export const DECISIONS = [null, "allow", "deny"] as const;

/** Opens the file, or makes it anew where it is none of ours, damaged, or of another format. */
export function openIndex(file: string): Index {
  try {
    return open(file);
  } catch {
    removeIndex(file);
    return open(file);
  }
}

export function removeIndex(file: string): void {
  for (const suffix of ["", "-wal", "-shm", "-journal"]) rmSync(`${file}${suffix}`, { force: true });
}

function open(file: string): Index {
  // before SQLite opens it: its side files get the mode of this one
  const descriptor = openSync(file, "a");
  fchmodSync(descriptor, 0o600);
  closeSync(descriptor);
  const db = new DatabaseSync(file);
  try {
    // what was forgotten must not stay on the disk
    db.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -${CACHE_KB}`,
    );
    prepare(db);
  } catch (cause) {
    db.close();
    throw cause;
  }
  const statements = new Map<string, StatementSync>();
  const statement = (sql: string): StatementSync => {
    const known = statements.get(sql) ?? db.prepare(sql);
    // filters make many texts, of which each is quick to prepare again
    if (statements.size >= STATEMENTS_MAX) statements.clear();
    statements.set(sql, known);
    return known;
  };
  const words = createWords(db);
  return {
    db,
    statement,
    ...words,
    put: createPut(db, words.number),
    whole: (work) => whole(db, words.forget, work),
    ...segmentsOf(db, words.forget),
    close: () => db.close(),
  };
}

const STATEMENTS_MAX = 200;

function prepare(db: DatabaseSync): void {
  const format = Number(db.prepare("PRAGMA user_version").get()?.["user_version"]);
  const tables = Number(db.prepare("SELECT count(*) AS count FROM sqlite_schema").get()?.["count"]);
  if (tables > 0 && format !== FORMAT) throw new Error("The index has another format.");
  db.exec(SCHEMA);
}

/** `at` in microseconds, `n` of the call's id and its writer. In every index below, both follow what is named. */
const SCHEMA = `
  CREATE TABLE IF NOT EXISTS segment (id INTEGER PRIMARY KEY, writer TEXT NOT NULL, file TEXT NOT NULL, bytes INTEGER NOT NULL, tail TEXT NOT NULL, UNIQUE (writer, file)) STRICT;
  CREATE TABLE IF NOT EXISTS word (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, last INTEGER NOT NULL) STRICT;
  CREATE TABLE IF NOT EXISTS reason (list INTEGER NOT NULL, word INTEGER NOT NULL, PRIMARY KEY (list, word)) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS reason_word ON reason (word);
  CREATE TABLE IF NOT EXISTS call (
    at INTEGER NOT NULL, n INTEGER NOT NULL, segment INTEGER NOT NULL, offset INTEGER NOT NULL, bytes INTEGER NOT NULL,
    principal INTEGER, behalf INTEGER, tenant INTEGER, door INTEGER, operation INTEGER, tool INTEGER, server INTEGER,
    version INTEGER, error INTEGER, policy INTEGER, reasons INTEGER, writer INTEGER, decision INTEGER, outcome INTEGER NOT NULL,
    count INTEGER NOT NULL, band INTEGER, trace BLOB NOT NULL, PRIMARY KEY (at, n)) STRICT, WITHOUT ROWID;
  CREATE INDEX IF NOT EXISTS call_principal ON call (principal, at, n);
  CREATE INDEX IF NOT EXISTS call_behalf ON call (behalf, at, n) WHERE behalf IS NOT NULL;
  CREATE INDEX IF NOT EXISTS call_tenant ON call (tenant, at, n);
  CREATE INDEX IF NOT EXISTS call_operation ON call (operation, at, n);
  CREATE INDEX IF NOT EXISTS call_tool ON call (tool, at, n);
  CREATE INDEX IF NOT EXISTS call_server ON call (server, at, n);
  CREATE INDEX IF NOT EXISTS call_error ON call (error, at, n) WHERE error IS NOT NULL;
  CREATE INDEX IF NOT EXISTS call_policy ON call (policy, at, n);
  CREATE INDEX IF NOT EXISTS call_reasons ON call (reasons, at, n);
  CREATE INDEX IF NOT EXISTS call_writer ON call (writer, at, n) WHERE writer IS NOT NULL;
  CREATE INDEX IF NOT EXISTS call_outcome ON call (outcome, at, n);
  CREATE INDEX IF NOT EXISTS call_trace ON call (trace, at, n);
  PRAGMA user_version = ${FORMAT}`;

function whole(db: DatabaseSync, forget: () => void, work: () => void): void {
  db.exec("BEGIN IMMEDIATE");
  try {
    work();
    db.exec("COMMIT");
  } catch (cause) {
    // words that were numbered meanwhile are not there
    forget();
    if (db.isTransaction) db.exec("ROLLBACK");
    throw cause;
  }
}

type Numbered = { readonly id: number; last: number };
type Numbering = (text: string | null, segment: number) => number | null;

/** Texts by number: a million rows name a few hundred of them. Each knows the last file that held it. */
function createWords(db: DatabaseSync) {
  const known = new Map<string, Numbered>();
  const select = db.prepare("SELECT id, last FROM word WHERE text = ?");
  const insert = db.prepare("INSERT INTO word (text, last) VALUES (?, ?)");
  const touch = db.prepare("UPDATE word SET last = ? WHERE id = ?");
  const read = db.prepare("SELECT text FROM word WHERE id = ?");
  const look = (text: string): Numbered | null => {
    const row = select.get(text);
    return row === undefined ? null : { id: Number(row["id"]), last: Number(row["last"]) };
  };
  const number: Numbering = (text, segment) => {
    if (text === null) return null;
    const found = known.get(text) ??
      look(text) ?? {
        id: Number(insert.run(text, segment).lastInsertRowid),
        last: segment,
      };
    if (found.last < segment) {
      touch.run(segment, found.id);
      found.last = segment;
    }
    if (known.size >= WORDS_MAX) known.clear();
    known.set(text, found);
    return found.id;
  };
  return {
    number,
    forget: () => known.clear(),
    find: (text: string) => known.get(text)?.id ?? look(text)?.id ?? null,
    text: (word: number) => String(read.get(word)?.["text"] ?? ""),
  };
}

/** An outcome takes the place of its intent, and nothing takes that of an outcome. */
function createPut(db: DatabaseSync, number: Numbering): Index["put"] {
  const insert = db.prepare(`
    INSERT INTO call VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (at, n) DO UPDATE SET segment = excluded.segment, offset = excluded.offset, bytes = excluded.bytes,
      tool = excluded.tool, server = excluded.server, version = excluded.version, error = excluded.error,
      reasons = excluded.reasons, decision = excluded.decision, outcome = excluded.outcome, count = excluded.count, band = excluded.band
    WHERE call.outcome = 0 AND call.writer IS excluded.writer`);
  const name = db.prepare("INSERT OR IGNORE INTO reason VALUES (?, ?)");
  return (row, span, { segment, offset, bytes }) => {
    const [at, n] = keyOf(row, span);
    const word = (text: string | null): number | null => number(text, segment);
    const reasons = row.reasons.length === 0 ? null : word(JSON.stringify(row.reasons));
    for (const reason of row.reasons) name.run(reasons, word(reason));
    const { principal, onBehalfOf, tenant, tool, server, version, errorType, policyRevision, writer } = row;
    const who = [word(principal), word(onBehalfOf), word(tenant), word(row.interface), word(row.operation)];
    const what = [
      word(tool),
      word(server),
      word(version),
      word(errorType),
      word(policyRevision),
      reasons,
      word(writer),
    ];
    const outcome = OUTCOMES.indexOf(row.outcome);
    const decision = row.decision === null ? null : DECISIONS.indexOf(row.decision);
    const band = outcome === 0 ? null : bandOf(row.durationMs);
    const trace = Buffer.from(row.traceId, "hex");
    insert.run(at, n, segment, offset, bytes, ...who, ...what, decision, outcome, row.count, band, trace);
  };
}

/** When the call came in, in microseconds, and what tells it from others of that moment. */
export function keyOf(
  { callId, writer }: Pick<CallRow, "callId" | "writer">,
  { start, spanId }: RecordedSpan,
): readonly [number, number] {
  const random = /[0-9a-f]{12}$/.exec(callId)?.[0] ?? /[0-9a-f]{12}$/.exec(spanId)?.[0] ?? "0";
  return [Number(start.slice(0, -3)), numberOf(random, writer)];
}

/** The random end of an id, of a sidecar's mixed with its name: none can choose one that takes the place of another's. */
export function numberOf(random: string, writer: string | null): number {
  if (writer === null) return Number.parseInt(random, 16);
  return Number.parseInt(hash("sha256", `${writer}\n${random}`, "hex").slice(0, 12), 16);
}

/** Durations by sixteenths of an octave from a microsecond on: a percentile is right within 2.2 %. */
const BANDS_PER_OCTAVE = 16;

function bandOf(durationMs: number): number {
  return Math.max(0, Math.round(BANDS_PER_OCTAVE * Math.log2(Math.max(durationMs * 1000, 1))));
}

export function durationOf(band: number): number {
  return 2 ** (band / BANDS_PER_OCTAVE) / 1000;
}

function segmentsOf(db: DatabaseSync, forget: () => void) {
  const save = db.prepare(
    "INSERT INTO segment VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET bytes = excluded.bytes, tail = excluded.tail",
  );
  return {
    segments: () =>
      db
        .prepare("SELECT * FROM segment ORDER BY id")
        .all()
        .map((row) => ({
          id: Number(row["id"]),
          writer: String(row["writer"]),
          file: String(row["file"]),
          bytes: Number(row["bytes"]),
          tail: String(row["tail"]),
        })),
    saveSegment: ({ id, writer, file, bytes, tail }: IndexedSegment) => void save.run(id, writer, file, bytes, tail),
    dropSegment: (id: number) => {
      db.prepare("DELETE FROM call WHERE segment = ?").run(id);
      db.prepare("DELETE FROM segment WHERE id = ?").run(id);
      // no row of a file that is there names a word whose last file came before all of these
      const gone = "SELECT id FROM word WHERE last < (SELECT ifnull(min(id), 9e15) FROM segment)";
      db.exec(`DELETE FROM reason WHERE list IN (${gone}); DELETE FROM word WHERE id IN (${gone})`);
      forget();
    },
  };
}
