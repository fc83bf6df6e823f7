/** What counts: over memory or over Redis, with one promise about what a charge means. */
import type { LimitState } from "../model.ts";
import type { Charge } from "./charge.ts";

export type Counters = {
  /** Never rejects. Decides at once or within 100 ms; a charge that is not `charged` has left its counter as it was. */
  readonly take: (charge: Charge) => Promise<Taken>;
  /** Counts nothing. Never rejects. */
  readonly look: (charge: Charge) => Promise<LimitState>;
  readonly status: () => CountersStatus;
  /** Why the store does not count, or could lose counts as it is set up; empty where all is well. Never rejects. */
  readonly examine: () => Promise<readonly string[]>;
  readonly close: () => void;
};

export type Taken = {
  /** `away`: the store did not answer, and the limit says that this is a no. */
  readonly verdict: "charged" | "exhausted" | "away";
  readonly state: LimitState;
  /** Undoes a charge that was made. Not waited for: what it fixes is the caller's next call. */
  readonly giveBack: () => void;
};

export type CountersStatus = {
  readonly store: "memory" | "redis";
  /** Redis does not answer, and each limit decides as its `redisDown` says. */
  readonly away: boolean;
  /** Unix epoch, milliseconds, of the last change of `away`; null over memory. */
  readonly sinceMs: number | null;
};
