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
import type { PauseOptions, Pauses } from "./pauses.ts";

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

type Inner = FitnessOptions & {
  readonly breaker: Breaker;
  readonly pauses: Pauses;
  used: boolean;
  stopped: boolean;
  timer: NodeJS.Timeout | undefined;
  lastError: string | null;
};

export function trackFitness(options: FitnessOptions): Fitness {
  const breaker = newBreaker();
  const pauses = createPauses(options);
  const fresh = { used: false, stopped: false, timer: undefined, lastError: null };
  const inner: Inner = { ...options, ...fresh, breaker, pauses };
  const { monotonicMs } = options.ports.clock;
  return {
    state: () => (breaker.state !== "closed" ? "set_aside" : inner.used ? "ready" : "idle"),
    breaker: () => breaker.state,
    pauseLeftMs: () => (breaker.state === "open" ? Math.max(0, breaker.untilMs - monotonicMs()) : 0),
    ejected: pauses.ejected,
    ejections: pauses.ejections,
    lastError: () => inner.lastError,
    met: () => met(inner),
    worked: () => {
      // what began before it was set aside says nothing of now
      if (breaker.state !== "closed") return;
      met(inner);
      pauses.worked();
    },
    noted: (refusal) => void (inner.lastError = refusal.message),
    failed: (refusal, hard) => failed(inner, refusal, hard),
    hurry: () => {
      if (!inner.stopped && breaker.state === "open" && pauses.ejected()) probeIn(inner, pauses.short());
    },
    stop: () => {
      inner.stopped = true;
      clearTimeout(inner.timer);
    },
  };
}

function met(inner: Inner): void {
  const wasClosed = inner.breaker.state === "closed";
  inner.used = true;
  inner.lastError = null;
  close(inner.breaker);
  if (wasClosed) return;
  clearTimeout(inner.timer);
  inner.pauses.back();
  inner.onTurn();
}

function failed(inner: Inner, refusal: Refusal, hard: boolean): void {
  const { breaker, pauses, terms } = inner;
  if (inner.stopped) return;
  inner.lastError = refusal.message;
  const atOnce = hard || refusal.detail.retryAfterMs !== undefined;
  if (!report(breaker, "call", "failed", atOnce ? 1 : terms().consecutiveErrors)) return;
  // none of the fit any more, when it is asked how many there are
  open(breaker, Infinity);
  probeIn(inner, pauses.after(refusal, hard));
  inner.onTurn();
}

function probeIn(inner: Inner, pauseMs: number): void {
  open(inner.breaker, inner.ports.clock.monotonicMs() + pauseMs);
  clearTimeout(inner.timer);
  inner.timer = setTimeout(() => probe(inner), pauseMs).unref();
}

function probe(inner: Inner): void {
  const { breaker, pauses } = inner;
  admit(breaker, Infinity);
  inner.probe().then(
    () => met(inner),
    (thrown: unknown) => {
      if (inner.stopped || breaker.state !== "half_open") return;
      inner.lastError = Refusal.from(thrown).message;
      probeIn(inner, pauses.short());
    },
  );
}
