/**
 * What need not be asked again: a limit that refused, and cannot do otherwise before some moment, refuses here until
 * then, but not for long: whoever gives somebody the quota back does so in Redis. What surprises: it refuses whoever asks for as
 * much or more; and a limit that was changed is another one, so it is asked.
 */
import type { Limit } from "../model.ts";
import type { Charge } from "./charge.ts";
import type { Taken } from "./counters.ts";
import { expiring } from "./expiring.ts";
import { stateOf } from "./terms.ts";

export type Blocks = {
  /** The refusal of the one that refuses longest; null where all must be asked. */
  readonly refusal: (charges: readonly Charge[], cost: number) => Taken | null;
  /** What was said to a call that was asked for at `askedMs`: what was true later is true until later. */
  readonly note: (charges: readonly Charge[], taken: readonly Taken[], at: { cost: number; askedMs: number }) => void;
};

type Block = {
  readonly limit: Limit;
  readonly cost: number;
  readonly left: number;
  readonly opensMs: number;
  readonly endsMs: number;
};

export function createBlocks(nowMs: () => number): Blocks {
  const blocks = expiring<Block>(nowMs);
  return {
    refusal: (charges, cost) => {
      const now = nowMs();
      let longest: Block | null = null;
      for (const { key, limit } of charges) {
        const block = blocks.get(key);
        if (block === undefined || block.limit !== limit || block.cost > cost || block.endsMs <= now) continue;
        if (longest === null || block.opensMs > longest.opensMs) longest = block;
      }
      if (longest === null) return null;
      const { limit, left, opensMs } = longest;
      return { verdict: "exhausted", state: stateOf(limit, left, Math.ceil(opensMs - now)) };
    },
    note: (charges, taken, { cost, askedMs }) => {
      for (const [at, { verdict, state }] of taken.entries()) {
        const charge = charges[at];
        // a place may be given back at any time
        if (verdict !== "exhausted" || charge === undefined || charge.limit.kind === "concurrent") continue;
        const { key, limit } = charge;
        const opensMs = askedMs + state.resetMs;
        const endsMs = Math.min(opensMs, askedMs + BLOCKED_MS_MAX);
        blocks.set(key, { limit, cost, left: state.remaining, opensMs, endsMs });
      }
    },
  };
}

const BLOCKED_MS_MAX = 5_000;
