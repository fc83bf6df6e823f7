/**
 * Limits of one process. A window begins with its first charge and is rate-limiter-flexible's own; three charges cost
 * 1 µs. What surprises: one limiter of endless points counts for all limits, and whether a counter is full is asked
 * here: a limit that the file changes keeps its count, as over Redis. And no window is longer than Node's longest timer,
 * 24.8 days, which would otherwise fire at once and forget the count.
 */
import { RateLimiterMemory } from "rate-limiter-flexible";
import type { RateLimiterRes } from "rate-limiter-flexible";
import type { Limit, LimitState } from "../model.ts";
import type { Charge } from "./charge.ts";
import type { Counters, Taken } from "./counters.ts";

/** Bounded by who may call what: counters exist only for principals and tools that are known, and end with a window. */
export function memoryCounters(): Counters {
  const counters = new RateLimiterMemory({ points: Number.MAX_SAFE_INTEGER, duration: 1, keyPrefix: "" });
  return {
    charge: (charges) => chargeAll(counters, charges),
    look: async ({ limit, key }) => stateOf(limit, await counters.get(key)),
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
  return {
    name,
    limit,
    windowMs,
    remaining,
    resetMs: running ? Math.min(Math.ceil(counted.msBeforeNext), windowMs) : windowMs,
  };
}

async function chargeAll(counters: RateLimiterMemory, charges: readonly Charge[]): Promise<readonly Taken[]> {
  const taken = await Promise.all(charges.map((charge) => take(counters, charge)));
  if (taken.every(({ verdict }) => verdict === "charged")) return taken;
  return await Promise.all(taken.map((one, at) => giveBack(counters, charges[at] as Charge, one)));
}

async function take(counters: RateLimiterMemory, { limit, key }: Charge): Promise<Taken> {
  const duration = Math.min(Math.max(limit.windowMs, 1), TIMER_MS_MAX) / 1000;
  const counted = await counters.consume(key, 1, { customDuration: duration });
  // the file has shortened the window meanwhile
  if (counted.msBeforeNext > limit.windowMs) await counters.set(key, counted.consumedPoints, duration);
  return { verdict: counted.consumedPoints > limit.limit ? "exhausted" : "charged", state: stateOf(limit, counted) };
}

/** Also of a counter that refused: it counts refusals too. */
async function giveBack(
  counters: RateLimiterMemory,
  { limit, key }: Charge,
  { verdict, state }: Taken,
): Promise<Taken> {
  const counted = await counters.reward(key);
  // the window ended in between: what was given back would be one call too many in the next
  const { consumedPoints } = counted.consumedPoints < 0 ? await counters.penalty(key) : counted;
  if (verdict === "exhausted") return { verdict, state };
  return { verdict: "spared", state: { ...state, remaining: Math.max(limit.limit - consumedPoints, 0) } };
}

const TIMER_MS_MAX = 2_147_483_647;
