/**
 * Limits of one process. A window begins with its first charge and is rate-limiter-flexible's own; three charges cost
 * 1 µs. What surprises: a limiter stands for a number and a window, not for a limit, so that a reloaded file leaves the
 * counters of unchanged limits alone; and no window is longer than Node's longest timer, 24.8 days, which would
 * otherwise fire at once and forget the count.
 */
import { RateLimiterMemory, RateLimiterRes } from "rate-limiter-flexible";
import type { Limit, LimitState } from "../model.ts";
import type { Charge } from "./charge.ts";
import type { Counters, Taken } from "./counters.ts";

/** Bounded by who may call what: counters exist only for principals and tools that are known, and end with a window. */
export function memoryCounters(): Counters {
  const limiters: Limiters = new Map();
  return {
    charge: (charges) => chargeAll(limiters, charges),
    look: async ({ limit, key }) => stateOf(limit, await limiterOf(limiters, limit).get(key)),
    status: () => ({ store: "memory", away: false, sinceMs: null }),
    examine: async () => [],
    close: () => {},
  };
}

/** A limit's state after a charge, or, where there is no counter yet, its state untouched. */
export function stateOf({ name, limit, windowMs }: Limit, counted: RateLimiterRes | null): LimitState {
  // a counter whose window is over but whose timer is late counts no more
  const running = counted !== null && counted.msBeforeNext > 0;
  const remaining = running ? Math.max(limit - counted.consumedPoints, 0) : limit;
  return { name, limit, windowMs, remaining, resetMs: running ? Math.ceil(counted.msBeforeNext) : windowMs };
}

function limiterOf(limiters: Limiters, { limit, windowMs }: Limit): RateLimiterMemory {
  const kind = `${limit}/${windowMs}`;
  const known = limiters.get(kind);
  if (known !== undefined) return known;
  const duration = Math.min(Math.max(windowMs, 1), TIMER_MS_MAX) / 1000;
  const limiter = new RateLimiterMemory({ points: limit, duration, keyPrefix: "" });
  limiters.set(kind, limiter);
  return limiter;
}

type Limiters = Map<string, RateLimiterMemory>;

async function chargeAll(limiters: Limiters, charges: readonly Charge[]): Promise<readonly Taken[]> {
  const taken = await Promise.all(charges.map((charge) => take(limiterOf(limiters, charge.limit), charge)));
  if (taken.every(({ verdict }) => verdict === "charged")) return taken;
  return await Promise.all(taken.map((one, at) => giveBack(limiters, charges[at] as Charge, one)));
}

async function take(limiter: RateLimiterMemory, { limit, key }: Charge): Promise<Taken> {
  try {
    return { verdict: "charged", state: stateOf(limit, await limiter.consume(key)) };
  } catch (refused) {
    if (!(refused instanceof RateLimiterRes)) throw refused;
    return { verdict: "exhausted", state: stateOf(limit, refused) };
  }
}

/** Also of a counter that refused: it counts refusals too. */
async function giveBack(limiters: Limiters, { limit, key }: Charge, { verdict, state }: Taken): Promise<Taken> {
  const limiter = limiterOf(limiters, limit);
  const counted = await limiter.reward(key);
  // the window ended in between: what was given back would be one call too many in the next
  const { consumedPoints } = counted.consumedPoints < 0 ? await limiter.penalty(key) : counted;
  if (verdict === "exhausted") return { verdict, state };
  return { verdict: "spared", state: { ...state, remaining: Math.max(limit.limit - consumedPoints, 0) } };
}

const TIMER_MS_MAX = 2_147_483_647;
