/**
 * The same for all gateways of one store, by Redis's clock. What surprises: who is missing there was not always
 * forgotten. A Redis that lost them is told again, and after a time in which it could not be asked, or others could not
 * tell it, each of them has a term to come back.
 */
import type { Ports } from "../ports.ts";
import { scriptOn } from "../redis.ts";
import type { RedisClient } from "../redis.ts";
import { idOf, knownRegistrations, readRegistration, same } from "./registrations.ts";
import type { Known, Registrations } from "./registrations.ts";
import type { Local } from "./store.ts";

export type SharedRegistrations = Registrations & {
  /** Rejects with whatever keeps Redis from answering: what was not told is told by the next. */
  readonly sync: () => Promise<void>;
};
type Said = readonly [epoch: string, over: readonly string[], left: readonly string[], there: readonly string[]];
type Given = {
  readonly local: Local;
  /** Makes all the same now. */
  readonly syncAll: () => Promise<void>;
};
/** What Redis is to be told. */
type Untold = { readonly heard: Set<string>; readonly gone: Set<string> };

const KEYS = ["instances", "heard", "epoch", "left"].map((name) => `portcullis:{state}:registered:${name}`);
/** Of four looks none came through: others may not have come through either. */
const GAP_MS = 1_000;

export function sharedRegistrations(
  client: RedisClient,
  { local, syncAll }: Given,
  { clock, random }: Pick<Ports, "clock" | "random">,
): SharedRegistrations {
  const run = scriptOn<Said>(client, "portcullisRegistered", SCRIPT);
  const known = knownRegistrations(local);
  const untold: Untold = { heard: new Set(), gone: new Set() };
  const own = random.hex(16);
  const ended = new Set<string>();
  let epoch: string | null = null;
  let lookedMs = Number.NEGATIVE_INFINITY;
  let backMs = Number.NEGATIVE_INFINITY;
  const settle = ([now, over, left, texts]: Said): void => {
    const forgot = epoch !== null && epoch !== now;
    // of what it forgot all are told again; of what is known from an earlier run nobody knows whether it is alive
    if (forgot) for (const one of known.all()) untold.heard.add(idOf(one));
    const atMs = clock.monotonicMs();
    if (forgot || atMs - lookedMs > GAP_MS) backMs = atMs;
    [epoch, lookedMs] = [now, atMs];
    for (const id of over) ended.add(id);
    const there = texts.flatMap((text) => readRegistration(text) ?? []);
    for (const one of there) ended.delete(idOf(one));
    const ids = new Set(there.map(idOf));
    const missing = known.all().filter((one) => !ids.has(idOf(one)) && !untold.heard.has(idOf(one)));
    const gone = missing.filter((one) => left.includes(idOf(one)) || backMs + one.ttlMs < atMs);
    const news = there.filter((one) => !untold.gone.has(idOf(one)) && !untold.heard.has(idOf(one)));
    known.settle(
      news,
      gone.map(idOf),
      gone.filter((one) => ended.delete(idOf(one))),
    );
  };
  const sync = async (): Promise<void> => {
    const [heard, gone] = [[...untold.heard], [...untold.gone]];
    untold.heard.clear();
    untold.gone.clear();
    try {
      settle(await run(KEYS, [own, ...toldOf(heard, gone, known)]));
    } catch (cause) {
      for (const id of heard) if (!untold.gone.has(id)) untold.heard.add(id);
      for (const id of gone) if (!untold.heard.has(id)) untold.gone.add(id);
      throw cause;
    }
  };
  // whoever is told of it here has it here, whatever keeps Redis
  const tell = (): Promise<void> => syncAll().catch(() => undefined);
  return {
    all: known.all,
    follow: known.follow,
    put: (one) => {
      const news = !same(known.get(idOf(one)), one);
      untold.gone.delete(idOf(one));
      untold.heard.add(idOf(one));
      known.put(one);
      return news ? tell() : Promise.resolve();
    },
    remove: (one) => {
      untold.heard.delete(idOf(one));
      untold.gone.add(idOf(one));
      known.remove(idOf(one));
      return tell();
    },
    sync,
  };
}

function toldOf(heard: readonly string[], gone: readonly string[], known: Known): readonly (string | number)[] {
  const alive = heard.flatMap((id) => known.get(id) ?? []);
  return [alive.length, ...alive.flatMap((one) => [idOf(one), JSON.stringify(one), one.ttlMs]), ...gone];
}

/** Whoever has not looked for so long has its own way to forget: a term. */
const LEFT_MS = 300_000;

/** ARGV: an epoch, where there is none; how many were heard; of each its id, itself, its term; the ids of those that left. */
const SCRIPT = `
for at, kind in ipairs({'hash', 'zset', 'string', 'zset'}) do
  local is = redis.call('type', KEYS[at]).ok
  if is ~= kind and is ~= 'none' then redis.call('del', KEYS[at]) end
end
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch = redis.call('get', KEYS[3])
if not epoch then
  epoch = ARGV[1]
  redis.call('set', KEYS[3], epoch)
end
local at = 3
for _ = 1, tonumber(ARGV[2]) do
  redis.call('hset', KEYS[1], ARGV[at], ARGV[at + 1])
  redis.call('zadd', KEYS[2], now + ARGV[at + 2], ARGV[at])
  redis.call('zrem', KEYS[4], ARGV[at])
  at = at + 3
end
local function forget(id)
  redis.call('hdel', KEYS[1], id)
  redis.call('zrem', KEYS[2], id)
end
for left = at, #ARGV do
  forget(ARGV[left])
  redis.call('zadd', KEYS[4], now + ${LEFT_MS}, ARGV[left])
end
redis.call('zremrangebyscore', KEYS[4], '-inf', now)
local over = redis.call('zrangebyscore', KEYS[2], '-inf', now)
for _, id in ipairs(over) do forget(id) end
return {epoch, over, redis.call('zrange', KEYS[4], 0, -1), redis.call('hvals', KEYS[1])}
`;
