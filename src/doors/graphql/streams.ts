/** How many subscriptions may be open? So many in all, and of one principal. */
import { Refusal } from "../../refusal.ts";

const STREAMS_MAX = 1000;
const STREAMS_PER_PRINCIPAL_MAX = 20;
const RETRY_AFTER_MS = 30_000;

/** Counts one more for this principal, and returns what ends it. @throws Refusal overloaded */
export type Streams = (principal: string) => () => void;

export function createStreams(): Streams {
  const open = new Map<string, number>();
  return (principal) => {
    const all = [...open.values()].reduce((sum, count) => sum + count, 0);
    if (all >= STREAMS_MAX || (open.get(principal) ?? 0) >= STREAMS_PER_PRINCIPAL_MAX)
      throw new Refusal("overloaded", "Too many subscriptions are open.", { retryAfterMs: RETRY_AFTER_MS });
    open.set(principal, (open.get(principal) ?? 0) + 1);
    let isOpen = true;
    return () => {
      if (!isOpen) return;
      isOpen = false;
      const left = (open.get(principal) ?? 1) - 1;
      if (left === 0) open.delete(principal);
      else open.set(principal, left);
    };
  };
}
