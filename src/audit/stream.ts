/**
 * A second place for the lines of a chain, which outlives this host: a Redis stream, until a gatherer has them on disk (drain.ts).
 * What surprises: a batch whose fate is unknown is never sent again. Its chain ends there, in the spool too (chain.ts),
 * so that what Redis kept of it, or takes when it wakes up, can be a record too many but never a fork.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { Ports } from "../ports.ts";
import { dangersOf, dialRedis, scriptOn } from "../redis.ts";
import type { RedisClient } from "../redis.ts";
import { clusterFault } from "../redis-url.ts";
import type { Head } from "./link.ts";
import { parseSegment } from "./segments.ts";
import { ADD, GATHERER, TOUCH, WRITERS, streamKeys } from "./stream-scripts.ts";

/** Whole lines of one file of the spool. */
export type StreamBatch = {
  readonly file: string;
  /** What they follow. */
  readonly after: Head;
  readonly head: Head;
  readonly text: string;
};
export type StreamStatus = {
  /** Redis takes nothing, or did not say so lately. */
  readonly away: boolean;
  /** For people: what somebody must change before it takes anything; null where that is not known. */
  readonly why: string | null;
  readonly full: boolean;
  /** What nobody has gathered yet. */
  readonly waitingBytes: number;
  /** Somebody gathers. */
  readonly gathered: boolean;
};
export type Stream = {
  /** Resolves once Redis has the lines. After a rejection it may have them all the same, and nothing may follow them. */
  readonly append: (batch: StreamBatch) => Promise<void>;
  readonly writable: () => boolean;
  readonly status: () => StreamStatus;
  /** What of Redis's set-up could lose records; empty if nothing could. */
  readonly examine: () => Promise<readonly string[]>;
  readonly close: () => void;
};
export type StreamOptions = {
  /** May hold a password: it is never logged. */
  readonly url: string;
  /** Under which name the records are gathered. */
  readonly writer: string;
  readonly commandMs?: number;
  /** Of all lines of this writer that nobody has gathered: beyond it, none is taken. */
  readonly bytesMax?: number;
};

const COMMAND_MS = 1_000;
const BYTES_MAX = 256 * 1024 * 1024;
/** A stream that was full is written again when this part of the bound is left. */
const ROOM_AGAIN = 0.1;
const PROBE_MS = 1_000;
const PROBE_AWAY_MS = 250;
/** A process that was stopped for longer may have been forgotten as a writer: it says first that it is there. */
const PROBED_MS_MAX = 30_000;
const START_MS_MAX = 1_000;

type State = {
  away: boolean;
  why: string | null;
  full: boolean;
  bytes: number;
  gathered: boolean;
  probedMs: number;
  chain: string | null;
};

/** Waits for Redis, but not long: a gateway starts without it, and is not ready. */
export async function openStream(
  { url, writer, commandMs = COMMAND_MS, bytesMax = BYTES_MAX }: StreamOptions,
  ports: Pick<Ports, "clock" | "log">,
): Promise<Stream> {
  const client = dialRedis(url, commandMs, ports.clock);
  const state: State = { away: true, why: null, full: false, bytes: 0, gathered: false, probedMs: 0, chain: null };
  const add = adding(client, writer, bytesMax);
  const stop = await watch(client, { writer, bytesMax, state }, ports);
  const away = (): boolean => state.away || ports.clock.monotonicMs() - state.probedMs > PROBED_MS_MAX;
  return {
    append: async (batch) => {
      state.chain = parseSegment(batch.file)?.chain ?? null;
      try {
        const said = await add(batch);
        if (said === TAKEN) return;
        state.full ||= said === FULL;
        throw new Error(said === FULL ? "Nobody gathers the records in Redis." : "Redis has other records there.");
      } catch (cause) {
        // the next probe says whether it is back
        state.away = true;
        throw cause;
      }
    },
    writable: () => !away() && !state.full,
    status: () => ({
      away: away(),
      why: state.why,
      full: state.full,
      waitingBytes: state.bytes,
      gathered: state.gathered,
    }),
    examine: () => dangersOf(client, "records"),
    close: () => {
      stop();
      client.disconnect();
    },
  };
}

const TAKEN = 1;
const FULL = -1;

function adding(client: RedisClient, writer: string, bytesMax: number): (batch: StreamBatch) => Promise<number> {
  const script = scriptOn<number>(client, "portcullisRecords", ADD);
  const keys = streamKeys(writer);
  return ({ file, after, head, text }) => {
    const chain = parseSegment(file)?.chain ?? file;
    const links = [after.sequence, after.hash, head.sequence, head.hash];
    return script(
      [keys.lines(chain), keys.head(chain), keys.chains, keys.usage],
      [...links, chain, file, text, bytesMax],
    );
  };
}

type Watched = Required<Pick<StreamOptions, "writer" | "bytesMax">> & { readonly state: State };

/** Tells Redis again and again that this writer lives, which also tells whether Redis does. Returns the way to stop. */
async function watch(
  client: RedisClient,
  { writer, bytesMax, state }: Watched,
  { clock, log }: Pick<Ports, "clock" | "log">,
): Promise<() => void> {
  const touch = scriptOn<number>(client, "portcullisTouch", TOUCH);
  const keys = streamKeys(writer);
  let timer: NodeJS.Timeout | undefined;
  let closed = false;
  let told = false;
  const probe = async (): Promise<void> => {
    const probedMs = clock.monotonicMs();
    try {
      const chain = state.chain === null ? [] : [touch([keys.chains], [state.chain])];
      const asked = [client.hget(keys.usage, "bytes"), client.exists(GATHERER), touch([WRITERS], [writer])] as const;
      const [bytes, gathered] = await Promise.all([...asked, ...chain]);
      Object.assign(state, { away: false, why: null, bytes: Number(bytes ?? 0), gathered: gathered === 1, probedMs });
      state.full = state.bytes >= bytesMax * (state.full ? 1 - ROOM_AGAIN : 1);
    } catch (cause) {
      Object.assign(state, { away: true, why: clusterFault(cause) });
    }
    const why = state.why === null ? "" : `: ${state.why}`;
    if (state.away && !told) log.warn({ writer }, `Redis takes no records: calls are refused${why}`);
    if (!state.away && told) log.info({ writer }, "Redis takes records again");
    told = state.away;
    if (!closed) timer = setTimeout(() => void probe(), state.away ? PROBE_AWAY_MS : PROBE_MS).unref();
  };
  await Promise.race([new Promise((ready) => client.once("ready", ready)), sleep(START_MS_MAX, null, { ref: false })]);
  await probe();
  return () => {
    closed = true;
    clearTimeout(timer);
  };
}
