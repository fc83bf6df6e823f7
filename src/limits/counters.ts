/** What counts: over memory or over Redis, with one promise about what a charge means. */
import type { LimitState } from "../model.ts";
import type { Charge } from "./charge.ts";

export type Counters = {
  /**
   * Charges a call to all of these, or, where one refuses, to none. Answers in their order. Never rejects; decides at
   * once or within 100 ms.
   */
  readonly charge: (charges: readonly Charge[]) => Promise<readonly Taken[]>;
  /** Counts nothing. Never rejects. */
  readonly look: (charge: Charge) => Promise<LimitState>;
  readonly status: () => CountersStatus;
  /** Why the store does not count, or could lose counts as it is set up; empty where all is well. Never rejects. */
  readonly examine: () => Promise<readonly string[]>;
  readonly close: () => void;
};

export type Taken = {
  /** `away`: the store did not answer, and the limit says that this is a no. `spared`: another limit refused. */
  readonly verdict: "charged" | "exhausted" | "away" | "spared";
  readonly state: LimitState;
};

export type CountersStatus = {
  readonly store: "memory" | "redis";
  /** Redis does not answer, and each limit decides as its `redisDown` says. */
  readonly away: boolean;
  /** Unix epoch, milliseconds, of the last change of `away`; null over memory. */
  readonly sinceMs: number | null;
};
