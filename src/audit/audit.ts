/** Puts the audit room together: lines, their spool and what is signed of it, the fold of strangers' refusals, and the way to read them. */
import type { SigningKey } from "../ed25519.ts";
import type { Ports } from "../ports.ts";
import { openCheckpoints } from "./checkpoints.ts";
import { realDisk } from "./disk.ts";
import { follow } from "./follow.ts";
import { createFold } from "./fold.ts";
import { createLines } from "./line.ts";
import { refusedEnding } from "./record.ts";
import type { Audit } from "./record.ts";
import { openSpool } from "./spool.ts";
import { startRetention } from "./retention.ts";
import type { Keep } from "./retention.ts";
import type { Sinks } from "./sinks.ts";
import type { SpoolOptions } from "./spool.ts";
import { createGather } from "./gather.ts";
import { readTrails } from "./pages.ts";

export type AuditOptions = Omit<SpoolOptions, "durable"> & {
  /** How the trail is signed. */
  readonly checkpoints: {
    readonly keys: readonly [SigningKey, ...SigningKey[]];
    readonly every?: number;
    readonly intervalMs?: number;
    /** Where they are kept besides. */
    readonly sinks?: Sinks;
  };
  /** Keys the digest of arguments; at least 32 random bytes. */
  readonly keyedDigestKey: Buffer;
  /** How long the trail is kept; without it, for ever. */
  readonly keep?: Keep | undefined;
  /** The product's. */
  readonly version: string;
  /** Milliseconds over which refusals of unknown callers are counted into one record. */
  readonly foldIntervalMs?: number;
};

const EVERY = 1_000;
const INTERVAL_MS = 10_000;

/** @throws Error if nothing can be written to the directory */
export function createAudit(options: AuditOptions, ports: Ports): Audit {
  const lines = createLines(options.keyedDigestKey, options.version);
  const { directory, disk = realDisk, writer = "gateway", flush } = options;
  const { keys, every = EVERY, intervalMs = INTERVAL_MS, sinks } = options.checkpoints;
  const publish: Sinks["publish"] = (signed) => sinks?.publish(signed);
  const sync = flush === "fsync";
  const checkpoints = openCheckpoints({ directory, disk, writer, sync, keys, every, intervalMs, publish }, ports);
  const spool = openSpool({ ...options, durable: checkpoints.add }, ports);
  const { keep } = options;
  const open = (): string => spool.stats().segment;
  const retention =
    keep === undefined
      ? null
      : startRetention({ directory, key: keys[0], keep, open, forget: checkpoints.forget, publish }, ports);
  const gather = createGather(options.directory);
  const lineOf: (...of: Parameters<Audit["ending"]>) => string = (kind, call, how) =>
    lines.ending(kind, call, ports.clock.nowMs(), how);
  const fold = createFold(
    (call, refusal, count) => spool.appendStranger(lineOf("refusal", call, refusedEnding(call, refusal, count))),
    options.foldIntervalMs,
  );
  return {
    intent: (call) => spool.append(lines.intent(call, ports.random.hex(8))),
    ending: (kind, call, how) => spool.append(lineOf(kind, call, how)),
    unauthenticated: fold.add,
    calls: async (query) => readTrails(new Map([["", options.directory], ...(await gather.folders())]), query),
    gather: gather.take,
    keep: gather.keep,
    follow: (signal) => follow(options.directory, signal),
    stats: spool.stats,
    checkpoints: () => ({ ...checkpoints.status(), anchors: sinks?.status() ?? [] }),
    prune: async () => (await retention?.run()) ?? [],
    close: async () => {
      retention?.close();
      await fold.close();
      await spool.close();
      await checkpoints.close();
      await sinks?.close();
    },
  };
}
