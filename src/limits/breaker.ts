/**
 * Is the store there? One failure opens the breaker; while it is open nobody waits, and a probe in the background asks
 * at once and then every 200 ms. What surprises: one failure is enough, since the probe closes the breaker again within
 * a round trip if it was only a hiccup of this process.
 */
import type { Ports } from "../ports.ts";
import { clusterFault } from "../redis-url.ts";

export type Breaker = {
  readonly away: () => boolean;
  /** For people: what somebody must change before it can be there; null where that is not known. */
  readonly why: () => string | null;
  /** Unix epoch, milliseconds, of the last change. */
  readonly sinceMs: () => number;
  /** The store failed, or may have forgotten something. */
  readonly trip: () => void;
  /** Resolves when the store answers, or after `timeoutMs`. */
  readonly settled: (timeoutMs: number) => Promise<void>;
  readonly close: () => void;
};

/** Away until the first probe succeeds. `probe` rejects, within its own deadline, while the store does not answer. */
export function createBreaker(probe: () => Promise<void>, ports: Pick<Ports, "clock" | "log">): Breaker {
  const { promise: first, resolve: answered } = Promise.withResolvers<void>();
  const state = {
    away: true,
    closed: false,
    why: null as string | null,
    sinceMs: ports.clock.nowMs(),
    timer: undefined as NodeJS.Timeout | undefined,
  };
  const turn = (away: boolean): void => {
    state.away = away;
    state.sinceMs = ports.clock.nowMs();
    const say = away ? ports.log.warn : ports.log.info;
    say({ store: "redis" }, away ? "The limit store is away." : "The limit store is there.");
  };
  const blame = (why: string | null): void => {
    if (why !== null && state.why === null)
      ports.log.error({ store: "redis" }, `The limit store cannot be used: ${why}.`);
    state.why = why;
  };
  const ask = async (): Promise<void> => {
    const there = await probe().then(
      () => true,
      (cause: unknown) => {
        blame(clusterFault(cause));
        return false;
      },
    );
    if (state.closed) return;
    if (!there) return later(PROBE_INTERVAL_MS);
    blame(null);
    turn(false);
    answered();
  };
  const later = (delayMs: number): void => {
    state.timer = setTimeout(() => void ask(), delayMs).unref();
  };
  later(0);
  return {
    away: () => state.away,
    why: () => state.why,
    sinceMs: () => state.sinceMs,
    trip: () => {
      // one probe at a time, however many calls fail together
      if (state.away || state.closed) return;
      turn(true);
      later(0);
    },
    settled: (timeoutMs) => within(first, timeoutMs),
    close: () => {
      state.closed = true;
      clearTimeout(state.timer);
      answered();
    },
  };
}

async function within(done: Promise<void>, timeoutMs: number): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, timeoutMs);
  await Promise.race([done, late]);
  clearTimeout(timer);
}

const PROBE_INTERVAL_MS = 200;
