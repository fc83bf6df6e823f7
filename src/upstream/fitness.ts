/**
 * Is an instance fit for calls? What surprises: a caller's call is never the test of an instance that failed; a probe
 * in the background is, after a pause that doubles. And a probe that succeeds does not shorten the next pause: only
 * work does, or a server that starts well and falls at each call would be restarted for ever at full speed.
 */
import type { Random } from "../ports.ts";
import { Refusal } from "../refusal.ts";

export type Fitness = {
  readonly state: () => "idle" | "ready" | "set_aside";
  /** Constant words. */
  readonly lastError: () => string | null;
  /** A call or a discovery succeeded. */
  readonly worked: () => void;
  /** It answered, which says that it lives and no more. */
  readonly met: () => void;
  /** `hard`: it cannot even be reached, and is set aside at once. */
  readonly failed: (refusal: Refusal, hard: boolean) => void;
  /** For operators to see; nothing follows from it. */
  readonly noted: (refusal: Refusal) => void;
  readonly stop: () => void;
};
export type FitnessOptions = {
  readonly backoffFirstMs: number;
  readonly backoffMaxMs: number;
  readonly random: Random;
  /** @throws Refusal if the instance is still unfit */
  readonly probe: () => Promise<void>;
  /** What is believed of the instance is to be asked again. */
  readonly onSetAside: () => void;
};

/** Failures in a row, after sending, that set an instance aside. */
const FAILURES_MAX = 3;

export function trackFitness(options: FitnessOptions): Fitness {
  let failures = 0;
  /** How often it was set aside since it last did its work. */
  let pauses = 0;
  let setAside = false;
  let used = false;
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;
  let lastError: string | null = null;

  const met = (): void => {
    failures = 0;
    used = true;
    setAside = false;
    lastError = null;
  };
  const probeLater = (): void => {
    const pause = Math.min(options.backoffFirstMs * 2 ** pauses, options.backoffMaxMs);
    pauses++;
    timer = setTimeout(probe, pause * (0.75 + options.random.fraction() / 2)).unref();
  };
  const probe = (): void => {
    options.probe().then(met, (thrown: unknown) => {
      if (stopped) return;
      lastError = Refusal.from(thrown).message;
      options.onSetAside();
      probeLater();
    });
  };
  return {
    state: () => (setAside ? "set_aside" : used ? "ready" : "idle"),
    lastError: () => lastError,
    met,
    worked: () => {
      met();
      pauses = 0;
    },
    noted: (refusal) => void (lastError = refusal.message),
    failed: (refusal, hard) => {
      failures++;
      lastError = refusal.message;
      if (stopped || setAside || (!hard && failures < FAILURES_MAX)) return;
      setAside = true;
      options.onSetAside();
      probeLater();
    },
    stop: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
