/**
 * The records that wait in Redis (stream.ts), onto this disk: one gateway at a time, which holds the lease of the job, copies every
 * chain's lines as they are and then takes them out of Redis. What surprises: the lease only saves work. A gatherer that was stopped and
 * wakes up takes nothing out that it did not read: it names the line that it went on from, and Redis has gone on since.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { holdLease } from "../lease.ts";
import type { Ports } from "../ports.ts";
import { clockOf, dialRedis, scriptOn } from "../redis.ts";
import type { RedisClient, Script } from "../redis.ts";
import { clusterFault } from "../redis-url.ts";
import { Refusal } from "../refusal.ts";
import type { Elsewhere } from "./elsewhere.ts";
import type { Gather } from "./gather.ts";
import { GENESIS, digestOf, linkOf } from "./link.ts";
import type { Head } from "./link.ts";
import { parseSegment } from "./segments.ts";
import { FORGET, GATHERER, GATHERING, LOOK, RETIRE, TRIM, WRITERS, streamKeys } from "./stream-scripts.ts";
import type { StreamKeys } from "./stream-scripts.ts";

export type DrainStatus = {
  /** It is this gateway's turn. */
  readonly holds: boolean;
  /** Gathered here since the start. */
  readonly records: number;
  /** Chains that cannot be gathered, and are left in Redis. */
  readonly refused: readonly string[];
  /** For people; null while all goes well. */
  readonly lastError: string | null;
};
export type Drain = {
  readonly status: () => DrainStatus;
  /** Ends what is under way, and lets another gatherer take over. */
  readonly close: () => Promise<void>;
};
export type DrainOptions = {
  /** May hold a password: it is never logged. */
  readonly url: string;
  /** Named as who has what is gathered here: the chain of this gateway's own trail. */
  readonly keeper: string;
  readonly keep: Gather["keep"];
};

const POLL_MS = 500;
const COMMAND_MS = 5_000;
const LEASE_COMMAND_MS = 1_000;
const CLOSE_MAX_MS = 1_000;
/** Of one step: lines are copied, made durable, taken out, in this order. */
const BATCHES = 32;
const SEEN_MS = 30_000;
/** A writer, or a chain of one that lives, that gave no sign for so long is forgotten once it is empty. */
const RETIRE_SECONDS = 600;

type Chain = { readonly writer: string; readonly chain: string; readonly keys: StreamKeys };
/** Number and hash of the last line gathered, and by whom; what follows. */
type Looked = readonly [readonly (string | null)[], readonly (readonly [id: string, fields: readonly string[]])[]];
type Run = {
  readonly client: RedisClient;
  readonly options: DrainOptions;
  readonly ports: Ports;
  readonly time: () => Promise<readonly [string, string]>;
  readonly gathering: Script<string>;
  readonly look: Script<Looked>;
  readonly trim: Script<number>;
  readonly retire: Script<number>;
  readonly forget: Script<number>;
  readonly refused: Set<string>;
  records: number;
};

export function startDrain(options: DrainOptions, ports: Ports): Drain {
  const client = dialRedis(options.url, COMMAND_MS, ports.clock);
  const leasing = dialRedis(options.url, LEASE_COMMAND_MS, ports.clock);
  const lease = holdLease(leasing, { job: "gather" }, ports);
  const run: Run = {
    client,
    options,
    ports,
    time: clockOf(client, GATHERER),
    gathering: scriptOn(client, "portcullisGathering", GATHERING),
    look: scriptOn(client, "portcullisLook", LOOK),
    trim: scriptOn(client, "portcullisTrim", TRIM),
    retire: scriptOn(client, "portcullisRetire", RETIRE),
    forget: scriptOn(client, "portcullisForget", FORGET),
    refused: new Set(),
    records: 0,
  };
  const stop = new AbortController();
  let lastError: string | null = null;
  const holds = (): boolean => lease.held() && !stop.signal.aborted;
  const loop = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      let more = false;
      try {
        if (holds()) more = await round(run, holds);
        lastError = null;
      } catch (cause) {
        if (lastError === null)
          ports.log.warn({ err: cause }, "gathering records from Redis failed: it is tried again");
        lastError = cause instanceof Refusal ? cause.message : (clusterFault(cause) ?? "Redis does not answer");
      }
      if (!more) await sleep(POLL_MS, null, { signal: stop.signal }).catch(() => {});
    }
  };
  const ended = loop();
  return {
    status: () => ({ holds: holds(), records: run.records, refused: [...run.refused], lastError }),
    close: async () => {
      stop.abort();
      // a disk that hangs holds nobody up: what is copied twice is passed over
      await Promise.race([ended, sleep(CLOSE_MAX_MS, null, { ref: false })]);
      await lease.close();
      leasing.disconnect();
      client.disconnect();
    },
  };
}

/** One step of each chain. Resolves to whether more waits: what comes a little at a time is copied a little later, together. */
async function round(run: Run, holds: () => boolean): Promise<boolean> {
  const { client } = run;
  const [[now]] = await Promise.all([run.time(), run.gathering([GATHERER], [SEEN_MS])]);
  const before = Number(now) - RETIRE_SECONDS;
  let more = false;
  const failed: Refusal[] = [];
  for (const writer of await client.zrange(WRITERS, "0", "-1")) {
    const keys = streamKeys(writer);
    const chains = await client.zrange(keys.chains, "0", "-1");
    for (const chain of chains) {
      if (!holds()) return false;
      const had = await step(run, { writer, chain, keys }).catch((cause: unknown) => {
        // what the disk does not take of one chain must not keep those of others waiting in Redis until that is full
        if (!(cause instanceof Refusal)) throw cause;
        failed.push(cause);
        return "all" as const;
      });
      if (had === "more") more = true;
      if (had === "none")
        await run.retire([keys.chains, keys.lines(chain), keys.head(chain), keys.usage], [chain, before]);
    }
    if (chains.length === 0) await run.forget([WRITERS], [writer, before]);
  }
  if (failed[0] !== undefined) throw failed[0];
  return more;
}

/** Copies some lines, and takes them out of Redis once they are on disk. */
async function step(run: Run, { writer, chain, keys }: Chain): Promise<"more" | "all" | "none"> {
  const { options, refused } = run;
  const name = `${chain} of ${writer}`;
  if (refused.has(name)) return "none";
  const [[kept, hash, keeper], entries] = await run.look([keys.head(chain), keys.lines(chain)], [BATCHES]);
  if (entries.length === 0) return "none";
  const before: Elsewhere = { sequence: Number(kept ?? 0), hash: hash ?? GENESIS.hash, keeper: keeper ?? "" };
  const batches: Batch[] = [];
  try {
    batches.push(...entries.map((entry) => batchOf(entry, chain)));
    for (const [file, some] of Map.groupBy(batches, (batch) => batch.file)) {
      const lines = some.flatMap((batch) => batch.lines);
      await options.keep(writer, file, lines, before);
    }
  } catch (cause) {
    if (!(cause instanceof Refusal && FOR_GOOD.has(cause.code))) throw cause;
    refused.add(name);
    run.ports.log.error({ writer, chain, err: cause }, "records in Redis cannot be gathered: they are left there");
    return "none";
  }
  await trim(run, { writer, chain, keys }, { before, batches });
  return entries.length === BATCHES ? "more" : "all";
}

type Batch = {
  readonly file: string;
  readonly lines: readonly string[];
  readonly bytes: number;
  /** The last line's. */
  readonly head: Head;
};

/** @throws Refusal invalid_request: it would be copied, and could not be taken out */
function batchOf([id, fields]: readonly [string, readonly string[]], chain: string): Batch {
  const value = (name: string): string => fields[fields.indexOf(name) + 1] ?? "";
  const file = value("file");
  const text = value("lines");
  const lines = text.split("\n");
  const rest = lines.pop();
  const last = lines.at(-1) ?? "";
  const sequence = linkOf(Buffer.from(last, "latin1"))?.sequence ?? 0;
  if (rest !== "" || id !== `${sequence}-0` || parseSegment(file)?.chain !== chain)
    throw new Refusal("invalid_request", "A batch of records is not what it says.");
  return { file, lines, bytes: text.length, head: { sequence, hash: digestOf(last) } };
}

const FOR_GOOD: ReadonlySet<string> = new Set(["conflict", "invalid_request"]);

type Copied = { readonly before: Elsewhere; readonly batches: readonly Batch[] };

async function trim(run: Run, { chain, keys }: Chain, { before, batches }: Copied): Promise<void> {
  const { sequence, hash } = batches.at(-1)?.head ?? GENESIS;
  const bytes = batches.reduce((sum, batch) => sum + batch.bytes, 0);
  const trimmed = await run.trim(
    [keys.head(chain), keys.lines(chain), keys.usage],
    [before.sequence, sequence, hash, run.options.keeper, sequence + 1, bytes],
  );
  run.records += trimmed === 1 ? sequence - before.sequence : 0;
}
