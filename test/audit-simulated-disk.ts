/**
 * A disk that forgets: what was not synced may be lost, cut short or be zeros after a loss of power, a name too until its directory
 * was synced, and what a failed sync was about although a later one succeeds. In memory, on top of a real folder, to which
 * `lose` brings what a seed leaves of it.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import type { SpoolDisk } from "../src/audit/disk.ts";

type Op = { readonly at: number; readonly bytes: Buffer } | { readonly cut: number };
type File = {
  readonly path: string;
  /** What no loss of power takes. */
  safe: Buffer;
  content: Buffer;
  /** Since the last sync, in order. */
  pending: Op[];
  named: boolean;
};

export type SimulatedDisk = {
  readonly disk: SpoolDisk;
  /** The power fails: nothing works any more, and the folder holds what survived. */
  readonly lose: () => void;
  readonly dead: () => boolean;
};
export type Chances = {
  /** Of each operation. */
  readonly write: number;
  readonly sync: number;
  readonly truncate: number;
  /** Operations until the power fails. */
  readonly operations: number;
};

export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function simulatedDisk(chance: () => number, chances: Chances): SimulatedDisk {
  const files = new Map<string, File>();
  const open = new Map<number, File>();
  const folders = new Map<string, boolean>();
  let operations = 0;
  let dead = false;
  const step = (): void => {
    operations++;
    if (operations >= chances.operations) dead = true;
    if (dead) throw fault("ENODEV");
  };
  const fileOf = (fd: number): File => open.get(fd) as File;
  const disk: SpoolDisk = {
    mkdir: (directory) => void folders.set(directory, folders.get(directory) ?? existsSync(directory)),
    open: (path) => {
      step();
      const file = files.get(path) ?? found(path);
      files.set(path, file);
      const fd = 1_000 + operations;
      open.set(fd, file);
      return fd;
    },
    size: (fd) => fileOf(fd).content.length,
    write: (fd, bytes) => {
      const file = fileOf(fd);
      const fails = chance() < chances.write;
      const taken = fails ? Math.floor(chance() * bytes.length) : bytes.length;
      if (taken > 0) {
        const copy = Buffer.from(bytes.subarray(0, taken));
        file.pending.push({ at: file.content.length, bytes: copy });
        file.content = Buffer.concat([file.content, copy]);
      }
      step();
      if (fails && taken === 0) throw fault("EIO");
      return taken;
    },
    truncate: (fd, bytes) => {
      step();
      if (chance() < chances.truncate) throw fault("EIO");
      const file = fileOf(fd);
      file.pending.push({ cut: bytes });
      file.content = file.content.subarray(0, bytes);
    },
    sync: async (fd) => {
      await new Promise((later) => setImmediate(later));
      step();
      const file = fileOf(fd);
      // what it was about is taken for clean from now on, and is not
      if (chance() < chances.sync) throw fault("EIO");
      if (doomed.has(file)) return;
      file.safe = file.content;
      file.pending = [];
    },
    syncDirectory: async (directory) => {
      step();
      if (folders.has(directory)) for (const file of files.values()) file.named ||= dirname(file.path) === directory;
      for (const name of folders.keys()) if (dirname(name) === directory) folders.set(name, true);
    },
    close: (fd) => void open.delete(fd),
    // whether its name was gone or not, nothing that is answered was in it
    remove: (path) => {
      step();
      removed.push(files.get(path) as File);
      files.delete(path);
    },
    freeBytes: () => Infinity,
  };
  const doomed = new Set<File>();
  const removed: File[] = [];
  const sync = disk.sync;
  const failing: SpoolDisk["sync"] = (fd) => {
    const file = fileOf(fd);
    return sync(fd).catch((cause: unknown) => {
      doomed.add(file);
      throw cause;
    });
  };
  return {
    disk: { ...disk, sync: failing },
    dead: () => dead,
    lose: () => {
      dead = true;
      const gone = [...folders].some(([, named]) => !named) && chance() < 0.5;
      for (const file of [...removed, ...files.values()]) {
        const survives = !gone && (file.named || chance() < 0.5);
        mkdirSync(dirname(file.path), { recursive: true });
        if (survives) writeFileSync(file.path, left(file, chance));
        else rmSync(file.path, { force: true });
      }
    },
  };
}

function found(path: string): File {
  try {
    const content = readFileSync(path);
    return { path, safe: content, content, pending: [], named: true };
  } catch {
    return { path, safe: Buffer.alloc(0), content: Buffer.alloc(0), pending: [], named: false };
  }
}

/** A file grows in order: what comes after a hole does not come. Whether it was cut is told apart from that. */
function left({ safe, pending }: File, chance: () => number): Buffer {
  let content = safe;
  let whole = true;
  for (const op of pending) {
    const fate = chance();
    if ("cut" in op) {
      if (fate < 0.5) content = content.subarray(0, op.cut);
      continue;
    }
    if (!whole || op.at > content.length) continue;
    whole = fate < 0.4;
    const bytes = whole ? op.bytes : op.bytes.subarray(0, Math.floor(chance() * op.bytes.length));
    // the file may have grown before its bytes came
    const came = fate > 0.9 ? Buffer.alloc(bytes.length) : bytes;
    content = Buffer.concat([content.subarray(0, op.at), came, content.subarray(op.at + came.length)]);
  }
  return content;
}

function fault(code: string): Error {
  return Object.assign(new Error(code), { code });
}
