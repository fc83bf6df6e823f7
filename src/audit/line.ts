/**
 * How a call becomes one line: an OTLP/JSON span, left open after its last attribute, where the spool adds the
 * line's number and the hash of the line before. What surprises: what is known before the upstream hears of a call is
 * written once and used for intent and outcome alike; parts that are the same for every call of a tool or principal
 * are kept with it.
 */
import type { Call, Principal, Tool } from "../model.ts";
import type { Refusal } from "../refusal.ts";
import { escape, intAttribute, listAttribute, textAttribute } from "./attributes.ts";
import { keyedDigest } from "./digest.ts";
import { maskTree, maskedJson, maskedText } from "./mask.ts";

export type RecordKind = "intent" | "outcome" | "refusal";

/** How a call ended. */
export type Ending = {
  readonly outcome: "success" | "error" | "refused";
  /** Refusal code, `tool_error`, or an upstream's JSON-RPC code. */
  readonly errorType: string | null;
  /** Bounded and masked here. */
  readonly message: string | null;
  readonly refusal: Refusal | null;
  /** Requests that the record stands for; null where it is one. */
  readonly count: number | null;
};

export type Lines = {
  /** `spanId`: the intent's own, a zero-length child of the call's span. */
  readonly intent: (call: Call, spanId: string) => string;
  readonly ending: (kind: "outcome" | "refusal", call: Call, endedMs: number, ending: Ending) => string;
};

const ARGUMENTS_MAX = 1_900;

const record = {
  intent: textAttribute("portcullis.record")("intent"),
  outcome: textAttribute("portcullis.record")("outcome"),
  refusal: textAttribute("portcullis.record")("refusal"),
} as const;
const write = {
  callId: textAttribute("portcullis.call.id"),
  operation: textAttribute("portcullis.operation"),
  method: textAttribute("mcp.method.name"),
  protocol: textAttribute("mcp.protocol.version"),
  interface: textAttribute("portcullis.interface"),
  address: textAttribute("client.address"),
  principal: textAttribute("portcullis.principal.id"),
  principalKind: textAttribute("portcullis.principal.kind"),
  onBehalfOf: textAttribute("portcullis.on_behalf_of"),
  tenant: textAttribute("portcullis.tenant"),
  toolName: textAttribute("gen_ai.tool.name"),
  genAiOperation: textAttribute("gen_ai.operation.name"),
  mcpServer: textAttribute("mcp.server.name"),
  server: textAttribute("portcullis.server.name"),
  version: textAttribute("portcullis.server.version"),
  toolDigest: textAttribute("portcullis.tool.digest"),
  target: textAttribute("portcullis.target"),
  decision: textAttribute("portcullis.decision"),
  reasons: listAttribute("portcullis.reasons"),
  policyRevision: textAttribute("portcullis.policy.revision"),
  snapshotRevision: textAttribute("portcullis.snapshot.revision"),
  limitName: textAttribute("portcullis.limit.name"),
  limitRemaining: intAttribute("portcullis.limit.remaining"),
  digest: textAttribute("portcullis.arguments.digest"),
  arguments: textAttribute("gen_ai.tool.call.arguments", ARGUMENTS_MAX),
  change: textAttribute("portcullis.change", ARGUMENTS_MAX),
  outcome: textAttribute("portcullis.outcome"),
  errorType: textAttribute("error.type"),
  executed: textAttribute("portcullis.executed"),
  attempts: intAttribute("portcullis.attempts"),
  instance: textAttribute("portcullis.instance"),
  count: intAttribute("portcullis.count"),
} as const;

/** `key` keys the digest of arguments; `version` is the product's. */
export function createLines(key: Buffer, version: string): Lines {
  const digest = keyedDigest(key);
  const head = `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"portcullis"}},{"key":"service.version","value":{"stringValue":"${escape(version)}"}}]},"scopeSpans":[{"scope":{"name":"portcullis/audit","version":"1"},"spans":[{"traceId":"`;
  /** An outcome repeats its intent's facts: nothing of them changes once the upstream may hear of the call. */
  const kept = new WeakMap<Call, string>();
  return {
    intent: (call, spanId) => {
      const facts = factsOf(call, digest);
      kept.set(call, facts);
      const at = nanoseconds(call.startedMs);
      return `${head}${call.traceId}","spanId":"${spanId}","parentSpanId":"${call.spanId}${middle(call, at, at)}"flags":257,"attributes":[${record.intent}${facts}`;
    },
    ending: (kind, call, endedMs, ending) => {
      const facts = kept.get(call) ?? factsOf(call, digest);
      const parent = call.parentSpanId === null ? "" : `","parentSpanId":"${call.parentSpanId}`;
      const times = middle(call, nanoseconds(call.startedMs), nanoseconds(Math.max(endedMs, call.startedMs)));
      return `${head}${call.traceId}","spanId":"${call.spanId}${parent}${times}${statusOf(ending)}"flags":${parent === "" ? 257 : 769},"attributes":[${record[kind]}${facts}${resultOf(call, ending)}`;
    },
  };
}

/** Kind 2 is SERVER. A name that nobody registered stays out of the span's name: those are few, or a viewer drowns. */
function middle(call: Call, start: string, end: string): string {
  const name = call.tool === null ? escape(call.operation) : `${call.operation} ${escape(call.tool.name)}`;
  return `","name":"${name}","kind":2,"startTimeUnixNano":"${start}","endTimeUnixNano":"${end}",`;
}

function nanoseconds(ms: number): string {
  const whole = Math.floor(ms);
  return `${whole}${String(Math.floor((ms - whole) * 1e6)).padStart(6, "0")}`;
}

/** Status 1 is OK, 2 ERROR. */
function statusOf({ errorType, message }: Ending): string {
  if (errorType === null) return '"status":{"code":1},';
  return message === null
    ? '"status":{"code":2},'
    : `"status":{"code":2,"message":"${escape(maskedText(message, MESSAGE_MAX))}"},`;
}
const MESSAGE_MAX = 250;

// ---- before the upstream hears -------------------------------------------------------------------

function factsOf(call: Call, digest: (text: string) => string): string {
  const { asked, snapshot } = call;
  const revisions = snapshot.policy === null ? "" : write.policyRevision(snapshot.policy.revision);
  return `${write.callId(call.id)}${write.operation(call.operation)}${call.operation.startsWith("tools/") ? write.method(call.operation) : ""}${write.interface(asked.interface)}${asked.protocol === "" ? "" : write.protocol(asked.protocol)}${asked.ip === "" ? "" : write.address(asked.ip)}${call.principal === null ? "" : principalOf(call.principal)}${targetOf(call)}${decisionOf(call)}${revisions}${write.snapshotRevision(snapshot.revision)}${limitOf(call)}${argumentsOf(call, digest)}`;
}

const principals = new WeakMap<Principal, string>();

function principalOf(principal: Principal): string {
  const known = principals.get(principal);
  if (known !== undefined) return known;
  const { id, kind, onBehalfOf, tenant } = principal;
  const made = `${write.principal(id)}${write.principalKind(kind)}${onBehalfOf === null ? "" : write.onBehalfOf(onBehalfOf)}${write.tenant(tenant)}`;
  principals.set(principal, made);
  return made;
}

const tools = new WeakMap<Tool, string>();

function targetOf(call: Call): string {
  if (call.tool !== null) return toolOf(call.tool);
  const name = call.target?.name ?? askedTool(call);
  if (name === null) return "";
  return call.target === null || call.target.kind === "tool" ? write.toolName(name) : write.target(name);
}

function toolOf(tool: Tool): string {
  const known = tools.get(tool);
  if (known !== undefined) return known;
  const made = `${write.toolName(tool.name)}${write.genAiOperation("execute_tool")}${write.mcpServer(tool.server)}${write.server(tool.server)}${write.version(tool.version)}${write.toolDigest(tool.digest)}`;
  tools.set(tool, made);
  return made;
}

/** What a refused call asked for, although nothing of that name was found. */
function askedTool({ asked }: Call): string | null {
  if (!("tool" in asked) || typeof asked.tool !== "object" || asked.tool === null) return null;
  return "name" in asked.tool && typeof asked.tool.name === "string" ? asked.tool.name : null;
}

function decisionOf({ decision }: Call): string {
  if (decision === null) return "";
  const reasons = decision.reasons.length === 0 ? "" : write.reasons(decision.reasons.map(maskedReason));
  return `${write.decision(decision.allow ? "allow" : "deny")}${reasons}`;
}

function maskedReason(reason: string): string {
  return maskedText(reason, MESSAGE_MAX);
}

function limitOf({ limit }: Call): string {
  return limit === null ? "" : `${write.limitName(limit.name)}${write.limitRemaining(limit.remaining)}`;
}

/** Before policy has said what to mask, nothing but the digest is kept. */
function argumentsOf(call: Call, digest: (text: string) => string): string {
  const mode = call.tool?.auditArguments ?? "digest";
  if (call.arguments === null || mode === "off") return "";
  const digested = write.digest(digest(JSON.stringify(call.arguments)));
  if (mode === "digest" || call.decision === null) return digested;
  const hide = maskTree(call.decision.obligations.mask_audit);
  return `${digested}${write.arguments(maskedJson(call.arguments, hide, mode !== "full"))}`;
}

// ---- after ---------------------------------------------------------------------------------------

function resultOf(call: Call, { outcome, errorType, refusal, count }: Ending): string {
  const reasons = call.decision === null ? (refusal?.detail.reasons ?? []) : [];
  return `${write.outcome(outcome)}${errorType === null ? "" : write.errorType(errorType)}${write.executed(call.executed)}${call.attempts === 0 ? "" : write.attempts(call.attempts)}${call.instance === null ? "" : write.instance(call.instance)}${reasons.length === 0 ? "" : write.reasons(reasons.map(maskedReason))}${count === null ? "" : write.count(count)}${call.change === null ? "" : write.change(maskedJson(call.change, null, true))}`;
}
