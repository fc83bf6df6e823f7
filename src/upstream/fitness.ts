/**
 * Is an instance fit for calls? Its breaker, and who closes it again. What surprises: a caller's call is never the test
 * of an instance that failed; a probe in the background is, one at a time, after a pause. And a probe that succeeds does
 * not shorten the next pause: only work does, or a server that starts well and falls at each call would be restarted for
 * ever at full speed.
 */
import { Refusal } from "../refusal.ts";
import { admit, close, newBreaker, open, report } from "./breaker.ts";
import type { Breaker } from "./breaker.ts";
import { createPauses } from "./pauses.ts";
import type { PauseOptions } from "./pauses.ts";

export type Fitness = {
  readonly state: () => "idle" | "ready" | "set_aside";
  readonly breaker: () => Breaker["state"];
  /** Until it is probed next; 0 where it is fit, or being probed. */
  readonly pauseLeftMs: () => number;
  /** Away for its errors for as long as an ejection lasts. */
  readonly ejected: () => boolean;
  /** Ejections since the start. */
  readonly ejections: () => number;
  /** Constant words. */
  readonly lastError: () => string | null;
  /** A call succeeded. */
  readonly worked: () => void;
  /** It answered, which says that it lives and no more. */
  readonly met: () => void;
  /** `hard`: it cannot even be reached, and is set aside at once. */
  readonly failed: (refusal: Refusal, hard: boolean) => void;
  /** For operators to see; nothing follows from it. */
  readonly noted: (refusal: Refusal) => void;
  /** Too few are fit: an ejection need not be sat out. */
  readonly hurry: () => void;
  readonly stop: () => void;
};
export type FitnessOptions = PauseOptions & {
  /** @throws Refusal if the instance is still unfit */
  readonly probe: () => Promise<void>;
  /** It may take calls now, or may not any more. */
  readonly onTurn: () => void;
};

export function trackFitness(options: FitnessOptions): Fitness {
  const { monotonicMs } = options.ports.clock;
  const breaker = newBreaker();
  const pauses = createPauses(options);
  let used = false;
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let lastError: string | null = null;

  const met = (): void => {
    used = true;
    lastError = null;
    const wasClosed = breaker.state === "closed";
    close(breaker);
    if (wasClosed) return;
    clearTimeout(timer);
    pauses.back();
    options.onTurn();
  };
  const probeIn = (pauseMs: number): void => {
    open(breaker, monotonicMs() + pauseMs);
    clearTimeout(timer);
    timer = setTimeout(probe, pauseMs).unref();
  };
  const probe = (): void => {
    admit(breaker, Infinity);
    options.probe().then(met, (thrown: unknown) => {
      if (stopped || breaker.state !== "half_open") return;
      lastError = Refusal.from(thrown).message;
      probeIn(pauses.short());
    });
  };
  const failed = (refusal: Refusal, hard: boolean): void => {
    if (stopped) return;
    lastError = refusal.message;
    const atOnce = hard || refusal.detail.retryAfterMs !== undefined;
    if (!report(breaker, "call", "failed", atOnce ? 1 : options.terms().consecutiveErrors)) return;
    // none of the fit any more, when it is asked how many there are
    open(breaker, Infinity);
    probeIn(pauses.after(refusal, hard));
    options.onTurn();
  };
  return {
    state: () => (breaker.state !== "closed" ? "set_aside" : used ? "ready" : "idle"),
    breaker: () => breaker.state,
    pauseLeftMs: () => (breaker.state === "open" ? Math.max(0, breaker.untilMs - monotonicMs()) : 0),
    ejected: pauses.ejected,
    ejections: pauses.ejections,
    lastError: () => lastError,
    met,
    worked: () => {
      // what began before it was set aside says nothing of now
      if (breaker.state !== "closed") return;
      met();
      pauses.worked();
    },
    noted: (refusal) => void (lastError = refusal.message),
    failed,
    hurry: () => {
      if (!stopped && breaker.state === "open" && pauses.ejected()) probeIn(pauses.short());
    },
    stop: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
