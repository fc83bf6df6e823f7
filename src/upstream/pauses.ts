/**
 * How long does an instance that failed stay away, before a probe asks again? As long as it said itself, or an ejection
 * by Envoy's rules, or a short pause that doubles. What surprises: an ejection needs others that are fit; where too few
 * are, the pause is short, so that a server whose instances all fail together is back as soon as they are.
 */
import type { Traffic } from "../config-traffic.ts";
import type { Ports } from "../ports.ts";
import type { Refusal } from "../refusal.ts";

export type PauseOptions = {
  readonly backoffFirstMs: number;
  readonly backoffMaxMs: number;
  readonly terms: () => Traffic["outlierDetection"];
  /** Whether enough others are fit for this one to stay away long. */
  readonly mayEject: () => boolean;
  readonly ports: Pick<Ports, "clock" | "random">;
};
export type Pauses = {
  /** After this failure; `hard`: it cannot be reached. */
  readonly after: (refusal: Refusal, hard: boolean) => number;
  /** Not as long as an ejection: it was probed in vain, or is needed. */
  readonly short: () => number;
  readonly worked: () => void;
  /** It takes calls again. */
  readonly back: () => void;
  readonly ejected: () => boolean;
};

export function createPauses({ backoffFirstMs, backoffMaxMs, terms, mayEject, ports }: PauseOptions): Pauses {
  const { clock, random } = ports;
  /** How often it was set aside since it last did its work. */
  let doubled = 0;
  let ejected = false;
  /** Ejections that count still: each `baseEjectionTime` of good standing takes one off. */
  let latest = 0;
  let backAtMs = 0;
  const short = (): number => {
    ejected = false;
    return Math.min(backoffFirstMs * 2 ** doubled++, backoffMaxMs) * (0.75 + random.fraction() / 2);
  };
  const ejection = (): number => {
    const { baseEjectionTime, maxEjectionTime } = terms();
    latest = Math.max(0, latest - Math.floor((clock.monotonicMs() - backAtMs) / baseEjectionTime)) + 1;
    ejected = true;
    // later by chance, so that gateways do not all come back to it at one moment
    return Math.min(baseEjectionTime * latest, maxEjectionTime) * (1 + random.fraction() / 10);
  };
  return {
    after: ({ detail: { retryAfterMs } }, hard) => retryAfterMs ?? (hard || !mayEject() ? short() : ejection()),
    short,
    worked: () => void (doubled = 0),
    back: () => {
      ejected = false;
      backAtMs = clock.monotonicMs();
    },
    ejected: () => ejected,
  };
}
