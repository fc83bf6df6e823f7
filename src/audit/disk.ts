/**
 * What the spool asks of a disk; a test replaces one function to make it fail. What surprises: most of it is
 * synchronous, because a trip through libuv's pool costs five times an append; only what may take milliseconds waits.
 */
import * as fs from "node:fs";

export type SpoolDisk = {
  /** Makes the directory, mode 0700, and those above it. */
  readonly mkdir: (directory: string) => void;
  /** Opens for appending, made with mode 0600 if it is not there. */
  readonly open: (path: string) => number;
  readonly size: (fd: number) => number;
  /** Appends; says how many bytes were taken, which may be fewer. The bytes are the caller's again afterwards. */
  readonly write: (fd: number, bytes: Buffer) => number;
  readonly truncate: (fd: number, bytes: number) => void;
  /** Resolves once what was written survives a loss of power. */
  readonly sync: (fd: number) => Promise<void>;
  readonly syncDirectory: (directory: string) => Promise<void>;
  readonly close: (fd: number) => void;
  readonly remove: (path: string) => void;
  /** Bytes that an unprivileged process may still write there. */
  readonly freeBytes: (directory: string) => number;
};

const { O_WRONLY, O_CREAT, O_APPEND, O_NOFOLLOW } = fs.constants;

export const realDisk: SpoolDisk = {
  mkdir: (directory) => {
    fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
  },
  // O_NOFOLLOW is undefined on Windows
  open: (path) => fs.openSync(path, O_WRONLY | O_CREAT | O_APPEND | (O_NOFOLLOW ?? 0), 0o600),
  size: (fd) => fs.fstatSync(fd).size,
  write: (fd, bytes) => fs.writeSync(fd, bytes),
  truncate: fs.ftruncateSync,
  sync: (fd) => waited((done) => fs.fdatasync(fd, done)),
  syncDirectory: async (directory) => {
    const handle = await fs.promises.open(directory, "r");
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  close: fs.closeSync,
  remove: fs.unlinkSync,
  freeBytes: (directory) => {
    const { bavail, bsize } = fs.statfsSync(directory);
    return bavail * bsize;
  },
};

function waited(start: (done: (error: Error | null) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => start((error) => (error === null ? resolve() : reject(error))));
}
