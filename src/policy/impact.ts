/**
 * What would another policy have decided on what was asked lately? Each recorded decision is made again twice, by the
 * policy in force and by the candidate, on the same question: a difference is the candidate's alone. What surprises: where
 * the policy in force says today something else than was recorded, roles, tools or the policy have moved since; that
 * is counted, for it says how far the records can be trusted to speak of tomorrow.
 */
import type { Decided } from "../audit/decided.ts";
import type { Flip, Policy } from "../model.ts";
import { readVerdict } from "./decision.ts";
import { questionOf } from "./recorded.ts";
import type { Lost, Rebuild } from "./recorded.ts";
import { flipOf } from "./shadow.ts";

export type ImpactFlip = {
  readonly callId: string;
  readonly time: string;
  readonly principal: string;
  readonly operation: string;
  readonly tool: string | null;
  readonly flip: Flip;
  readonly reasons: readonly string[];
};
export type Impact = {
  /** Recorded decisions that were looked at; `complete`: all of them since then. */
  readonly recorded: number;
  readonly complete: boolean;
  /** Made again by both. */
  readonly decided: number;
  readonly flips: { readonly [flip in Flip]: number };
  /** Evaluations of the candidate that ended in a fault; each is a denial. */
  readonly faults: number;
  /** That the policy in force decides otherwise today. */
  readonly moved: number;
  /** Not made again, by what is missing. */
  readonly lost: { readonly [what in Lost]: number };
  /** Newest first, at most 20. */
  readonly examples: readonly ImpactFlip[];
};
export type Compared = {
  readonly enforced: Policy;
  readonly candidate: Policy;
  /** Whether one of the two looks at arguments. */
  readonly readArguments: boolean;
  /** Milliseconds that never jump. */
  readonly nowMs: () => number;
  /** Whoever asked has gone. */
  readonly signal: AbortSignal;
};

const RECORDS_MAX = 20_000;
const EXAMPLES_MAX = 20;
/** Calls may pass after so long. */
const AT_ONCE_MS = 10;
/** After so long it is told as far as it came. */
const ALL_MS = 30_000;

type Counted = { -readonly [field in keyof Impact]: Impact[field] } & {
  flips: { [flip in Flip]: number };
  lost: { [what in Lost]: number };
  examples: ImpactFlip[];
};

export async function impactOf(
  decisions: AsyncGenerator<Decided, boolean>,
  compared: Compared,
  rebuild: Rebuild,
): Promise<Impact> {
  const counted: Counted = {
    recorded: 0,
    complete: false,
    decided: 0,
    flips: { allow_to_deny: 0, deny_to_allow: 0, terms: 0 },
    faults: 0,
    moved: 0,
    lost: { principal: 0, tool: 0, arguments: 0, operation: 0 },
    examples: [],
  };
  const { nowMs, signal } = compared;
  const begunMs = nowMs();
  for (let sinceMs = begunMs; !signal.aborted && nowMs() - begunMs < ALL_MS;) {
    const next = await decisions.next();
    if (next.done === true) counted.complete = next.value;
    if (next.done === true || counted.recorded >= RECORDS_MAX) break;
    counted.recorded++;
    compare(counted, next.value, compared, rebuild);
    if (nowMs() - sinceMs < AT_ONCE_MS) continue;
    await new Promise(setImmediate);
    sinceMs = nowMs();
  }
  await decisions.return(false);
  return counted;
}

function compare(counted: Counted, decided: Decided, compared: Compared, rebuild: Rebuild): void {
  const question = questionOf(decided, rebuild);
  if (typeof question === "string") return void counted.lost[question]++;
  if (compared.readArguments && !question.whole) return void counted.lost.arguments++;
  counted.decided++;
  const { decision: now } = readVerdict(question.ask(compared.enforced));
  const evaluation = question.ask(compared.candidate);
  const { decision: then } = readVerdict(evaluation);
  if (now.allow !== (decided.decision === "allow")) counted.moved++;
  if (!evaluation.ok) counted.faults++;
  const flip = flipOf(now, then);
  if (flip === null) return;
  counted.flips[flip]++;
  if (counted.examples.length >= EXAMPLES_MAX) return;
  const { callId, timeMs, principal, operation, tool, target } = decided;
  const time = new Date(timeMs).toISOString();
  counted.examples.push({
    callId,
    time,
    principal,
    operation,
    tool: tool ?? target,
    flip,
    reasons: then.reasons.slice(0, 3),
  });
}
