/**
 * Is what is in force still what the control plane says? It is fresh while the control plane says that this very
 * snapshot is its newest. What surprises: that a word came is not enough, it must be about what is in force; and what
 * was heard last is on disk, so that a restart makes nothing fresh. A time that is missing there, or lies ahead, is none.
 */
import { stopwatch } from "../ports.ts";
import type { Ports } from "../ports.ts";
import type { LastGood } from "./last-good.ts";

export type Freshness = {
  /** The control plane has said that its newest snapshot is the one in force, as far as it knew so many milliseconds ago. */
  readonly confirmed: (agoMs: number) => void;
  /** What is in force is on disk: now it may stand there how fresh it is. */
  readonly settled: () => void;
  readonly stale: () => boolean;
  /** Null where it was never confirmed. */
  readonly silentMs: () => number | null;
  readonly close: () => void;
};
type Watching = {
  readonly maxMs: number;
  /** What is in force is on disk too: only then may a restart know how fresh it is. */
  readonly kept: () => boolean;
  readonly ports: Ports;
  readonly changed: (stale: boolean) => void;
};

const TICK_MS = 500;
const SAVE_MS_MAX = 60_000;
/** Written in whole milliseconds, by a clock that is corrected now and then. */
const AHEAD_MS_MAX = 1_000;

export async function watchFreshness(
  lastGood: LastGood,
  { maxMs, kept, ports, changed }: Watching,
): Promise<Freshness> {
  const { clock, log } = ports;
  const before = await lastGood.heardMs();
  const agoMs = before === null ? Number.POSITIVE_INFINITY : clock.nowMs() - before;
  let silentMs = stopwatch(clock, agoMs < -AHEAD_MS_MAX ? Number.POSITIVE_INFINITY : agoMs);
  let savedMs = Number.NEGATIVE_INFINITY;
  let stale = silentMs() > maxMs;
  const look = (): void => {
    const now = silentMs() > maxMs;
    if (now === stale) return;
    stale = now;
    if (stale) log.error({ silentMs: Math.round(silentMs()) }, "not confirmed for too long: every call is refused");
    else log.info({}, "the control plane confirms what is in force: calls are served");
    changed(stale);
  };
  let owed = false;
  const save = (): void => {
    if (!owed || !kept()) return;
    owed = false;
    savedMs = clock.monotonicMs();
    lastGood.saveHeard(clock.nowMs() - silentMs()).catch((cause: unknown) => {
      log.warn({ err: cause }, "when the control plane was heard could not be written down");
    });
  };
  const timer = setInterval(look, TICK_MS).unref();
  return {
    confirmed: (agoMs) => {
      // another control plane may have been heard since
      if (!Number.isFinite(agoMs) || agoMs > silentMs()) return;
      silentMs = stopwatch(clock, agoMs);
      look();
      owed ||= clock.monotonicMs() - savedMs >= Math.min(SAVE_MS_MAX, maxMs / 10);
      save();
    },
    settled: save,
    stale: () => stale,
    silentMs: () => (Number.isFinite(silentMs()) ? Math.round(silentMs()) : null),
    close: () => clearInterval(timer),
  };
}
