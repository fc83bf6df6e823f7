/**
 * What the world provides: time, randomness, disk and the log. Everything else receives them, so that a test can
 * simulate them. (The network is upstream/dial's and doors/http's.)
 */
import { randomBytes, randomFillSync } from "node:crypto";
import * as fs from "node:fs/promises";
import { threadCpuUsage } from "node:process";

export type Clock = {
  /** Unix epoch in milliseconds, with fraction. */
  readonly nowMs: () => number;
  /** Never jumps; for deadlines, windows and durations. */
  readonly monotonicMs: () => number;
  /** What this thread has computed so far: does not run while others have the processor. */
  readonly threadCpuMs: () => number;
};
export type Random = {
  readonly bytes: (count: number) => Buffer;
  /** `count` random bytes in lower-case hex, never all zero. */
  readonly hex: (count: number) => string;
  /** UUIDv7 for the given epoch milliseconds: sortable by time. */
  readonly uuid: (nowMs: number) => string;
  /** In [0, 1): for jitter and choice only, never for secrets. */
  readonly fraction: () => number;
};
/** The calls of node:fs/promises that the product uses; a test replaces one to make the disk fail. */
export type Disk = Pick<
  typeof fs,
  "open" | "mkdir" | "readdir" | "readFile" | "writeFile" | "rename" | "unlink" | "stat" | "chmod" | "statfs"
>;
/** Structured log: fields first, constant message second. No secrets, no arguments, no upstream text. */
export type Log = {
  readonly info: (fields: object, message: string) => void;
  readonly warn: (fields: object, message: string) => void;
  readonly error: (fields: object, message: string) => void;
};
export type Ports = { readonly clock: Clock; readonly random: Random; readonly disk: Disk; readonly log: Log };

export const silent: Log = { info: () => {}, warn: () => {}, error: () => {} };

/** By whichever clock went on: one stands still while a machine is suspended, the other can be put back. */
export function stopwatch(clock: Pick<Clock, "nowMs" | "monotonicMs">, agoMs = 0): () => number {
  const [wallMs, monotonicMs] = [clock.nowMs() - agoMs, clock.monotonicMs() - agoMs];
  return () => Math.max(clock.nowMs() - wallMs, clock.monotonicMs() - monotonicMs);
}

const STEP_MS = 20;

/** As fine as the monotonic clock, and with the system's where that was set, or went on while the other stood still. */
function createWallClock(): Clock["nowMs"] {
  let originMs = performance.timeOrigin;
  return () => {
    const [nowMs, systemMs] = [originMs + performance.now(), Date.now()];
    if (Math.abs(nowMs - systemMs) < STEP_MS) return nowMs;
    originMs += systemMs - nowMs;
    return systemMs;
  };
}

export function realPorts(log: Log): Ports {
  return {
    clock: {
      nowMs: createWallClock(),
      monotonicMs: () => performance.now(),
      threadCpuMs: () => {
        const { user, system } = threadCpuUsage();
        return (user + system) / 1000;
      },
    },
    random: { bytes: randomBytes, hex: pooledHex, uuid, fraction: Math.random },
    disk: fs,
    log,
  };
}

/** One system call fills 4 KiB: a call needs some 32 random bytes, and asking for each cost 2 µs. */
const pool = Buffer.alloc(4096);
let used = pool.length;

function pooledHex(count: number): string {
  if (used + count > pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += count;
  return pool.toString("hex", used - count, used);
}

function uuid(nowMs: number): string {
  const time = Math.floor(nowMs).toString(16).padStart(12, "0");
  const random = pooledHex(10);
  const variant = "89ab"[Number.parseInt(random.charAt(3), 16) & 3] ?? "8";
  return `${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(0, 3)}-${variant}${random.slice(4, 7)}-${random.slice(7, 19)}`;
}
