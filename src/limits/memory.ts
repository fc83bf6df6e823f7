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
  const limiters = new Map<string, RateLimiterMemory>();
  return {
    take: (charge) => take(limiterOf(limiters, charge.limit), charge),
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

function limiterOf(limiters: Map<string, RateLimiterMemory>, { limit, windowMs }: Limit): RateLimiterMemory {
  const kind = `${limit}/${windowMs}`;
  const known = limiters.get(kind);
  if (known !== undefined) return known;
  const duration = Math.min(Math.max(windowMs, 1), TIMER_MS_MAX) / 1000;
  const limiter = new RateLimiterMemory({ points: limit, duration, keyPrefix: "" });
  limiters.set(kind, limiter);
  return limiter;
}

async function take(limiter: RateLimiterMemory, { limit, key }: Charge): Promise<Taken> {
  const giveBack = (): void => void giveOneBack(limiter, key);
  try {
    return { verdict: "charged", state: stateOf(limit, await limiter.consume(key)), giveBack };
  } catch (refused) {
    if (!(refused instanceof RateLimiterRes)) throw refused;
    // it counts refusals too
    giveBack();
    return { verdict: "exhausted", state: stateOf(limit, refused), giveBack };
  }
}

async function giveOneBack(limiter: RateLimiterMemory, key: string): Promise<void> {
  const { consumedPoints } = await limiter.reward(key);
  // the window ended in between: what was given back would be one call too many in the next
  if (consumedPoints < 0) await limiter.penalty(key);
}

const TIMER_MS_MAX = 2_147_483_647;
