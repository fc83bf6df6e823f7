/** Puts the audit room together: lines, their spool, the fold of strangers' refusals, and the way to read them. */
import type { Ports } from "../ports.ts";
import { decidedIn } from "./decided.ts";
import { keyedDigest } from "./digest.ts";
import { createFold } from "./fold.ts";
import { createLines } from "./line.ts";
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
  const digestOf = keyedDigest(options.keyedDigestKey);
  const gather = createGather(options.directory);
  let gathered = 0;
  const counted = async (lines: readonly unknown[], kept: Promise<void>): Promise<void> => {
    await kept;
    gathered += lines.length;
  };
  const records = (): number => spool.stats().records + gathered;
  const projection = createProjection({ directory: options.directory, records }, ports);
  const ending: Audit["ending"] = (kind, call, how) => spool.append(lines.ending(kind, call, ports.clock.nowMs(), how));
  const fold = createFold(
    (call, refusal, count) => ending("refusal", call, refusedEnding(call, refusal, count)),
    options.foldIntervalMs,
  );
  return {
    intent: (call) => spool.append(lines.intent(call, ports.random.hex(8))),
    ending,
    unauthenticated: fold.add,
    projection,
    gather: (writer, file, spans) => counted(spans, gather.take(writer, file, spans)),
    keep: (writer, file, lines, elsewhere) => counted(lines, gather.keep(writer, file, lines, elsewhere)),
    decided: async function* (query) {
      return yield* decidedIn([options.directory, ...(await gather.folders()).values()], query);
    },
    confirms: (text, digest) => digestOf(text) === digest,
    stats: spool.stats,
    close: async () => {
      await fold.close();
      await spool.close();
      await projection.close();
    },
  };
}
