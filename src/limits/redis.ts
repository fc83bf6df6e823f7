/**
 * Limits that several gateways share. What surprises: the client never queues, resends or waits (its defaults hang for
 * ever while Redis is away): a command has 80 ms, one failure opens the breaker, and each limit then does what its
 * `redisDown` says. A command that timed out may still be executed when Redis wakes up: it counts one call too many,
 * never one too few. While Redis is away each gateway counts alone, and these counts are not added up afterwards.
 */
import { Redis } from "ioredis";
import { RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";
import type { Limit } from "../model.ts";
import type { Ports } from "../ports.ts";
import { createBreaker } from "./breaker.ts";
import type { Charge } from "./charge.ts";
import type { Counters, Taken } from "./counters.ts";
import { stateOf } from "./memory.ts";

/** `local` counts while Redis is away. The URL may hold a password: it is never logged. */
export async function redisCounters(
  { url, commandMs = COMMAND_MS }: { readonly url: string; readonly commandMs?: number | undefined },
  local: Counters,
  ports: Pick<Ports, "clock" | "log">,
): Promise<Counters> {
  const client = new Redis(url, { ...CLIENT_OPTIONS, commandTimeout: commandMs });
  // the client would print what nobody hears, addresses and all; the breaker learns from the commands that fail
  client.on("error", () => {});
  const limiters = new Map<string, RateLimiterRedis>();
  const limiterFor = (limit: Limit): RateLimiterRedis => limiterOf(client, limiters, limit);
  // a write through the same script: a Redis that is full, read-only or still loading is away too
  const breaker = createBreaker(async () => void (await limiterFor(PROBE).penalty("{probe}")), ports);
  const count = async (charge: Charge): Promise<Taken | null> => {
    if (breaker.away()) return null;
    const limiter = limiterFor(charge.limit);
    const taken = await consume(limiter, charge);
    if (taken === null) breaker.trip();
    return taken;
  };
  await breaker.settled(START_MS_MAX);
  return {
    take: async (charge) =>
      (await count(charge)) ?? (charge.limit.redisDown === "local" ? local.take(charge) : away(charge)),
    look: async (charge) => {
      const { limit, key } = charge;
      const counted = breaker.away()
        ? undefined
        : await limiterFor(limit)
            .get(key)
            .catch(() => undefined);
      if (counted !== undefined) return stateOf(limit, counted);
      return limit.redisDown === "local" ? local.look(charge) : away(charge).state;
    },
    status: () => ({ store: "redis", away: breaker.away(), sinceMs: breaker.sinceMs() }),
    examine: async () => {
      if (breaker.away()) return AWAY;
      try {
        return dangersIn(await client.info());
      } catch (cause) {
        if (cause instanceof Error && cause.name === "ReplyError") return ["it does not say how it is set up (INFO)"];
        breaker.trip();
        return AWAY;
      }
    },
    close: () => {
      breaker.close();
      client.disconnect();
    },
  };
}

/** Null where Redis did not answer. */
async function consume(limiter: RateLimiterRedis, { limit, key }: Charge): Promise<Taken | null> {
  const giveBack = (): void => void limiter.reward(key).catch(() => {});
  try {
    return { verdict: "charged", state: stateOf(limit, await limiter.consume(key)), giveBack };
  } catch (refused) {
    return refused instanceof RateLimiterRes
      ? { verdict: "exhausted", state: stateOf(limit, refused), giveBack }
      : null;
  }
}

/** Counts that an eviction or a restart would forget are calls too many. */
function dangersIn(info: string): readonly string[] {
  const said = (name: string): string => new RegExp(`^${name}:(.*?)\r?$`, "m").exec(info)?.[1] ?? "";
  const evicts = said("maxmemory") !== "0" && said("maxmemory_policy") !== "noeviction";
  return [
    ...(said("aof_enabled") === "1" ? [] : ["a restart forgets counts: set appendonly yes"]),
    ...(evicts ? ["a full memory forgets counts: set maxmemory-policy noeviction"] : []),
  ];
}

function away({ limit: { name, limit, windowMs } }: Charge): Taken {
  return {
    verdict: "away",
    state: { name, limit, windowMs, remaining: 0, resetMs: AWAY_RETRY_MS },
    giveBack: () => {},
  };
}

function limiterOf(
  client: Redis,
  limiters: Map<string, RateLimiterRedis>,
  { limit, windowMs }: Limit,
): RateLimiterRedis {
  const kind = `${limit}/${windowMs}`;
  const known = limiters.get(kind);
  if (known !== undefined) return known;
  const limiter = new RateLimiterRedis({
    storeClient: client,
    points: limit,
    // the package counts seconds; our script reads the number as milliseconds, so that no window is rounded
    duration: Math.max(windowMs, 1),
    keyPrefix: "portcullis:limit",
    customIncrTtlLuaScript: SCRIPT,
  });
  limiters.set(kind, limiter);
  return limiter;
}

/**
 * In place of the package's own script: a refused charge does not count, nothing is given back to a window that is
 * over, and a window shortened in the file is shortened here. Returns the charges, with this one, and the window's rest.
 */
const SCRIPT = `
local points, window, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local rest = redis.call('pttl', KEYS[1])
local used = 0
if rest > 0 then used = tonumber(redis.call('get', KEYS[1])) end
if rest > window then
  redis.call('pexpire', KEYS[1], window)
  rest = window
end
if points < 0 and used == 0 then return {0, window} end
if points > 0 and used + points > limit then return {used + points, math.max(rest, 1)} end
if rest > 0 then
  redis.call('incrby', KEYS[1], points)
else
  redis.call('set', KEYS[1], points, 'PX', window)
  rest = window
end
return {used + points, rest}
`;

const PROBE: Limit = {
  name: "probe",
  always: false,
  key: [],
  limit: Number.MAX_SAFE_INTEGER,
  windowMs: 1000,
  redisDown: "closed",
};
const AWAY = ["away: each limit does what it declares"];
const AWAY_RETRY_MS = 1000;
/** A gateway starts without Redis, but a `closed` limit should not refuse its first calls for want of a handshake. */
const START_MS_MAX = 500;
const COMMAND_MS = 80;
const CLIENT_OPTIONS = {
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  // the probe finds out whether Redis is ready, with no more rights than the limits need
  enableReadyCheck: false,
  disableClientInfo: true,
  connectTimeout: 500,
  // a connection that swallows commands is given up, and with it what was queued on it
  socketTimeout: 1000,
  retryStrategy: (attempt: number) => Math.min(50 * attempt, 500),
} as const;
