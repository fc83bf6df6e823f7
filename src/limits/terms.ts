/** What does a limit grant, and in which way is it counted? */
import type { Limit, LimitState } from "../model.ts";

/**
 * `log`: every call's time. `wide`: sub-windows, where a log would be long. `fixed`: a number that ends. `bucket`: a debt that
 * is paid off. `places`: who holds one now.
 */
export type Meter = "log" | "wide" | "fixed" | "bucket" | "places";

/** Longer logs cost memory: a limit above counts in sub-windows of 1/256 of its window, and is late by one at most. */
export const LOG_MAX = 1000;
export const SUB_WINDOWS = 256;
/** When to look again for a place that somebody may give back at any time, in milliseconds. */
export const PLACE_RETRY_MS = 1000;

export function meterOf({ kind, limit }: Limit): Meter {
  switch (kind) {
    case "sliding":
      return limit > LOG_MAX ? "wide" : "log";
    case "concurrent":
      return "places";
    case "fixed":
    case "bucket":
      return kind;
  }
}

/** What can be used at once: a call that costs more can never pass. */
export function capacityOf({ kind, limit, burst }: Limit): number {
  return kind === "bucket" ? burst : limit;
}

/** A call takes one place, whatever it costs of a rate. */
export function priceOf({ kind }: Limit, cost: number): number {
  return kind === "concurrent" ? 1 : cost;
}

export function stateOf(limit: Limit, left: number, resetMs: number): LimitState {
  const { name, kind, windowMs, burst } = limit;
  return {
    name,
    limit: capacityOf(limit),
    windowMs: kind === "bucket" ? Math.ceil((windowMs * burst) / limit.limit) : windowMs,
    remaining: Math.max(left, 0),
    resetMs,
  };
}

/** For what must room be, that the answer may say when: for a refused call itself, after one that took the last, for one more. */
export function wantedOf(left: number, price: number): number {
  return left < price ? price : left === price ? price + 1 : 0;
}

const shares = new WeakMap<Limit, Limit>();

/** What one gateway grants of it alone. */
export function shareOf(limit: Limit): Limit {
  if (limit.localShare === 1) return limit;
  const known = shares.get(limit);
  if (known !== undefined) return known;
  const { kind, localShare, windowMs } = limit;
  const part = (whole: number): number => Math.floor(whole * localShare);
  const share =
    kind === "bucket"
      ? // a part of the rate, which need not be whole
        { ...limit, burst: part(limit.burst), windowMs: windowMs / localShare }
      : { ...limit, limit: part(limit.limit) };
  shares.set(limit, share);
  return share;
}
