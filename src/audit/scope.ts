/**
 * Whose calls may this principal see? What policy's obligation `rows` says, as a filter that whatever is asked for is held
 * to. What surprises: a policy that allows the reading and does not say of which rows has allowed none.
 */
import type { Decision, Principal } from "../model.ts";
import { Refusal } from "../refusal.ts";
import type { CallFilter } from "./row.ts";

/** @throws Refusal forbidden */
export function scopeOf({ reasons, obligations }: Decision, { id, onBehalfOf, tenant }: Principal): CallFilter {
  if (obligations.rows === "all") return {};
  if (obligations.rows === "tenant") return { tenant };
  if (obligations.rows === "own") return { principal: id, onBehalfOf, tenant };
  throw new Refusal("forbidden", "Policy does not say which rows may be read.", {
    reasons: [...reasons, "rows_missing"],
  });
}
