/**
 * What would another policy have said? Each bundle in shadow is asked the same question after the enforced one has
 * decided, within steps of its own. What surprises: nothing that it says or does, a fault included, reaches the call:
 * it is recorded, and counted by whoever loaded the bundle.
 */
import type { Call, Decision, Evaluation, Flip, Policy, ShadowSaid } from "../model.ts";
import { readVerdict } from "./decision.ts";

/** Fills in `call.shadows`. `enforced` is what holds; `ask` puts the question. */
export function judgeInShadow(call: Call, enforced: Decision, ask: (policy: Policy) => Evaluation): void {
  const shadows = call.snapshot.policy?.shadows;
  if (shadows === undefined || shadows.length === 0) return;
  call.shadows = shadows.flatMap(({ name, policy, tell }) => {
    if (policy === null) return [];
    const evaluation = ask(policy);
    const { decision } = readVerdict(evaluation);
    const fault = evaluation.ok ? null : evaluation.fault;
    const said: ShadowSaid = {
      bundle: name,
      revision: policy.revision,
      decision,
      flip: flipOf(enforced, decision),
      fault,
    };
    tell(call, said);
    return [said];
  });
}

/** What the other decision would change, if it were the one that counts. */
export function flipOf(enforced: Decision, other: Decision): Flip | null {
  if (enforced.allow !== other.allow) return enforced.allow ? "allow_to_deny" : "deny_to_allow";
  if (!enforced.allow || enforced.obligations === other.obligations) return null;
  return sorted(enforced.obligations) === sorted(other.obligations) ? null : "terms";
}

/** Sets come out of an engine in an order of its own. */
function sorted(value: Decision["obligations"]): string {
  return JSON.stringify(
    Object.entries(value).map(([name, one]) => [
      name,
      Array.isArray(one) ? one.map((item) => JSON.stringify(item)).toSorted() : one,
    ]),
  );
}
