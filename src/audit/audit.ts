/** Puts the audit room together: lines, their spool, the fold of strangers' refusals, and the way to read them. */
import type { Ports } from "../ports.ts";
import { decidedIn } from "./decided.ts";
import { keyedDigest } from "./digest.ts";
import { follow } from "./follow.ts";
import { createFold } from "./fold.ts";
import { createLines } from "./line.ts";
import { refusedEnding } from "./record.ts";
import type { Audit } from "./record.ts";
import { openSpool } from "./spool.ts";
import type { SpoolOptions } from "./spool.ts";
import { createGather } from "./gather.ts";
import { readTrails } from "./pages.ts";

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
  const ending: Audit["ending"] = (kind, call, how) => spool.append(lines.ending(kind, call, ports.clock.nowMs(), how));
  const fold = createFold(
    (call, refusal, count) => ending("refusal", call, refusedEnding(call, refusal, count)),
    options.foldIntervalMs,
  );
  return {
    intent: (call) => spool.append(lines.intent(call, ports.random.hex(8))),
    ending,
    unauthenticated: fold.add,
    calls: async (query) => readTrails(new Map([["", options.directory], ...(await gather.folders())]), query),
    gather: gather.take,
    keep: gather.keep,
    decided: async function* (query) {
      return yield* decidedIn([options.directory, ...(await gather.folders()).values()], query);
    },
    confirms: (text, digest) => digestOf(text) === digest,
    follow: (signal) => follow(options.directory, signal),
    stats: spool.stats,
    close: async () => {
      await fold.close();
      await spool.close();
    },
  };
}
