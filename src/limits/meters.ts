/**
 * How is a limit counted in this process? Four ways, each of which first weighs, changing nothing, and then charges. The
 * script for Redis does the same sums (script.ts). Times are a monotonic clock's, in milliseconds.
 */
import type { Limit } from "../model.ts";
import { SUB_WINDOWS, wantedOf } from "./terms.ts";

export type Asking = { readonly limit: Limit; readonly nowMs: number; readonly price: number };
/** `left`: before this call, and below zero where the limit was lowered. `resetMs`: @see LimitState */
export type Weight = { readonly left: number; readonly resetMs: number };
export type Count = {
  readonly weigh: (asking: Asking) => Weight;
  /** Of what was weighed just now. Returns when all of it is over. */
  readonly charge: (asking: Asking) => number;
};

/** The time of each unit, oldest first. Exactly the rule: less than `limit` of them within the window. */
export function logCount(): Count {
  let times: number[] = [];
  /** What stands before it is over. */
  let from = 0;
  const firstWithin = (since: number): number => {
    let [low, high] = [from, times.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((times[middle] ?? 0) > since) high = middle;
      else low = middle + 1;
    }
    return low;
  };
  return {
    weigh: ({ limit: { limit, windowMs }, nowMs, price }) => {
      const first = firstWithin(nowMs - windowMs);
      const left = limit - (times.length - first);
      const missing = wantedOf(left, price) - left;
      const freeing = missing > 0 ? times[first + missing - 1] : undefined;
      return { left, resetMs: freeing === undefined ? windowMs : freeing + windowMs - nowMs };
    },
    charge: ({ limit: { windowMs }, nowMs, price }) => {
      from = firstWithin(nowMs - windowMs);
      // moved seldom, since moving is what costs
      if (from > times.length / 2) [times, from] = [times.slice(from), 0];
      for (let unit = 0; unit < price; unit++) times.push(nowMs);
      return nowMs + windowMs;
    },
  };
}

/** This sub-window and the 256 before it: together at least the window, so never too many; at most 1/256 longer. */
export function wideCount(): Count {
  const counts = new Float64Array(SLOTS);
  const at = (slot: number): number => ((slot % SLOTS) + SLOTS) % SLOTS;
  let [last, sum, width] = [0, 0, 0];
  /** Forgets the sub-windows that are over. Where the window is another now, all that counts, counts as of now. */
  const turn = ({ limit: { windowMs }, nowMs }: Asking): void => {
    if (width !== 0) forget(Math.floor(nowMs / width));
    if (width * SUB_WINDOWS === windowMs) return;
    width = windowMs / SUB_WINDOWS;
    last = Math.floor(nowMs / width);
    counts.fill(0);
    counts[at(last)] = sum;
  };
  const forget = (slot: number): void => {
    for (let next = Math.max(last + 1, slot - SUB_WINDOWS); next <= slot; next++) {
      sum -= counts[at(next)] ?? 0;
      counts[at(next)] = 0;
    }
    last = Math.max(last, slot);
  };
  return {
    weigh: (asking) => {
      turn(asking);
      const left = asking.limit.limit - sum;
      let missing = wantedOf(left, asking.price) - left;
      if (missing <= 0) return { left, resetMs: asking.limit.windowMs };
      let slot = last - SUB_WINDOWS;
      for (; slot < last; slot++) {
        missing -= counts[at(slot)] ?? 0;
        if (missing <= 0) break;
      }
      return { left, resetMs: (slot + SLOTS) * width - asking.nowMs };
    },
    charge: ({ nowMs, price }) => {
      counts[at(last)] = (counts[at(last)] ?? 0) + price;
      sum += price;
      return nowMs + SLOTS * width;
    },
  };
}

const SLOTS = SUB_WINDOWS + 1;

/** As rate-limiter-flexible counts, whose keys these are over Redis: a window begins with the first call in it. */
export function fixedCount(): Count {
  let used = 0;
  let endsMs = 0;
  /** A window that was shortened ends sooner. */
  const restMs = ({ limit: { windowMs }, nowMs }: Asking): number => {
    endsMs = Math.min(endsMs, nowMs + windowMs);
    return endsMs - nowMs;
  };
  return {
    weigh: (asking) => {
      const { limit, windowMs } = asking.limit;
      const rest = restMs(asking);
      return rest > 0 ? { left: limit - used, resetMs: rest } : { left: limit, resetMs: windowMs };
    },
    charge: (asking) => {
      if (restMs(asking) <= 0) [used, endsMs] = [0, asking.nowMs + asking.limit.windowMs];
      used += asking.price;
      return endsMs;
    },
  };
}

/**
 * GCRA, as the leaky bucket that it is: each unit adds the time that the rate takes for it, and time pays it off. Kept times
 * `limit`, so that it stays a whole number where a unit takes no whole time.
 */
export function bucketCount(): Count {
  let debt = 0;
  let rate = 0;
  let atMs = 0;
  const debtAt = ({ limit: { limit }, nowMs }: Asking): number =>
    rate === 0 ? 0 : Math.max((debt * limit) / rate - (nowMs - atMs) * limit, 0);
  return {
    weigh: (asking) => {
      const { limit, windowMs, burst } = asking.limit;
      const owed = debtAt(asking);
      const left = burst - Math.ceil(owed / windowMs);
      const wanted = wantedOf(left, asking.price);
      const until = wanted === 0 ? asking.price * windowMs : (wanted - burst) * windowMs;
      return { left, resetMs: Math.min((owed + until) / limit, LONG_MS) };
    },
    charge: (asking) => {
      const { limit, windowMs } = asking.limit;
      const owed = debtAt(asking);
      const more = asking.price * windowMs;
      // where a double has no place for it, a call too many would be worse than one too few
      const sum = owed + more - owed < more ? (owed + more) * (1 + Number.EPSILON) : owed + more;
      [debt, rate, atMs] = [sum, limit, asking.nowMs];
      return atMs + Math.min(debt / limit, LONG_MS);
    },
  };
}

/** Three centuries, as over Redis, where microseconds beyond have no number. */
const LONG_MS = 2 ** 53 / 1000;
