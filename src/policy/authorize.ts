/**
 * MAY they, on what terms? Asks the policy in force and turns its decision into a Permit or a Refusal. Only this file
 * can make a Permit, and forward() takes nothing else.
 */
import type {
  Call,
  Decision,
  Obligations,
  Policy,
  Principal,
  ServerVersion,
  Snapshot,
  Target,
  Tool,
} from "../model.ts";
import { OPERATIONS } from "../operations.ts";
import type { OperationName } from "../operations.ts";
import { Refusal, toolNotFound } from "../refusal.ts";
import { readVerdict } from "./decision.ts";
import type { Verdict } from "./decision.ts";
import { listInput, operationInput, useText } from "./input.ts";
import { withLogMask } from "./log-mask.ts";
import { judgeInShadow } from "./shadow.ts";
import { fits } from "../version-range.ts";

const proof: unique symbol = Symbol("permit");

/** Proof that policy allowed this call on these terms. */
export type Permit = {
  readonly [proof]: true;
  readonly principal: Principal;
  readonly tool: Tool;
  readonly serverVersion: ServerVersion;
  readonly obligations: Obligations;
};

/** Policy sends the call to another version of the server, or to one in that range: there it is asked once more. */
export type Reroute = { readonly route: string };

/** @throws Refusal forbidden, tool_not_found (disclosure hidden), tool_quarantined, policy_unavailable */
export function authorizeCall(call: Call): Permit | Reroute {
  const { tool, principal, snapshot } = call;
  const serverVersion = tool === null ? undefined : snapshot.servers.get(tool.server)?.versions.get(tool.version);
  if (tool === null || principal === null || serverVersion === undefined)
    throw new Error("Policy is asked about nobody or nothing.");
  const { decision, listed, route } = verdictOn(call, tool, principal);
  call.decision = withLogMask(policyOf(call), decision, () => useText(call, tool));
  // judged where the enforced policy sent it: what a shadow would have done with its own route is not asked
  if (route === null)
    judgeInShadow(call, decision, (policy) => policy.decideUse(useText(call, tool), { principal, tool }));
  if (!decision.allow) throw listed || isOpen(snapshot) ? forbidden(decision) : toolNotFound();
  if (decision.obligations.rows !== null) throw refuseShape(call, call.decision);
  // after policy: who may not use a tool does not learn that its definition changed
  if (tool.quarantined) throw quarantined();
  if (route !== null) return { route };
  return { [proof]: true, principal, tool, serverVersion, obligations: decision.obligations };
}

/** For a call that a proxy carries: its result never comes by here. @throws Refusal as authorizeCall, and forbidden */
export function authorizeCheck(call: Call): Permit {
  const permit = authorizeCall(call);
  if ("route" in permit) throw unenforceable(call);
  const { redact, max_result_bytes } = permit.obligations;
  // an obligation that nobody carries out would be a permission that policy never gave
  if (redact.length > 0 || max_result_bytes !== null) throw unenforceable(call);
  return permit;
}

/** For views and changes. @throws Refusal forbidden, policy_unavailable */
export function authorizeOperation(call: Call, target: Target): Decision {
  const permission = OPERATIONS[call.operation as OperationName].permission;
  call.target = target;
  const input = operationInput(call, target, permission);
  const { decision } = readVerdict(policyOf(call).decide(input));
  call.decision = withLogMask(policyOf(call), decision, () => JSON.stringify(input));
  judgeInShadow(call, decision, (policy) => policy.decide(input));
  if (!decision.allow) throw forbidden(decision);
  if (decision.obligations.route !== null) throw refuseShape(call, call.decision);
  return decision;
}

/** Whether a further operation would be allowed too; neither recorded nor refused. */
export function may(call: Call, operation: OperationName): boolean {
  const { target, permission } = OPERATIONS[operation];
  const asked = { ...call, operation };
  return readVerdict(policyOf(call).decide(operationInput(asked, { kind: target, name: operation }, permission)))
    .decision.allow;
}

/** Whose rows of the audit trail the call's principal may read; null for nobody's. */
export function rowsOf(call: Call): Decision["obligations"]["rows"] {
  const { target, permission } = OPERATIONS["calls/read"];
  const asked = { ...call, operation: "calls/read" };
  const input = operationInput(asked, { kind: target, name: "calls" }, permission);
  const { allow, obligations } = readVerdict(policyOf(call).decide(input)).decision;
  return allow ? obligations.rows : null;
}

/** What the policy in force says to this principal's use of the tool; for questions about others, which bind nobody. */
export function decisionFor(call: Call, tool: Tool, principal: Principal): Decision {
  const asked = { ...call, principal };
  return readVerdict(policyOf(call).decideUse(useText(asked, tool), { principal, tool })).decision;
}

/** What policy would say to this use, without being bound by it: for mayCall. @throws Refusal as authorizeCall, but for forbidden */
export function judge(call: Call, tool: Tool): Judgement {
  const { principal, snapshot } = call;
  if (principal === null) throw new Error("Policy is asked about nobody.");
  const verdict = verdictOn(call, tool, principal);
  if (!verdict.listed && !isOpen(snapshot)) throw toolNotFound();
  if (verdict.decision.allow && tool.quarantined) throw quarantined();
  return verdict;
}

/** `route`: as `Reroute`; null where the tool's own version will do. */
export type Judgement = Verdict & { readonly route: string | null };

function verdictOn(call: Call, tool: Tool, principal: Principal): Judgement {
  const { decision, listed } = readVerdict(policyOf(call).decideUse(useText(call, tool), { principal, tool }));
  const { route } = decision.obligations;
  if (!decision.allow || route === null || fits(tool.version, route.version)) return { decision, listed, route: null };
  // once: two versions could send a call to and fro
  if (call.choice?.reason === "policy") return { decision: misshapen(decision), listed, route: null };
  return { decision, listed, route: route.version };
}

/** The tools among these that the call's principal may see; order kept. @throws Refusal policy_unavailable, forbidden */
export async function visibleTools(call: Call, tools: readonly Tool[]): Promise<readonly Tool[]> {
  const candidates = tools.filter((tool) => !tool.quarantined);
  if (candidates.length === 0) return [];
  const { principal } = call;
  if (principal === null) throw new Error("Policy is asked about nobody.");
  const evaluation = await policyOf(call).listTools((some) => listInput(call, some), { principal, tools: candidates });
  if (!evaluation.ok || !Array.isArray(evaluation.value)) {
    const reasons = [evaluation.ok ? "policy_shape" : evaluation.fault];
    throw new Refusal("forbidden", "Policy could not say which of the tools you may see.", { reasons });
  }
  const allowed = new Set<unknown>(evaluation.value);
  return candidates.filter((_, index) => allowed.has(index));
}

/** All of them or none. @throws Refusal as visibleTools, and forbidden */
export async function allVisible(call: Call, tools: readonly Tool[]): Promise<readonly Tool[]> {
  const visible = await visibleTools(call, tools);
  if (tools.length > 0 && visible.length === tools.length) return visible;
  const reasons = ["list_not_filterable"];
  throw new Refusal("forbidden", "The list holds tools that policy does not show you.", { reasons });
}

function policyOf(call: Call): Policy {
  if (call.snapshot.policy === null) throw new Refusal("policy_unavailable", "No policy is in force.");
  return call.snapshot.policy;
}

/** Whether a tool that may not be seen is said to be there. */
function isOpen({ settings }: Snapshot): boolean {
  return settings.disclosure === "open";
}

function quarantined(): Refusal {
  return new Refusal("tool_quarantined", "The tool's definition changed and awaits approval.");
}

function forbidden(decision: Decision): Refusal {
  return new Refusal("forbidden", "Policy did not allow this.", { reasons: decision.reasons });
}

function unenforceable(call: Call): Refusal {
  if (call.decision === null) throw new Error("Policy was not asked.");
  const reasons = [...call.decision.reasons, "obligation_not_enforceable"];
  call.decision = { ...call.decision, allow: false, reasons };
  return forbidden(call.decision);
}

function refuseShape(call: Call, decision: Decision): Refusal {
  call.decision = misshapen(decision);
  return forbidden(call.decision);
}

function misshapen(decision: Decision): Decision {
  return { ...decision, allow: false, reasons: ["policy_shape"] };
}
