/**
 * One log of changes for several gateways, in Redis, and a copy of it here. What surprises: the copy is no cache. A Redis
 * that comes back empty, or without its newest changes, gets from whoever has them what it lost; one that holds another
 * history is believed by nobody, since a key revoked in the one may be alive in the other.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseOwnJson } from "../json.ts";
import type { JsonObject } from "../model.ts";
import type { Ports } from "../ports.ts";
import { Refusal } from "../refusal.ts";
import { scriptOn } from "../redis.ts";
import type { RedisClient } from "../redis.ts";
import type { Entry, Local, Logged } from "./store.ts";

export type SharedLog = {
  /** Makes the two the same. @throws Diverged, and whatever keeps Redis from answering */
  readonly sync: () => Promise<void>;
  /** @see Store.append */
  readonly append: (entry: Entry, expected: number) => Promise<number>;
  /** Redis's time, as far as is known. */
  readonly redisMs: (nowMs: number) => number;
};
type Given = {
  readonly local: Local;
  readonly commandMs: number;
  /** Whether it is a change that this version knows. */
  readonly understood: (change: JsonObject) => boolean;
  /** Told of what is new here before it is written, maybe again and again; then, unless it was appended here, once after. */
  readonly heard: (entries: readonly Logged[]) => void;
  readonly changed: (entries: readonly Logged[]) => void;
};

/** The log in Redis is not the one that this gateway knows. */
export class Diverged extends Error {
  override readonly name = "Diverged";
}

/** What stands there next says nothing to this version: it is not kept, nor what follows it. */
export class NotUnderstood extends Error {
  override readonly name = "NotUnderstood";
}

const LOG = "portcullis:{state}:changes";
const BATCH = 200;
const SETTLE_MS = 100;
/** How long a change waits for word of what became of it. */
const SETTLE_MS_MAX = 3_000;

export function createSharedLog(
  client: RedisClient,
  { local, commandMs, understood, heard, changed }: Given,
  { clock }: Pick<Ports, "clock">,
): SharedLog {
  const read = scriptOn<readonly [readonly string[], string, string]>(client, "portcullisRead", READ);
  const add = scriptOn<number>(client, "portcullisAppend", APPEND);
  const known = local.changes();
  let count = known.length;
  let last = textOf(known.at(-1));
  let aheadMs = 0;
  /** Redis's own time at the last look into the log. */
  let lookedMs = 0;
  const redisMs = (): number => clock.nowMs() + aheadMs;

  const keep = (texts: readonly string[], own = false): readonly Logged[] => {
    if (texts.length === 0) return [];
    const entries = texts.map((text, at) => ({ revision: count + 1 + at, ...entryOf(text) }));
    // what was appended here is in force in a moment
    if (!own) heard(entries);
    count = local.append(entries);
    last = texts.at(-1) ?? last;
    return entries;
  };
  /** Of what follows, all up to what is not understood. @throws NotUnderstood */
  const take = (texts: readonly string[], mine: Mine | null): void => {
    const bad = texts.findIndex((text) => !isEntry(text, understood));
    const fresh = [...keep(bad === -1 ? texts : texts.slice(0, bad))];
    if (mine !== null && fresh[0]?.revision === mine.revision && textOf(fresh[0]) === mine.text) {
      mine.made = true;
      fresh.shift();
    }
    if (fresh.length > 0) changed(fresh);
    if (bad !== -1) throw new NotUnderstood();
  };
  const sync = async (mine: Mine | null): Promise<void> => {
    for (;;) {
      const askedMs = clock.nowMs();
      const from = Math.max(count - 1, 0);
      const [texts, seconds, micros] = await read([LOG], [from, from + BATCH]);
      lookedMs = Number(seconds) * 1000 + Number(micros) / 1000;
      aheadMs = lookedMs - askedMs;
      if (count > 0 && texts.length === 0) await giveBack();
      else if (count > 0 && texts[0] !== last) throw new Diverged();
      else {
        take(count > 0 ? texts.slice(1) : texts, mine);
        if (texts.length <= BATCH) return;
      }
    }
  };
  /** To a log that lacks the newest changes: each as if it were made now, in order. */
  const giveBack = async (): Promise<void> => {
    const own = local.changes().map(textOf);
    const held = await client.llen(LOG);
    // others gave back meanwhile, and more than is known here
    if (held > own.length) return;
    if (held > 0 && (await client.lindex(LOG, held - 1)) !== own[held - 1]) throw new Diverged();
    for (const [at, text] of own.entries())
      if (at >= held && (await add([LOG], [redisMs() + commandMs, at, own[at - 1] ?? "", text])) <= 0) return;
  };
  /** After no answer: it may still be carried out until its deadline, in Redis's own time, and never after it. */
  const settled = async (text: string, untilMs: number): Promise<number> => {
    const mine: Mine = { text, revision: count + 1, made: false };
    for (const endMs = clock.monotonicMs() + SETTLE_MS_MAX; clock.monotonicMs() < endMs;) {
      await sleep(SETTLE_MS);
      const looked = await sync(mine).then(
        () => true,
        () => false,
      );
      if (mine.made) return mine.revision;
      if (count >= mine.revision) throw conflict();
      // by Redis's own clock, at that look: ours, and how far it is behind, may have been wrong when it was sent
      if (looked && lookedMs > untilMs) throw away();
    }
    throw new Refusal("upstream_timeout", "The shared store did not say whether the change was made.");
  };
  return {
    sync: () => sync(null),
    append: async (entry, expected) => {
      if (count !== expected) throw conflict();
      const text = textOf(entry);
      const untilMs = redisMs() + commandMs;
      const said = await add([LOG], [untilMs, count, last, text]).catch(() => null);
      if (said === null || said === TOO_LATE) return await settled(text, untilMs);
      if (said === TAKEN) throw conflict();
      keep([text], true);
      return count;
    },
    redisMs: (nowMs) => nowMs + aheadMs,
  };
}

/** The change that waits for word of itself, and its place. */
type Mine = { readonly text: string; readonly revision: number; made: boolean };

function entryOf(text: string): Entry {
  const { at, by, change } = parseOwnJson(text) as JsonObject & Entry;
  return { at, by, change };
}

function isEntry(text: string, understood: Given["understood"]): boolean {
  try {
    const entry = entryOf(text);
    // what more there is would be forgotten here, and be another history after a restart
    if (textOf(entry) !== text) return false;
    return typeof entry.at === "string" && typeof entry.by === "string" && understood(entry.change);
  } catch {
    return false;
  }
}

/** The same for each of the two, byte for byte. */
function textOf(entry: Entry | undefined): string {
  if (entry === undefined) return "";
  const { at, by, change } = entry;
  return JSON.stringify({ at, by, change });
}

function conflict(): Refusal {
  return new Refusal("conflict", "Something else was changed meanwhile: look again, then change.");
}

function away(): Refusal {
  return new Refusal("upstream_unavailable", "The shared store did not answer: nothing was changed.");
}

const TAKEN = 0;
const TOO_LATE = -1;

const READ = `
local now = redis.call('time')
return { redis.call('lrange', KEYS[1], ARGV[1], ARGV[2]), now[1], now[2] }
`;
/** The deadline; how long the log is for its writer, and the last change in it; the new one. */
const APPEND = `
local now = redis.call('time')
if now[1] * 1000 + now[2] / 1000 > tonumber(ARGV[1]) then return ${TOO_LATE} end
if redis.call('llen', KEYS[1]) ~= tonumber(ARGV[2]) then return ${TAKEN} end
if (redis.call('lindex', KEYS[1], -1) or '') ~= ARGV[3] then return ${TAKEN} end
return redis.call('rpush', KEYS[1], ARGV[4])
`;
