/**
 * What did the policy say? Reads an evaluation's value strictly: only boolean `true` allows, and anything that is not
 * the documented shape, an obligation that this gateway does not enforce included, denies.
 */
import { COST_MAX } from "../model.ts";
import type { Decision, Evaluation, Fault, Obligations } from "../model.ts";
import { REDACTION_PATTERNS } from "./patterns.ts";

export type Verdict = { readonly decision: Decision; readonly listed: boolean };

const NONE: Obligations = {
  redact: [],
  mask_audit: [],
  limits: [],
  cost: null,
  max_result_bytes: null,
  rows: null,
  route: null,
};

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
  return { allow: false, reasons: [fault], obligations: NONE };
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

function readObligations(value: unknown): Obligations | null {
  if (!isRecord(value)) return null;
  const keys = Object.keys(value);
  if (keys.length === 0) return NONE;
  if (!keys.every((key) => key in NONE)) return null;
  const { redact = [], mask_audit = [], limits = [], cost = null } = value;
  const { max_result_bytes = null, rows = null, route = null } = value;
  if (!isRedactions(redact) || !isStrings(mask_audit) || !mask_audit.every(isPointer) || !isStrings(limits))
    return null;
  if (!isIntegerOrNull(max_result_bytes, 0, Number.MAX_SAFE_INTEGER) || !isIntegerOrNull(cost, 1, COST_MAX))
    return null;
  if (rows !== null && rows !== "own" && rows !== "tenant" && rows !== "all") return null;
  if (route !== null && !isRoute(route)) return null;
  return { redact, mask_audit, limits, cost, max_result_bytes, rows, route };
}

function isRoute(value: unknown): value is { readonly version: string } {
  return isRecord(value) && Object.keys(value).length === 1 && typeof value["version"] === "string";
}

function isRedactions(value: unknown): value is Obligations["redact"] {
  if (!Array.isArray(value)) return false;
  return value.every((item: unknown) => {
    if (!isRecord(item) || Object.keys(item).length !== 1) return false;
    const { pattern, path } = item;
    return typeof pattern === "string" ? Object.hasOwn(REDACTION_PATTERNS, pattern) : isPointer(path);
  });
}

function isIntegerOrNull(value: unknown, least: number, most: number): value is number | null {
  return value === null || (Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most);
}

function isPointer(value: unknown): boolean {
  return typeof value === "string" && value.startsWith("/");
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
