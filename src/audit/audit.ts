/** Puts the audit room together: lines, their spool and what is signed of it, the fold of strangers' refusals, and the way to read them. */
import type { SigningKey } from "../ed25519.ts";
import type { Ports } from "../ports.ts";
import { openCheckpoints } from "./checkpoints.ts";
import { decidedIn } from "./decided.ts";
import { keyedDigest } from "./digest.ts";
import { realDisk } from "./disk.ts";
import { createFold } from "./fold.ts";
import { createLines } from "./line.ts";
import { createMeters } from "./meters.ts";
import { refusedEnding } from "./record.ts";
import type { Audit } from "./record.ts";
import { openSpool } from "./spool.ts";
import { startRetention } from "./retention.ts";
import type { Keep } from "./retention.ts";
import type { Sinks } from "./sinks.ts";
import type { SpoolOptions } from "./spool.ts";
import { openGatheredNotes } from "./gather-notes.ts";
import { createGather } from "./gather.ts";
import { createProjection } from "./projection.ts";

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
  const digestOf = keyedDigest(options.keyedDigestKey);
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
  const gather = createGather(options.directory, (writer, chain) => notes.add(writer, chain));
  const notes = openGatheredNotes({ keys, intervalMs, publish }, gather, ports);
  let gathered = 0;
  const counted = async (lines: readonly unknown[], kept: Promise<void>): Promise<void> => {
    await kept;
    gathered += lines.length;
  };
  const records = (): number => spool.stats().records + gathered;
  const projection = createProjection({ directory: options.directory, records }, ports);
  const meters = createMeters();
  type Append = (line: string) => Promise<void>;
  const ended = (append: Append, ...[kind, call, how]: Parameters<Audit["ending"]>): Promise<void> => {
    // not by the wall clock, which may have been set meanwhile
    const endedMs = call.startedMs + ports.clock.monotonicMs() - call.beganMs;
    const handedMs = ports.clock.monotonicMs();
    const written = append(lines.ending(kind, call, endedMs, how));
    meters.ended(call, endedMs, how.errorType);
    // beside the caller's wait, not in it
    void written.then(
      () => meters.wrote(ports.clock.monotonicMs() - handedMs),
      () => {},
    );
    return written;
  };
  const fold = createFold(
    (call, refusal, count) => ended(spool.appendStranger, "refusal", call, refusedEnding(call, refusal, count)),
    options.foldIntervalMs,
  );
  return {
    intent: (call) => spool.append(lines.intent(call, ports.random.hex(8))),
    ending: (kind, call, how) => ended(spool.append, kind, call, how),
    viewed: (call) => meters.ended(call, ports.clock.nowMs(), null),
    unauthenticated: fold.add,
    durations: meters.read,
    projection,
    gather: (writer, file, spans) => counted(spans, gather.take(writer, file, spans)),
    keep: (writer, file, lines, elsewhere) => counted(lines, gather.keep(writer, file, lines, elsewhere)),
    decided: async function* (query) {
      return yield* decidedIn([options.directory, ...(await gather.folders()).values()], query);
    },
    confirms: (text, digest) => digestOf(text) === digest,
    stats: spool.stats,
    checkpoints: () => ({ ...checkpoints.status(), anchors: sinks?.status() ?? [] }),
    prune: async () => (await retention?.run()) ?? [],
    close: async () => {
      retention?.close();
      await fold.close();
      await spool.close();
      await projection.close();
      await notes.close();
      await checkpoints.close();
      await sinks?.close();
    },
  };
}
