/**
 * Has somebody else had its time? What surprises: after an event loop that was held up, timers come before what the sockets
 * got meanwhile. So when the time is up, that is read first; and where the timer itself came late, the other side may have
 * waited for the same processor: it gets that time too, once, and no more than it had.
 */
import type { Clock } from "./ports.ts";

/** Calls `over` when the time is up, unless it is called off by then. Returns the way to do that. */
export function startDeadline(ms: number, clock: Pick<Clock, "monotonicMs">, over: () => void): () => void {
  const dueMs = clock.monotonicMs() + ms;
  let isOff = false;
  let timer = setTimeout(() => {
    const lateMs = Math.min(clock.monotonicMs() - dueMs, ms);
    afterReading(() => {
      if (lateMs > LATE_MS) timer = setTimeout(() => afterReading(over), lateMs);
      else over();
    });
  }, ms);
  // immediates come after the sockets
  const afterReading = (then: () => void): void => void setImmediate(() => isOff || then());
  return () => {
    isOff = true;
    clearTimeout(timer);
  };
}

const LATE_MS = 20;
