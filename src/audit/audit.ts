/** Puts the audit room together: lines, their spool, the fold of strangers' refusals, and the way to read them. */
import type { Ports } from "../ports.ts";
import { createFold } from "./fold.ts";
import { createLines } from "./line.ts";
import { createMeters } from "./meters.ts";
import { refusedEnding } from "./record.ts";
import type { Audit } from "./record.ts";
import { openSpool } from "./spool.ts";
import type { SpoolOptions } from "./spool.ts";
import { createGather } from "./gather.ts";
import { createProjection } from "./projection.ts";

export type AuditOptions = SpoolOptions & {
  /** Keys the digest of arguments; at least 32 random bytes. */
  readonly keyedDigestKey: Buffer;
  /** The product's. */
  readonly version: string;
  /** Milliseconds over which refusals of unknown callers are counted into one record. */
  readonly foldIntervalMs?: number;
};

/** @throws Error if nothing can be written to the directory */
export function createAudit(options: AuditOptions, ports: Ports): Audit {
  const lines = createLines(options.keyedDigestKey, options.version);
  const spool = openSpool(options, ports);
  const gather = createGather(options.directory);
  let gathered = 0;
  const counted = async (lines: readonly unknown[], kept: Promise<void>): Promise<void> => {
    await kept;
    gathered += lines.length;
  };
  const records = (): number => spool.stats().records + gathered;
  const projection = createProjection({ directory: options.directory, records }, ports);
  const meters = createMeters();
  const ending: Audit["ending"] = (kind, call, how) => {
    const endedMs = ports.clock.nowMs();
    const handedMs = ports.clock.monotonicMs();
    const written = spool.append(lines.ending(kind, call, endedMs, how));
    meters.ended(call, endedMs, how.errorType);
    // beside the caller's wait, not in it
    void written.then(() => meters.wrote(ports.clock.monotonicMs() - handedMs)).catch(() => {});
    return written;
  };
  const fold = createFold(
    (call, refusal, count) => ending("refusal", call, refusedEnding(call, refusal, count)),
    options.foldIntervalMs,
  );
  return {
    intent: (call) => spool.append(lines.intent(call, ports.random.hex(8))),
    ending,
    viewed: (call) => meters.ended(call, ports.clock.nowMs(), null),
    unauthenticated: fold.add,
    durations: meters.read,
    projection,
    gather: (writer, file, spans) => counted(spans, gather.take(writer, file, spans)),
    keep: (writer, file, lines, elsewhere) => counted(lines, gather.keep(writer, file, lines, elsewhere)),
    stats: spool.stats,
    close: async () => {
      await fold.close();
      await spool.close();
      await projection.close();
    },
  };
}
