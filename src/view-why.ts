/**
 * Why did policy decide so? The rules that were asked, what they read, and what would turn it: of a recorded call, on the
 * text of the revision that decided it, or of a call that somebody might make. What surprises: a record holds no roles
 * and maybe not all arguments, so whatever is not as it was is said beside the answer.
 */
import type { Decided } from "./audit/decided.ts";
import { maskedJson } from "./audit/mask.ts";
import type { Paths } from "./audit/paths.ts";
import { hiddenArguments } from "./audit/privacy.ts";
import type { CallFilter } from "./audit/row.ts";
import { scopeOf } from "./audit/scope.ts";
import type { Gateway } from "./gateway.ts";
import { parseOwnJson } from "./json.ts";
import type { Asked, Decision, JsonObject, Outcome, Policy, Principal, Snapshot, Tool, ToolRef } from "./model.ts";
import { decisionFor } from "./policy/authorize.ts";
import { readVerdict } from "./policy/decision.ts";
import { useText } from "./policy/input.ts";
import { withLogMask } from "./policy/log-mask.ts";
import { stepsOf, valueAt } from "./policy/rules.ts";
import { questionOf } from "./policy/recorded.ts";
import type { Lost, Question } from "./policy/recorded.ts";
import { textsOf } from "./policy/sources.ts";
import type { Texts } from "./policy/sources.ts";
import type { TracedRule } from "./policy/trace.ts";
import { turnsOf } from "./policy/turn.ts";
import type { Turn } from "./policy/turn.ts";
import { Refusal } from "./refusal.ts";
import { resolve } from "./registry/resolve.ts";
import { policyIn, rebuildOf, viewed } from "./view-policy.ts";

export type Explained = {
  readonly revision: string;
  readonly obligations: Decision["obligations"];
  readonly rules: readonly TracedRule[];
  readonly values: readonly { readonly path: string; readonly value: string | null }[];
  readonly nearest: readonly Turn[];
  readonly missing: readonly string[];
};
export type Why = Explained & {
  readonly callId: string;
  readonly time: string;
  readonly principal: string;
  readonly operation: string;
  readonly tool: string | null;
  /** As recorded. */
  readonly decision: "allow" | "deny";
  readonly reasons: readonly string[];
};

const SCAN_BYTES_MAX = 512 * 1024 * 1024;
/** A clock may have been set. */
const EARLIER_MS = 60_000;

/** Of a recorded call that the asker may read. @throws as its refusal invalid_request where there is none */
export function why(gateway: Gateway, asked: Asked, callId: string): Promise<Outcome<Why>> {
  return viewed(gateway, asked, "policies/why", async (call, allowed) => {
    const { principal, snapshot } = call;
    if (principal === null) throw new Error("Policy is asked about nobody.");
    const scope = scopeOf(allowed, principal);
    const decided = await decidedOf(gateway, callId);
    // of a call that he may not read nobody learns that there was one
    if (decided === null || !isWithin(decided, scope))
      throw new Refusal("invalid_request", "There is no record of a decision on this call.");
    const { timeMs, operation, tool, decision, reasons, principal: who } = decided;
    const told = { callId, time: new Date(timeMs).toISOString(), principal: who, operation, tool, decision, reasons };
    return { ...told, ...(await explainedAgain(gateway, snapshot, decided)) };
  });
}

/** Of a call that the asker might make. */
export function explainCall(
  gateway: Gateway,
  asked: Asked,
  question: { readonly tool: ToolRef; readonly arguments: JsonObject },
): Promise<Outcome<Explained>> {
  return viewed(gateway, asked, "policies/why", async (call) => {
    const { principal, snapshot } = call;
    const tool = resolve(snapshot, question.tool, call);
    if (principal === null) throw new Error("Policy is asked about nobody.");
    const using = { ...call, operation: "tools/call", arguments: question.arguments };
    const text = useText(using, tool);
    const policy = policyIn(gateway);
    const decide: Decide = (who, args) => decisionFor({ ...using, arguments: args }, tool, who);
    const about = { tool, principal, arguments: question.arguments, decide, text };
    const bundle = gateway.control.policies.textOf(policy.source.key);
    return await explained(gateway, { policy, bundle, roles: snapshot.roles }, about);
  });
}

async function decidedOf({ audit }: Gateway, callId: string): Promise<Decided | null> {
  // the id of a call begins with its time
  const sinceMs = Number.parseInt(callId.replace("-", "").slice(0, 12), 16) - EARLIER_MS;
  for await (const decided of audit.decided({ sinceMs, bytesMax: SCAN_BYTES_MAX, callId })) return decided;
  return null;
}

function isWithin(decided: Decided, { principal, onBehalfOf, tenant }: CallFilter): boolean {
  if (principal !== undefined && decided.principal !== principal) return false;
  if (onBehalfOf !== undefined && decided.onBehalfOf !== onBehalfOf) return false;
  return tenant === undefined || decided.tenant === tenant;
}

const LOST: { readonly [what in Lost]: string } = {
  principal: "its principal is not known any more",
  tool: "its tool is not there any more",
  arguments: "its arguments were not kept",
  operation: "it was no question that can be asked again",
};

async function explainedAgain(gateway: Gateway, snapshot: Snapshot, decided: Decided): Promise<Explained> {
  const { policies } = gateway.control;
  const archived = await policies.archived(decided.policyRevision);
  const question = questionOf(decided, rebuildOf(gateway, snapshot));
  if (archived === null || typeof question === "string") {
    const text = archived === null ? ["the text of the policy that decided is not kept here"] : [];
    const missing = [...text, ...(typeof question === "string" ? [LOST[question]] : [])];
    return { revision: decided.policyRevision, obligations: NONE, rules: [], values: [], nearest: [], missing };
  }
  const { roles } = archived;
  const bundle = textsOf(archived.bundle);
  // it was in force once, whatever is asked of policies now
  const policy = await policies.load(bundle, roles, { shadow: true });
  const decide = decideAgain(decided, policy, { gateway, snapshot });
  const about = { ...question, arguments: argumentsOf(question), decide };
  const again = await explained(gateway, { policy, bundle, roles }, about);
  return {
    ...again,
    revision: decided.policyRevision,
    missing: [...again.missing, ...differences(decided, policy, question)],
  };
}

const NONE = readVerdict({ ok: false, fault: "policy_undefined", detail: "" }).decision.obligations;

/** What is not as it was. */
function differences(decided: Decided, policy: Policy, question: Question): readonly string[] {
  const { decision } = readVerdict(question.ask(policy));
  const missing = [
    ...(question.whole ? [] : ["its arguments were not kept whole: what they are here may not be what they were"]),
    ...(decided.ip === "" ? ["its address was not kept"] : []),
  ];
  if (decision.allow === (decided.decision === "allow")) return missing;
  return [...missing, "it is decided otherwise with the principals and tools of today: this explains today's decision"];
}

type Decide = (principal: Principal, args: JsonObject) => Decision;
type Place = { readonly gateway: Gateway; readonly snapshot: Snapshot };

function decideAgain(decided: Decided, policy: Policy, { gateway, snapshot }: Place): Decide {
  const rebuild = rebuildOf(gateway, snapshot);
  return (principal, args) => {
    const changed = { ...decided, arguments: JSON.stringify(args) };
    const question = questionOf(changed, { ...rebuild, principalOf: () => principal });
    if (typeof question === "string") throw new Error("A question that was asked before.");
    return readVerdict(question.ask(policy)).decision;
  };
}

function argumentsOf({ text }: Question): JsonObject {
  return ((parseOwnJson(text) as JsonObject)["arguments"] ?? {}) as JsonObject;
}

type Deciding = { readonly policy: Policy; readonly bundle: Texts | null; readonly roles: Snapshot["roles"] };
type About = {
  readonly tool: Tool | null;
  readonly principal: Principal;
  readonly arguments: JsonObject;
  readonly text: string;
  readonly decide: Decide;
};

async function explained({ control }: Gateway, { policy, bundle, roles }: Deciding, about: About): Promise<Explained> {
  const { tool, principal, arguments: args, decide, text } = about;
  const document = parseOwnJson(text) as JsonObject;
  const { obligations } = withLogMask(policy, decide(principal, args), () => text);
  const nearest = turnsOf({ principal, arguments: args, permissions: neededBy(tool, document), roles, decide });
  const terms = { revision: policy.revision, obligations, nearest };
  if (bundle === null)
    return { ...terms, rules: [], values: [], missing: ["the text of the policy is not at this gateway"] };
  const [[trace], known] = await Promise.all([
    control.policies.trace(bundle, roles, [text]),
    control.policies.rules(bundle),
  ]);
  const rules = trace?.rules ?? [];
  const asked = new Set(rules.map(({ file, row }) => `${file}:${row}`));
  const read = new Set(
    (known ?? []).filter(({ file, row }) => asked.has(`${file}:${row}`)).flatMap(({ inputs }) => inputs),
  );
  const hide = hiddenArguments(tool, obligations.mask_audit);
  const missing = trace?.complete === true ? [] : ["the decision took too many steps to be told whole"];
  return {
    ...terms,
    rules,
    values: [...read].toSorted().map((path) => ({ path, value: shown(document, path, hide) })),
    missing,
  };
}

function neededBy(tool: Tool | null, document: JsonObject): readonly string[] {
  if (tool !== null) return tool.permissions;
  const permissions = valueAt(document, ["target", "permissions"]);
  return Array.isArray(permissions) ? permissions.filter((one) => typeof one === "string") : [];
}

const VALUE_CHARACTERS_MAX = 500;

/** As the audit masks. */
function shown(document: JsonObject, path: string, hide: Paths | undefined): string | null {
  const steps = stepsOf(path);
  const value = valueAt(document, steps);
  if (value === undefined) return null;
  // masked inside the whole, so that the name of a field counts as it does in a record
  const within = steps.toReversed().reduce<JsonObject>((inner, step) => ({ [step]: inner }), value as JsonObject);
  const args = steps[0] === "arguments" ? ((within["arguments"] ?? {}) as JsonObject) : null;
  const masked = args === null ? maskedJson(value, { shapes: true }) : maskedJson(args, { hide, shapes: true });
  return masked.slice(0, VALUE_CHARACTERS_MAX);
}
