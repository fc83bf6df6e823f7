/** What counts: over memory or over Redis, with one promise about what a charge means. */
import type { LimitState } from "../model.ts";
import type { Charge } from "./charge.ts";

export type Counters = {
  /**
   * Charges a call to all of these, or, where one refuses, to none. Never rejects; decides at once or within 100 ms. Answers
   * in their order; where one is known to refuse, that answer alone.
   */
  readonly charge: (charges: readonly Charge[], call: Charged) => readonly Taken[] | Promise<readonly Taken[]>;
  /** What `charge` would say, and what is left before it. Counts nothing. Never rejects. */
  readonly look: (charges: readonly Charge[], cost: number) => readonly Taken[] | Promise<readonly Taken[]>;
  /** The call is over: others may have its places. */
  readonly release: (id: string) => void;
  readonly status: () => CountersStatus;
  /** Why the store does not count, or could lose counts as it is set up; empty where all is well. Never rejects. */
  readonly examine: () => Promise<readonly string[]>;
  readonly close: () => void;
};

/** `id`: the call's own, and no other's. */
export type Charged = { readonly id: string; readonly cost: number };
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
