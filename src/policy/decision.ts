/**
 * What did the policy say? Reads an evaluation's value strictly: only boolean `true` allows, and anything that is not
 * the documented shape, an obligation that this gateway does not enforce included, denies.
 */
import type { Decision, Evaluation, Fault } from "../model.ts";
import { isRecord, isStrings, NO_OBLIGATIONS, readObligations } from "./obligations.ts";

export type Verdict = { readonly decision: Decision; readonly listed: boolean };

/** Never throws: whatever the policy answered, a decision comes out. */
export function readVerdict(evaluation: Evaluation): Verdict {
  if (!evaluation.ok) return { decision: denied(evaluation.fault), listed: false };
  const value = evaluation.value;
  if (!isRecord(value) || !isRecord(value["decision"])) return { decision: denied("policy_undefined"), listed: false };
  const decision = readDecision(value["decision"]);
  const listed = value["listed"] === true;
  if (!decision.allow || listed) return { decision, listed };
  // the law of lists: what is not listed is never callable
  return { decision: { ...decision, allow: false, reasons: [...decision.reasons, "not_listed"] }, listed };
}

export function denied(fault: Fault): Decision {
  return { allow: false, reasons: [fault], obligations: NO_OBLIGATIONS };
}

function readDecision(value: Record<string, unknown>): Decision {
  const reasons = value["reasons"] ?? [];
  const obligations = readObligations(value["obligations"] ?? {});
  if (!isStrings(reasons) || obligations === null) return denied("policy_shape");
  return {
    allow: value["allow"] === true,
    reasons: reasons.map((reason) => reason.slice(0, 200)).slice(0, 20),
    obligations,
  };
}
