/**
 * What a stranger can write: the first refusal of an address at once, all like it within an interval as one counted
 * record. What surprises: the bound is on addresses too, and an IPv6 network counts as one, since a single host
 * commands 2^64 of them; past the bound everybody shares one count per code. Nothing of the request is held but its
 * address: 4 MiB of arguments times a thousand strangers would be the next way to hurt.
 */
import { isIPv4, isIPv6 } from "node:net";
import type { Call } from "../model.ts";
import type { Refusal } from "../refusal.ts";

export type Fold = {
  /** Writes the refusal or counts it. Resolves to true if it was written. @throws what `write` throws */
  readonly add: (call: Call, refusal: Refusal) => Promise<boolean>;
  /** Writes what was counted; resolves when nothing more can be done about it. */
  readonly close: () => Promise<void>;
};
/** `count` null: one refusal. `address` is empty where many share the record. */
type Write = (call: Call, refusal: Refusal, count: number | null) => Promise<void>;
type Bucket = { call: Call; refusal: Refusal; count: number };
type Folded = {
  readonly buckets: Map<string, Bucket>;
  timer: NodeJS.Timeout | null;
  readonly intervalMs: number;
  readonly write: Write;
};

const INTERVAL_MS = 10_000;
const ADDRESSES_MAX = 1_000;

export function createFold(write: Write, intervalMs = INTERVAL_MS, addressesMax = ADDRESSES_MAX): Fold {
  const folded: Folded = { buckets: new Map(), timer: null, intervalMs, write };
  return {
    add: async (call, refusal) => {
      const own = `${network(call.asked.ip)} ${refusal.code}`;
      const crowded = !folded.buckets.has(own) && folded.buckets.size >= addressesMax;
      const key = crowded ? ` ${refusal.code}` : own;
      const bucket = folded.buckets.get(key);
      if (bucket !== undefined) {
        bucket.call = stripped(call, crowded);
        bucket.count++;
        return false;
      }
      // counted from here on, also while the first is being written
      folded.buckets.set(key, { call: stripped(call, crowded), refusal, count: 0 });
      schedule(folded);
      try {
        await write(call, refusal, 1);
      } catch (cause) {
        if (folded.buckets.get(key)?.count === 0) folded.buckets.delete(key);
        throw cause;
      }
      return true;
    },
    close: async () => {
      clearTimeout(folded.timer ?? undefined);
      await flush(folded);
      clearTimeout(folded.timer ?? undefined);
    },
  };
}

function schedule(folded: Folded): void {
  folded.timer ??= setTimeout(() => void flush(folded), folded.intervalMs).unref();
}

async function flush(folded: Folded): Promise<void> {
  folded.timer = null;
  const due = [...folded.buckets];
  folded.buckets.clear();
  for (const [key, bucket] of due) {
    if (bucket.count === 0) continue;
    try {
      await folded.write(bucket.call, bucket.refusal, bucket.count);
    } catch {
      keep(folded, key, bucket);
    }
  }
}

/** The disk is away: what was counted waits for the next interval. */
function keep(folded: Folded, key: string, bucket: Bucket): void {
  const since = folded.buckets.get(key);
  if (since === undefined) folded.buckets.set(key, bucket);
  else since.count += bucket.count;
  schedule(folded);
}

function stripped(call: Call, shared: boolean): Call {
  const { interface: door, protocol, ip } = call.asked;
  return {
    ...call,
    arguments: null,
    asked: {
      interface: door,
      protocol,
      path: "",
      ip: shared ? "" : ip,
      credential: { kind: "none" },
      traceparent: null,
      tracestate: null,
      signal: call.asked.signal,
    },
  };
}

/** An IPv4 address as it is, an IPv6 one's first 64 bits. */
function network(ip: string): string {
  const mapped = ip.replace(/^::ffff:/i, "");
  if (isIPv4(mapped) || !isIPv6(ip)) return mapped.slice(0, 64);
  const [left = "", right] = ip.split("%")[0]?.split("::") ?? [];
  const high = left === "" ? [] : left.split(":");
  const low = right === undefined || right === "" ? [] : right.split(":");
  const gap = right === undefined ? [] : Array.from({ length: Math.max(8 - high.length - low.length, 0) }, () => "0");
  return [...high, ...gap, ...low]
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(":");
}
