/**
 * What outlives the process? An append-only log of changes, and the last good discovery of each server version, in
 * one SQLite file. What surprises: it is written on changes only, never on a call; and gateways that share a store each
 * keep such a file too, so that each of them starts and goes on without the others.
 */
import { closeSync, fchmodSync, openSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { parseOwnJson } from "../json.ts";
import type { JsonObject } from "../model.ts";
import type { Clock } from "../ports.ts";
import type { Follower } from "./follower.ts";
import { registrationsAlone } from "./registrations.ts";
import type { Registrations } from "./registrations.ts";

/** One change, as it was made. */
export type Entry = {
  /** RFC 3339. */
  readonly at: string;
  readonly by: string;
  readonly change: JsonObject;
};
/** `revision`: 1 for the first change ever; each has its own. */
export type Logged = Entry & { readonly revision: number };
/** Told of what other gateways did, in order, each once. */
export type Peers = {
  /** Before it is written, maybe again and again: what ends a key must not wait for a disk. */
  readonly heard: (entries: readonly Logged[]) => void;
  readonly changed: (entries: readonly Logged[]) => void;
  readonly found: (id: string, discovered: JsonObject) => void;
  /** Asked what to tell them in turn: who follows this one. */
  readonly sidecars: () => readonly Follower[];
};
export type Store = {
  /** Oldest first. */
  readonly changes: () => readonly Logged[];
  /**
   * `expected`: the revision that the change was made against. Resolves to its own once it is written.
   * @throws Refusal conflict; upstream_unavailable where it was not made; upstream_timeout where nobody can say
   */
  readonly append: (entry: Entry, expected: number) => Promise<number>;
  /** Whatever others have changed by now has been told. @throws Refusal upstream_unavailable */
  readonly catchUp: () => Promise<void>;
  readonly follow: (peers: Peers) => void;
  /** Who follows the others. */
  readonly sidecars: () => readonly Follower[];
  readonly discoveries: () => ReadonlyMap<string, JsonObject>;
  readonly saveDiscovery: (id: string, discovered: object) => void;
  readonly registrations: Registrations;
  /** Whether what one gateway does for all of them is this one's to do. */
  readonly hasTurn: () => boolean;
  /** This gateway's own name among all that share it, for as long as its folder stands. */
  readonly plane: string;
  /** Greater than every number that it gave before, to whatever process; the time in milliseconds where that is. */
  readonly stamp: (nowMs: number) => number;
  /** Milliseconds since the other gateways were heard, in whatever process; 0 where there are none. */
  readonly silentMs: () => number;
  /** Reads it through. Null, or what is wrong with it. */
  readonly fault: () => string | null;
  /** What would make it forget. */
  readonly dangers: () => Promise<readonly string[]>;
  readonly close: () => Promise<void>;
};
/** What a gateway has of it on its own disk; synchronous, as node:sqlite is. */
export type Local = Pick<Store, "changes" | "discoveries" | "saveDiscovery" | "plane" | "stamp" | "fault"> & {
  /** All or none. Returns the revision of the last. */
  readonly append: (entries: readonly Entry[]) => number;
  /** Epoch milliseconds at which the other gateways were heard last; null before that. */
  readonly heardMs: () => number | null;
  readonly saveHeard: (atMs: number) => void;
  /** A JSON array: who had registered, and was not forgotten. */
  readonly registrations: () => string;
  readonly saveRegistrations: (all: string) => void;
  readonly close: () => void;
};

/** Why a gateway cannot start with this store, for whoever starts it. */
export class StoreFault extends Error {
  override readonly name = "StoreFault";
}

/** The store of a gateway by itself. */
export function aloneWith(local: Local, clock: Pick<Clock, "monotonicMs">): Store {
  const registrations = registrationsAlone(local, clock);
  return {
    ...local,
    registrations,
    append: (entry) => Promise.resolve(local.append([entry])),
    catchUp: () => Promise.resolve(),
    follow: () => {},
    sidecars: () => [],
    hasTurn: () => true,
    silentMs: () => 0,
    dangers: () => Promise.resolve([]),
    close: () => {
      registrations.close();
      return Promise.resolve(local.close());
    },
  };
}

/** 2 knows entries and roll backs, 3 the keys that end with a principal: an older Portcullis would not know what they mean. */
const FORMAT = 3;

/** @throws StoreFault if the file was written by a newer version, Error if it cannot be opened */
export function openLocal(file: string): Local {
  // before SQLite opens it: its side files get the mode of this one
  const descriptor = openSync(file, "a");
  fchmodSync(descriptor, 0o600);
  closeSync(descriptor);
  const db = new DatabaseSync(file);
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 500");
  migrate(db);
  const append = db.prepare("INSERT INTO changes (at, by, change) VALUES (?, ?, ?)");
  const save = db.prepare(
    "INSERT INTO discoveries (id, discovered) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET discovered = excluded.discovered",
  );
  return {
    changes: () =>
      db
        .prepare("SELECT revision, at, by, change FROM changes ORDER BY revision")
        .all()
        .map((row) => ({
          revision: Number(row["revision"]),
          at: String(row["at"]),
          by: String(row["by"]),
          change: read(row["change"]),
        })),
    append: (entries) =>
      whole(db, () =>
        entries.reduce(
          (_, { at, by, change }) => Number(append.run(at, by, JSON.stringify(change)).lastInsertRowid),
          0,
        ),
      ),
    discoveries: () =>
      new Map(
        db
          .prepare("SELECT id, discovered FROM discoveries")
          .all()
          .map((row) => [String(row["id"]), read(row["discovered"])]),
      ),
    saveDiscovery: (id, discovered) => void save.run(id, JSON.stringify(discovered)),
    plane: planeOf(db),
    stamp: createStamp(db),
    heardMs: () => {
      const at = db.prepare("SELECT at FROM heard").get()?.["at"];
      return at === undefined ? null : Number(at);
    },
    saveHeard: (atMs) =>
      void db
        .prepare("INSERT INTO heard (id, at) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET at = excluded.at")
        .run(Math.floor(atMs)),
    registrations: () => String(db.prepare("SELECT registered FROM registered").get()?.["registered"] ?? "[]"),
    saveRegistrations: (all) =>
      void db
        .prepare(
          "INSERT INTO registered (id, registered) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET registered = excluded.registered",
        )
        .run(all),
    fault: () => faultOf(db),
    close: () => db.close(),
  };
}

/** Written to the disk once, however much it is. */
function whole<Value>(db: DatabaseSync, work: () => Value): Value {
  db.exec("BEGIN IMMEDIATE");
  try {
    const value = work();
    db.exec("COMMIT");
    return value;
  } catch (cause) {
    // a full disk may have rolled it back already
    if (db.isTransaction) db.exec("ROLLBACK");
    throw cause;
  }
}

function planeOf(db: DatabaseSync): string {
  db.prepare("INSERT OR IGNORE INTO planes (id, plane) VALUES (1, lower(hex(randomblob(8))))").run();
  return String(db.prepare("SELECT plane FROM planes").get()?.["plane"]);
}

const RESERVED_MS = 1_000;

/**
 * Writes what it may give in a second's time, once a second: a clock that was put back gives nothing twice. No further ahead:
 * who goes from this control plane to another takes nothing from that one before its clock is there too.
 */
function createStamp(db: DatabaseSync): Local["stamp"] {
  const save = db.prepare(
    "INSERT INTO stamps (id, reserved) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET reserved = excluded.reserved",
  );
  let reserved = Number(db.prepare("SELECT reserved FROM stamps").get()?.["reserved"] ?? 0);
  let last = reserved;
  return (nowMs) => {
    last = Math.max(last + 1, Math.floor(nowMs));
    if (last > reserved) save.run((reserved = last + RESERVED_MS));
    return last;
  };
}

function faultOf(db: DatabaseSync): string | null {
  try {
    const found = Object.values(db.prepare("PRAGMA quick_check(1)").get() ?? {})[0];
    // a disk that became read-only, or a lock that somebody holds
    db.exec("BEGIN IMMEDIATE; ROLLBACK");
    return found === "ok" ? null : "the file is damaged: restore data/portcullis.db from a copy";
  } catch (cause) {
    return cause instanceof Error ? cause.message : "it cannot be read";
  }
}

function migrate(db: DatabaseSync): void {
  const format = Number(db.prepare("PRAGMA user_version").get()?.["user_version"] ?? 0);
  if (format > FORMAT) throw new StoreFault(`The store was written by a newer Portcullis (format ${format}).`);
  db.exec(`
    CREATE TABLE IF NOT EXISTS changes (revision INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, by TEXT NOT NULL, change TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS discoveries (id TEXT PRIMARY KEY, discovered TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS stamps (id INTEGER PRIMARY KEY, reserved INTEGER NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS planes (id INTEGER PRIMARY KEY, plane TEXT NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS heard (id INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS registered (id INTEGER PRIMARY KEY, registered TEXT NOT NULL) STRICT;
    PRAGMA user_version = ${FORMAT}`);
}

function read(text: unknown): JsonObject {
  return parseOwnJson(String(text)) as JsonObject;
}
