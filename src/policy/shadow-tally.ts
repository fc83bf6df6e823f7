/**
 * How often would a bundle in shadow have decided otherwise? Counted by name since the start, over reloads and new
 * revisions, with the latest calls that would have gone another way. One that cannot be loaded stands here too.
 */
import type { Call, Flip, Policy, ShadowSaid } from "../model.ts";

export type ShadowFlip = {
  readonly callId: string;
  readonly time: string;
  readonly operation: string;
  readonly principal: string | null;
  readonly tool: string | null;
  readonly flip: Flip;
  readonly reasons: readonly string[];
};
export type ShadowState = {
  readonly bundle: string;
  /** Null where it could not be loaded. */
  readonly revision: string | null;
  /** Why not. */
  readonly fault: string | null;
  readonly decisions: number;
  readonly flips: { readonly [flip in Flip]: number };
  /** Evaluations that ended in a fault; in force each would deny. */
  readonly faults: number;
  /** Newest first. */
  readonly latest: readonly ShadowFlip[];
};
type Tally = {
  decisions: number;
  faults: number;
  readonly flips: { [flip in Flip]: number };
  latest: readonly ShadowFlip[];
};
export type Tallies = {
  readonly tell: (call: Call, said: ShadowSaid) => void;
  /** Of what is in force. */
  readonly states: (policy: Policy | null) => readonly ShadowState[];
};

const LATEST_MAX = 20;
/** Bundles come and go by the names of administrators alone. */
const BUNDLES_MAX = 100;

export function createTallies(): Tallies {
  const all = new Map<string, Tally>();
  return {
    tell: (call, said) => {
      const tally = all.get(said.bundle) ?? empty();
      // the latest last: the first is the one that is longest silent
      all.delete(said.bundle);
      all.set(said.bundle, tally);
      if (all.size > BUNDLES_MAX) all.delete([...all.keys()][0] ?? "");
      count(tally, call, said);
    },
    states: (policy) =>
      (policy?.shadows ?? []).map((one) => ({
        bundle: one.name,
        revision: one.policy?.revision ?? null,
        fault: one.fault,
        ...(all.get(one.name) ?? empty()),
      })),
  };
}

function empty(): Tally {
  return { decisions: 0, flips: { allow_to_deny: 0, deny_to_allow: 0, terms: 0 }, faults: 0, latest: [] };
}

function count(tally: Tally, call: Call, { flip, fault, decision }: ShadowSaid): void {
  tally.decisions++;
  if (fault !== null) tally.faults++;
  if (flip === null) return;
  tally.flips[flip]++;
  const { id, startedMs, operation, principal, tool, target } = call;
  // what policy masks of a call, a reason might quote: on the record it is masked
  const isMasked = (call.decision?.obligations.mask_audit.length ?? 0) > 0;
  const one: ShadowFlip = {
    callId: id,
    time: new Date(startedMs).toISOString(),
    operation,
    principal: principal?.id ?? null,
    tool: tool?.name ?? target?.name ?? null,
    flip,
    reasons: isMasked ? [] : decision.reasons.slice(0, 3),
  };
  tally.latest = [one, ...tally.latest.slice(0, LATEST_MAX - 1)];
}
