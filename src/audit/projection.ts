/**
 * The audit trail as people ask for it: pages of calls, counts, statistics, and calls as they end, from an index that a
 * thread keeps beside the trail. What surprises: nobody who calls a tool waits for it, and it can be thrown away at any
 * time; it runs when somebody asks, or in a quiet moment when much has been recorded, and ends when there is nothing to do.
 */
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { Worker } from "node:worker_threads";
import type { Clock } from "../ports.ts";
import { Refusal } from "../refusal.ts";
import { threadEnv } from "../threads.ts";
import type { Answer, Place, Question, Reply } from "./projection-worker.ts";
import type { Asked, PageQuery } from "./projection-query.ts";
import type { CallStats, StatsQuery } from "./projection-stats.ts";
import type { CallRow } from "./row.ts";

export type CallPage = {
  readonly rows: readonly CallRow[];
  /** Where to go on; null where nothing was found. */
  readonly endCursor: string | null;
  readonly hasNextPage: boolean;
  /** Bytes of the trail that had not been read in time: what they hold is missing. */
  readonly behindBytes: number;
};
/** Calls that ended, and how many more did that were not kept. */
export type Followed = { readonly rows: readonly CallRow[]; readonly missed: number };
/** Each throws Refusal: invalid_request, overloaded where too many ask or it takes too long, audit_unavailable. */
export type Projection = {
  readonly page: (query: PageQuery) => Promise<CallPage>;
  readonly count: (asked: Asked) => Promise<number>;
  readonly stats: (query: StatsQuery) => Promise<CallStats & { readonly behindBytes: number }>;
  /**
   * Calls that end from now on. What comes is kept for whoever is slow, up to a bound; `next` resolves after `waitMs`
   * at the latest, then with nothing.
   */
  readonly follow: (asked: Asked) => Promise<Following>;
  /** Builds it anew; resolves once that is done, or to how much is left when it takes long. */
  readonly rebuild: () => Promise<number>;
  /** As of the last look. */
  readonly behindBytes: () => number;
  readonly close: () => Promise<void>;
};
export type Following = { readonly next: (waitMs: number) => Promise<Followed>; readonly leave: () => void };
export type ProjectionOptions = {
  /** Of the trail; those gathered from others are below it. */
  readonly directory: string;
  /** How many records were written or gathered since the start. */
  readonly records: () => number;
  /** Share of the time since the last look in which this thread had work to do, 0 to 1. */
  readonly utilization?: () => number;
};

export const INDEX_FILE = "index.db";
const ANSWER_MS = 30_000;
const QUESTIONS_MAX = 64;
const FOLLOWERS_MAX = 200;
const KEPT_MAX = 1_000;
const WATCH_MS = 1_000;
/** Nobody asked: it reads on when so many records wait, or any at all for so long. */
const WAITING_RECORDS_MAX = 20_000;
const WAITING_MS_MAX = 60_000;
/** While calls keep this gateway busy, so much may wait: on few cores the thread would take from them what it needs. */
const BUSY = 0.25;
const PUT_OFF = 10;
const IDLE_MS = 30_000;
const MEMORY = { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 4 } as const;

type Waiting = {
  readonly resolve: (answer: Answer) => void;
  readonly reject: (refusal: Refusal) => void;
  readonly late: NodeJS.Timeout;
};
type Kept = { rows: CallRow[]; missed: number; wake: (() => void) | null; readonly asked: Asked };
type Host = {
  readonly options: ProjectionOptions;
  readonly clock: Clock;
  worker: Worker | null;
  readonly waiting: Map<number, Waiting>;
  readonly followers: Map<number, Kept>;
  lastId: number;
  behindBytes: number;
  /** As it last caught up. */
  records: number;
  caughtUpMs: number;
  askedMs: number;
  closed: boolean;
};

export function createProjection(options: ProjectionOptions, { clock }: { readonly clock: Clock }): Projection {
  const nowMs = clock.monotonicMs();
  const host: Host = {
    options,
    clock,
    worker: null,
    waiting: new Map(),
    followers: new Map(),
    lastId: 0,
    behindBytes: 0,
    records: -1,
    caughtUpMs: nowMs,
    askedMs: nowMs,
    closed: false,
  };
  const { utilization = sinceLastLook() } = options;
  const watch = setInterval(() => look(host, utilization()), WATCH_MS).unref();
  return {
    page: async (query) => {
      const { kind: _, ...page } = told(await ask(host, { kind: "page", ...query }), "page");
      return page;
    },
    count: async (asked) => told(await ask(host, { kind: "count", ...asked }), "count").count,
    stats: async (query) => {
      const { kind: _, ...stats } = told(await ask(host, { kind: "stats", ...query }), "stats");
      return stats;
    },
    follow: (asked) => follow(host, asked),
    rebuild: async () => (await ask(host, { kind: "rebuild" })).behindBytes,
    behindBytes: () => host.behindBytes,
    close: async () => {
      host.closed = true;
      clearInterval(watch);
      for (const kept of host.followers.values()) kept.wake?.();
      await stop(host, unavailable());
    },
  };
}

function told<Kind extends Answer["kind"]>(answer: Answer, kind: Kind): Answer & { readonly kind: Kind } {
  if (answer.kind !== kind) throw new Error("The index answered something else.");
  return answer as Answer & { readonly kind: Kind };
}

function sinceLastLook(): () => number {
  let last = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, last);
    last = now;
    return utilization;
  };
}

/** Starts it where much waits, ends it where nothing does. */
function look(host: Host, utilization: number): void {
  const nowMs = host.clock.monotonicMs();
  const waits = host.options.records() - host.records;
  const patience = utilization > BUSY ? PUT_OFF : 1;
  const reads =
    waits > WAITING_RECORDS_MAX * patience ||
    (waits > 0 && nowMs - host.caughtUpMs > WAITING_MS_MAX * patience) ||
    (host.behindBytes > 0 && patience === 1);
  if (reads && host.waiting.size === 0) void ask(host, { kind: "catchUp" }).catch(() => {});
  const idle = host.waiting.size === 0 && host.followers.size === 0 && nowMs - host.askedMs > IDLE_MS;
  if (idle && host.worker !== null) void stop(host, unavailable());
}

async function ask(host: Host, question: Question): Promise<Answer> {
  if (host.closed) throw unavailable();
  if (host.waiting.size >= QUESTIONS_MAX)
    throw new Refusal("overloaded", "Too many ask the audit trail.", { retryAfterMs: 1000 });
  const worker = (host.worker ??= start(host));
  const id = ++host.lastId;
  const records = host.options.records();
  host.askedMs = host.clock.monotonicMs();
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const late = setTimeout(() => void stop(host, tooLong()), ANSWER_MS);
  host.waiting.set(id, { resolve, reject, late });
  worker.postMessage({ id, question });
  const answer = await promise;
  host.behindBytes = answer.behindBytes;
  // what was not read in time still waits, or a busy gateway would never have it read
  if (answer.behindBytes === 0) Object.assign(host, { caughtUpMs: host.clock.monotonicMs(), records });
  return answer;
}

function start(host: Host): Worker {
  const { directory } = host.options;
  const place: Place = { directory, file: join(directory, INDEX_FILE) };
  const worker = new Worker(new URL("projection-worker.ts", import.meta.url), {
    env: threadEnv(),
    workerData: place,
    resourceLimits: MEMORY,
  });
  worker.unref();
  worker.on("message", (reply: Reply) => {
    if (host.worker === worker) hear(host, reply);
  });
  const failed = (): void => {
    if (host.worker === worker) void stop(host, unavailable());
  };
  worker.on("error", failed);
  worker.on("exit", failed);
  for (const [follower, { asked }] of host.followers)
    worker.postMessage({ id: 0, question: { kind: "follow", follower, ...asked } });
  return worker;
}

function hear(host: Host, reply: Reply): void {
  if ("follower" in reply) return keep(host.followers.get(reply.follower), reply);
  const waiting = host.waiting.get(reply.id);
  if (waiting === undefined) return;
  host.waiting.delete(reply.id);
  clearTimeout(waiting.late);
  if ("answer" in reply) waiting.resolve(reply.answer);
  else waiting.reject(new Refusal(reply.refused, reply.message));
}

/** Whoever waits is refused; the next question starts it again. */
async function stop(host: Host, refusal: Refusal): Promise<void> {
  const { worker } = host;
  host.worker = null;
  for (const { reject, late } of host.waiting.values()) {
    clearTimeout(late);
    reject(refusal);
  }
  host.waiting.clear();
  await worker?.terminate();
}

function keep(kept: Kept | undefined, { rows, missed }: Followed): void {
  if (kept === undefined) return;
  const room = Math.max(0, KEPT_MAX - kept.rows.length);
  kept.rows.push(...rows.slice(0, room));
  kept.missed += missed + Math.max(0, rows.length - room);
  kept.wake?.();
}

async function follow(host: Host, asked: Asked): Promise<Following> {
  if (host.followers.size >= FOLLOWERS_MAX)
    throw new Refusal("overloaded", "Too many follow the audit trail.", { retryAfterMs: 30_000 });
  const follower = ++host.lastId;
  const kept: Kept = { rows: [], missed: 0, wake: null, asked };
  host.followers.set(follower, kept);
  const leave = (): void => {
    host.followers.delete(follower);
    kept.wake?.();
    if (host.worker !== null) void ask(host, { kind: "leave", follower }).catch(() => {});
  };
  try {
    await ask(host, { kind: "follow", follower, ...asked });
  } catch (refusal) {
    host.followers.delete(follower);
    throw refusal;
  }
  return { next: (waitMs) => next(host, kept, waitMs), leave };
}

async function next(host: Host, kept: Kept, waitMs: number): Promise<Followed> {
  // its thread may have died: it follows again from where it begins
  if (host.worker === null && !host.closed) void ask(host, { kind: "catchUp" }).catch(() => {});
  if (kept.rows.length === 0 && kept.missed === 0 && !host.closed) {
    const { promise, resolve } = Promise.withResolvers<void>();
    kept.wake = resolve;
    const timer = setTimeout(resolve, waitMs);
    await promise;
    clearTimeout(timer);
    kept.wake = null;
  }
  const { rows, missed } = kept;
  Object.assign(kept, { rows: [], missed: 0 });
  return { rows, missed };
}

function unavailable(): Refusal {
  return new Refusal("audit_unavailable", "The index of the audit trail cannot be read.", { retryAfterMs: 1000 });
}

function tooLong(): Refusal {
  return new Refusal("overloaded", "The question takes too long: narrow it, by time for one.", { retryAfterMs: 1000 });
}
