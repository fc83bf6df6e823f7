/**
 * Is an instance fit for calls? Its breaker, and who closes it again. What surprises: a caller's call is never the test
 * of an instance that failed; a probe in the background is, one at a time, after a pause. And a probe that succeeds does
 * not shorten the next pause: only work does, or a server that starts well and falls at each call would be restarted for
 * ever at full speed.
 */
import { Refusal } from "../refusal.ts";
import { createBlame } from "./blame.ts";
import type { Blame } from "./blame.ts";
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
  /** How often it was set aside since the start. */
  readonly ejections: () => number;
  /** Constant words. */
  readonly lastError: () => string | null;
  /** A call of this tenant's succeeded; null for what was no call. */
  readonly worked: (tenant: string | null) => void;
  /** It answered, which says that it lives and no more. */
  readonly met: () => void;
  /** `hard`: it cannot even be reached, and is set aside at once. `tenant`: whose call it was, null where it was none. */
  readonly failed: (refusal: Refusal, hard: boolean, tenant?: string | null) => void;
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
  readonly blame: Blame;
  ejections: number;
  used: boolean;
  stopped: boolean;
  timer: NodeJS.Timeout | undefined;
  lastError: string | null;
};

export function trackFitness(options: FitnessOptions): Fitness {
  const breaker = newBreaker();
  const pauses = createPauses(options);
  const fresh = { used: false, stopped: false, timer: undefined, lastError: null, ejections: 0 };
  const { monotonicMs } = options.ports.clock;
  const inner: Inner = { ...options, ...fresh, breaker, pauses, blame: createBlame(monotonicMs) };
  return {
    state: () => (breaker.state !== "closed" ? "set_aside" : inner.used ? "ready" : "idle"),
    breaker: () => breaker.state,
    pauseLeftMs: () => (breaker.state === "open" ? Math.max(0, breaker.untilMs - monotonicMs()) : 0),
    ejected: pauses.ejected,
    ejections: () => inner.ejections,
    lastError: () => inner.lastError,
    met: () => met(inner),
    worked: (tenant) => {
      // what began before it was set aside says nothing of now
      if (breaker.state !== "closed") return;
      met(inner);
      pauses.worked();
      inner.blame.worked(tenant);
    },
    noted: (refusal) => void (inner.lastError = refusal.message),
    failed: (refusal, hard, tenant = null) => failed(inner, refusal, { hard, tenant }),
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

type Failure = { readonly hard: boolean; readonly tenant: string | null };

function failed(inner: Inner, refusal: Refusal, { hard, tenant }: Failure): void {
  const { breaker, pauses, terms, blame } = inner;
  if (inner.stopped) return;
  inner.lastError = refusal.message;
  blame.failed(tenant);
  if (!report(breaker, "call", "failed", hard ? 1 : terms().consecutiveErrors)) return;
  if (!hard && blame.isOneTenants()) return;
  inner.ejections++;
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
