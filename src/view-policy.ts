/** What does policy decide, what would another one, and why? Read like every view: authenticate → authorize → read. */
import type { Decided } from "./audit/decided.ts";
import type { Gateway } from "./gateway.ts";
import { LOCAL, principalOf } from "./identity/principal.ts";
import type { Asked, Call, Decision, Outcome, Policy, Principal, Snapshot, Target } from "./model.ts";
import { OPERATIONS } from "./operations.ts";
import type { OperationName } from "./operations.ts";
import { authorizeOperation, rowsOf } from "./policy/authorize.ts";
import type { Archived } from "./policy/archive.ts";
import { PolicyRefused } from "./policy/diagnostic.ts";
import { impactOf } from "./policy/impact.ts";
import type { Impact } from "./policy/impact.ts";
import { refusalOf } from "./policy/refused.ts";
import type { Rebuild } from "./policy/recorded.ts";
import type { ShadowState } from "./policy/shadow-tally.ts";
import { valueOf } from "./policy/data.ts";
import { textsOf } from "./policy/sources.ts";
import type { Bundle } from "./policy/sources.ts";
import { Refusal } from "./refusal.ts";
import { differencesOf } from "./registry/difference.ts";
import type { Difference } from "./registry/difference.ts";
import { viewed as view } from "./view.ts";

/** Of the bundles in shadow, by name; examples for who may read all calls. */
export function shadows(gateway: Gateway, asked: Asked): Promise<Outcome<{ shadows: readonly ShadowState[] }>> {
  return viewed(gateway, asked, "policies/shadow", (call) => {
    const all = gateway.control.shadows();
    return { shadows: rowsOf(call) === "all" ? all : all.map((one) => ({ ...one, latest: [] })) };
  });
}

/** The text of a revision that was in force here, or in shadow; by the revision that a record names, or its beginning. */
export function policyText(
  gateway: Gateway,
  asked: Asked,
  revision: string | null,
): Promise<Outcome<Omit<Archived, "roles">>> {
  return viewed(gateway, asked, "policies/list", async () => {
    const archived = await gateway.control.policies.archived(revision ?? policyIn(gateway).revision);
    if (archived === null) throw new Refusal("invalid_request", "The text of this revision is not kept here.");
    const { roles: _roles, ...text } = archived;
    return text;
  });
}

export type Candidate = { readonly value: Bundle; readonly since: number | null };
export type Impacts = {
  /** File by file, from what is in force to the candidate; null where that text is not here. */
  readonly diff: readonly Difference[] | null;
  readonly impact: Impact;
};

/** What the candidate would change: in the text, and of what was decided lately. Nothing is put in force. */
export function policyImpact(gateway: Gateway, asked: Asked, { value, since }: Candidate): Promise<Outcome<Impacts>> {
  return viewed(gateway, asked, "policies/impact", async (call) => {
    const { control, audit, ports } = gateway;
    const [nowMs, { signal }] = [ports.clock.monotonicMs, asked];
    const enforced = policyIn(gateway);
    const candidate = await candidateOf(gateway, call.snapshot, value);
    const before = control.policies.textOf(enforced.source.key);
    const sinceMs = since ?? ports.clock.nowMs() - LATELY_MS;
    const impact = await impactOf(
      audit.decided({ sinceMs, bytesMax: SCAN_BYTES_MAX }),
      { enforced, candidate, readArguments: readsArguments(enforced) || readsArguments(candidate), nowMs, signal },
      rebuildOf(gateway, call.snapshot),
    );
    const shown = rowsOf(call) === "all" ? impact : { ...impact, examples: [] };
    return {
      diff: before === null ? null : differencesOf({ ...before, data: valueOf(before.data) }, value),
      impact: shown,
    };
  });
}

/** True also where nobody can tell. */
function readsArguments({ reads }: Policy): boolean {
  return reads === null || reads.length > 0;
}

const LATELY_MS = 7 * 86_400_000;
const SCAN_BYTES_MAX = 256 * 1024 * 1024;

/** @throws Refusal invalid_request with every diagnostic */
async function candidateOf({ control }: Gateway, { roles }: Snapshot, value: Bundle): Promise<Policy> {
  try {
    return await control.policies.load(textsOf(value), roles);
  } catch (cause) {
    if (!(cause instanceof PolicyRefused)) throw cause;
    throw refusalOf(cause, "The candidate cannot be put in force.");
  }
}

/** @throws Refusal policy_unavailable */
export function policyIn({ snapshot }: Gateway): Policy {
  const { policy } = snapshot();
  if (policy === null) throw new Refusal("policy_unavailable", "No policy is in force.");
  return policy;
}

/** How recorded decisions are made again with what is known now. */
export function rebuildOf({ audit }: Gateway, snapshot: Snapshot): Rebuild {
  return { snapshot, principalOf: (decided) => principalNow(snapshot, decided), confirms: audit.confirms };
}

/** Whose token it was, only the issuer knew: of such a principal nothing is known now. */
function principalNow(snapshot: Snapshot, { principal: id, kind, onBehalfOf }: Decided): Principal | null {
  if (id === LOCAL.id) return LOCAL;
  const declared = snapshot.principals.get(id);
  if (declared?.kind === kind && onBehalfOf === null) return declared;
  const key = [...snapshot.keys.values()].find(
    (one) => one.kind === kind && one.principal === id && one.onBehalfOf === onBehalfOf,
  );
  return key === undefined ? null : principalOf(snapshot, key);
}

/** The policy's own decision on the question comes with it. */
type Read<Value> = (call: Call, decision: Decision) => Value | Promise<Value>;

/** Viewed like all else, and authorized for the operation. */
export function viewed<Value>(
  gateway: Gateway,
  asked: Asked,
  operation: OperationName,
  read: Read<Value>,
): Promise<Outcome<Value>> {
  const target: Target = { kind: OPERATIONS[operation].target, name: operation };
  return view(gateway, asked, operation, (call) => read(call, authorizeOperation(call, target)));
}
