/**
 * How is a stdio server run as a child? In a process group of its own, so that wrappers like npx take their
 * grandchildren with them when they are killed; with no environment but what the file says and PATH; stderr always
 * drained, since a full pipe stops a child for ever. The one file here that signals processes.
 */
import { spawn } from "node:child_process";
import type { ChildProcessWithoutNullStreams } from "node:child_process";
import { kill } from "node:process";
import type { InstanceSpec } from "../model.ts";
import { readLines } from "./lines.ts";

type StdioSpec = Extract<InstanceSpec, { kind: "stdio" }>;
export type ChildOptions = {
  readonly searchPath: string;
  readonly cwd: string | null;
  readonly lineBytesMax: number;
  readonly onLine: (line: Buffer) => void;
  /** A line over the cap: its first and last bytes. */
  readonly onLong: (head: Buffer, tail: Buffer) => void;
  /** Called once, when it ends by itself or cannot be started. */
  readonly onEnded: () => void;
};
export type Child = {
  /** False if it does not take input: ended, or so far behind that more would only pile up. */
  readonly write: (line: string) => boolean;
  readonly alive: () => boolean;
  /** The last bytes of stderr, for operators. */
  readonly stderr: () => string;
  /** Ends its input, then TERM, then KILL, to the whole group; resolves when the child is gone. */
  readonly close: () => Promise<void>;
  /** KILL to the group, now. */
  readonly abandon: () => void;
};

/** Input that a child has not read yet. */
const PENDING_BYTES_MAX = 32 * 1024 * 1024;
const STDERR_BYTES = 8192;
const POLITE_MS = 300;
const TERM_MS = 1500;

export function startChild(spec: StdioSpec, options: ChildOptions): Child {
  const child: ChildProcessWithoutNullStreams = spawn(spec.command, [...spec.args], {
    detached: true,
    env: { PATH: options.searchPath, ...spec.env },
    stdio: ["pipe", "pipe", "pipe"],
    cwd: spec.cwd ?? options.cwd ?? undefined,
  });
  let alive = true;
  let closing = false;
  const gone = new Promise<void>((resolve) => {
    const ended = (): void => {
      if (!alive) return;
      alive = false;
      // the leader is gone, its children may not be
      signalGroup(child.pid, "SIGKILL");
      resolve();
      if (!closing) options.onEnded();
    };
    child.once("exit", ended);
    child.once("error", ended);
  });
  const lines = readLines({ ...options, carriageReturn: false });
  child.stdout.on("data", (chunk: Buffer) => lines.push(chunk));
  const stderr = ring(child);
  // EPIPE comes as an event: unheard it would end the gateway
  for (const stream of [child.stdin, child.stdout, child.stderr]) stream.on("error", () => {});
  return {
    write: (line) => {
      if (!alive || closing || !child.stdin.writable || child.stdin.writableLength > PENDING_BYTES_MAX) return false;
      child.stdin.write(line);
      return true;
    },
    alive: () => alive && !closing,
    stderr,
    close: async () => {
      closing = true;
      child.stdin.end();
      const terminate = setTimeout(() => signalGroup(child.pid, "SIGTERM"), POLITE_MS);
      const force = setTimeout(() => signalGroup(child.pid, "SIGKILL"), TERM_MS);
      await gone;
      clearTimeout(terminate);
      clearTimeout(force);
    },
    abandon: () => {
      closing = true;
      signalGroup(child.pid, "SIGKILL");
    },
  };
}

function ring(child: ChildProcessWithoutNullStreams): () => string {
  let kept: Buffer = Buffer.alloc(0);
  child.stderr.on("data", (chunk: Buffer) => {
    kept = Buffer.from(Buffer.concat([kept, chunk.subarray(-STDERR_BYTES)]).subarray(-STDERR_BYTES));
  });
  return () => kept.toString("utf8");
}

/** A negative id means the group. An empty group is no error: it is what is wanted. */
function signalGroup(pid: number | undefined, signal: "SIGTERM" | "SIGKILL"): void {
  if (pid === undefined) return;
  try {
    kill(-pid, signal);
  } catch {
    // ESRCH: nobody is left
  }
}
