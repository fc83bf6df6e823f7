/** Is the shared store there, is it the one that is known here, and since when was it not heard? */
import { stopwatch } from "../ports.ts";
import type { Clock, Log } from "../ports.ts";
import { clusterFault } from "../redis-url.ts";
import { Diverged, NotUnderstood } from "./shared-log.ts";
import type { Local, Store } from "./store.ts";

export const FAULTS = {
  away: "the shared store does not answer: what is known stands, nothing can be changed",
  diverged:
    "the shared store holds another history of changes than data/portcullis.db: what is known here stands, nothing can be changed. " +
    "Move that file away to take the shared one, or empty the store to give it this one",
  unknown:
    "the shared store holds a change that this Portcullis does not know: what came before it stands, nothing can be changed. " +
    "Start the newer Portcullis here too",
  cluster:
    "the shared store cannot be used: what is known stands, nothing can be changed. It is a Redis Cluster: " +
    "`store` must begin with redis+cluster:// (or rediss+cluster://)",
} as const;
type Fault = keyof typeof FAULTS;

/** Says what changed, once. */
export type Faults = {
  readonly now: () => Fault | null;
  readonly none: () => void;
  readonly found: (cause: unknown) => void;
};

export function watchFaults(log: Log): Faults {
  let now: Fault | null = "away";
  return {
    now: () => now,
    none: () => {
      if (now !== null) log.info({}, "the shared store is there");
      now = null;
    },
    found: (cause) => {
      const found = faultOf(cause);
      if (now !== found) log.warn({ err: cause }, FAULTS[found]);
      now = found;
    },
  };
}

export function faultOf(cause: unknown): Fault {
  if (cause instanceof Diverged) return "diverged";
  if (clusterFault(cause) !== null) return "cluster";
  return cause instanceof NotUnderstood ? "unknown" : "away";
}

const SAVE_HEARD_MS = 10_000;
const AHEAD_MS_MAX = 1_000;

export type Heard = Pick<Store, "silentMs"> & { readonly now: () => void; readonly never: () => boolean };

export function watchHeard(local: Local, clock: Clock): Heard {
  const before = local.heardMs();
  // a clock that was put back makes nothing fresh
  const isNone = before === null || before > clock.nowMs() + AHEAD_MS_MAX;
  let silentMs = stopwatch(clock, isNone ? Number.POSITIVE_INFINITY : clock.nowMs() - before);
  let savedMs = Number.NEGATIVE_INFINITY;
  return {
    now: () => {
      silentMs = stopwatch(clock);
      const heardMs = clock.monotonicMs();
      if (heardMs - savedMs < SAVE_HEARD_MS) return;
      savedMs = heardMs;
      local.saveHeard(clock.nowMs());
    },
    never: () => silentMs() === Number.POSITIVE_INFINITY,
    silentMs: () => silentMs(),
  };
}
