/**
 * Limits that several gateways share. What surprises: a command has 80 ms, one failure opens the breaker, and each limit
 * then does what its `redisDown` says. A command that timed out may still reach Redis when that wakes up: it carries its deadline, in
 * Redis's own time, and is then not counted. While Redis is away each gateway counts alone, and these counts are not added up afterwards.
 */
import { RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";
import type { Limit } from "../model.ts";
import type { Ports } from "../ports.ts";
import { dangersIn, dialRedis, scriptOn } from "../redis.ts";
import type { RedisClient, Script } from "../redis.ts";
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
  const client = dialRedis(url, commandMs);
  // for looking only: charges go through the script, and points and duration play no part
  const counters = new RateLimiterRedis({ storeClient: client, keyPrefix: PREFIX, points: 1, duration: 1 });
  const line = lineTo(client, commandMs, ports);
  const breaker = createBreaker(line.probe, ports);
  const count = async (charges: readonly Charge[]): Promise<readonly Taken[] | null> => {
    if (breaker.away()) return null;
    try {
      return await line.charge(charges);
    } catch {
      breaker.trip();
      return null;
    }
  };
  await breaker.settled(START_MS_MAX);
  return {
    charge: async (charges) => (await count(charges)) ?? (await chargeAlone(local, charges)),
    look: async (charge) => {
      const { limit, key } = charge;
      const counted = breaker.away() ? undefined : await counters.get(key).catch(() => undefined);
      if (counted !== undefined) return stateOf(limit, counted);
      return limit.redisDown === "local" ? local.look(charge) : away(charge).state;
    },
    status: () => ({ store: "redis", away: breaker.away(), sinceMs: breaker.sinceMs() }),
    examine: async () => {
      if (breaker.away()) return AWAY;
      try {
        return dangersIn(await client.info(), "counts");
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

type Line = {
  /** @throws whatever keeps Redis from answering in time */
  readonly charge: (charges: readonly Charge[]) => Promise<readonly Taken[]>;
  readonly probe: () => Promise<void>;
};

/** Keeps Redis's clock less ours, as of the last probe: where either jumps, charges come late, and the next probe mends it. */
function lineTo(client: RedisClient, commandMs: number, { clock }: Pick<Ports, "clock">): Line {
  let aheadMs = 0;
  const script = scriptOn<readonly number[]>(client, "portcullisCharge", SCRIPT);
  const charge: Line["charge"] = (charges) => chargeAll(script, charges, clock.nowMs() + aheadMs + commandMs);
  return {
    charge,
    probe: async () => {
      const askedMs = clock.nowMs();
      const [seconds = 0, micros = 0] = (await client.time()).map(Number);
      aheadMs = seconds * 1000 + micros / 1000 - askedMs;
      // a write through the same script: a Redis that is full, read-only or still loading is away too
      await charge([PROBE]);
    },
  };
}

/** Redis is away: each limit does what it declares, and a call that one of them refuses is not counted here either. */
async function chargeAlone(local: Counters, charges: readonly Charge[]): Promise<readonly Taken[]> {
  const isLocal = ({ limit }: Charge): boolean => limit.redisDown === "local";
  if (charges.every(isLocal)) return await local.charge(charges);
  return await Promise.all(
    charges.map(async (one) => (isLocal(one) ? { verdict: "spared", state: await local.look(one) } : away(one))),
  );
}

/** @throws whatever keeps Redis from answering, and where it answers after `deadlineMs`, in its own time */
async function chargeAll(
  script: Script<readonly number[]>,
  charges: readonly Charge[],
  deadlineMs: number,
): Promise<readonly Taken[]> {
  const said = await script(
    charges.map(({ key }) => `${PREFIX}:${key}`),
    [Math.ceil(deadlineMs), ...charges.flatMap(({ limit: { limit, windowMs } }) => [limit, Math.max(windowMs, 1)])],
  );
  if (said.length === 0) throw new Error("Redis was too late.");
  return charges.map(({ limit }, at) => takenOf(limit, said.slice(at * 3, at * 3 + 3)));
}

const VERDICTS = ["exhausted", "charged", "spared"] as const;

function takenOf(limit: Limit, [verdict = 0, used = 0, restMs = 0]: readonly number[]): Taken {
  const state = stateOf(limit, new RateLimiterRes(0, restMs, used));
  return { verdict: VERDICTS[verdict] ?? "exhausted", state };
}

function away({ limit: { name, limit, windowMs } }: Charge): Taken {
  return { verdict: "away", state: { name, limit, windowMs, remaining: 0, resetMs: AWAY_RETRY_MS } };
}

/**
 * All limits of a call in one round trip, charged together or not at all. The package's own script knows one counter,
 * counts refusals too, and leaves a window alone that was shortened in the file. First argument: the deadline. Per counter: whether it is full (0),
 * charged (1) or spared (2), what is used, and the rest of its window in milliseconds.
 */
const SCRIPT = `
local now = redis.call('time')
if now[1] * 1000 + now[2] / 1000 > tonumber(ARGV[1]) then return {} end
local used, rest, runs, full = {}, {}, {}, false
for at, key in ipairs(KEYS) do
  local limit, window = tonumber(ARGV[2 * at]), tonumber(ARGV[2 * at + 1])
  rest[at] = redis.call('pttl', key)
  runs[at] = rest[at] > 0
  used[at] = runs[at] and tonumber(redis.call('get', key)) or 0
  if rest[at] > window then redis.call('pexpire', key, window) end
  if not runs[at] or rest[at] > window then rest[at] = window end
  if used[at] >= limit then full = true end
end
local said = {}
for at, key in ipairs(KEYS) do
  local verdict = 1
  if full then
    verdict = used[at] >= tonumber(ARGV[2 * at]) and 0 or 2
  elseif runs[at] then
    used[at] = redis.call('incr', key)
  else
    redis.call('set', key, 1, 'PX', ARGV[2 * at + 1])
    used[at] = 1
  end
  said[3 * at - 2], said[3 * at - 1], said[3 * at] = verdict, used[at], rest[at]
end
return said
`;

const PREFIX = "portcullis:limit";
const PROBE: Charge = {
  key: "{probe}",
  limit: { name: "probe", always: false, key: [], limit: Number.MAX_SAFE_INTEGER, windowMs: 1000, redisDown: "closed" },
};
const AWAY = ["away: each limit does what it declares"];
const AWAY_RETRY_MS = 1000;
/** A gateway starts without Redis, but a `closed` limit should not refuse its first calls for want of a handshake. */
const START_MS_MAX = 500;
const COMMAND_MS = 80;
