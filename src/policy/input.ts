/**
 * What does Rego see? The contract's §5 document, built from a call. What surprises: the tool's part is built once per
 * snapshot (`Tool.policyInput`), since it is the same for every call.
 */
import type { Call, JsonObject, Principal, Target, Tool } from "../model.ts";

/** As text: what does not change from call to call is written once, which is most of it. */
export function useText(call: Call, tool: Tool): string {
  const request = JSON.stringify(requestInput(call, "tools/call"));
  const { principal } = call;
  if (principal === null) throw new Error("Policy is asked before authentication.");
  const who = kept(principalTexts, principal, () => JSON.stringify(principalInput(call)));
  const what = kept(toolTexts, tool, () => JSON.stringify(listItem(tool)).slice(1, -1));
  return `{"request":${request},"principal":${who},${what},"arguments":${JSON.stringify(call.arguments ?? {})}}`;
}

const principalTexts = new WeakMap<Principal, string>();
const toolTexts = new WeakMap<Tool, string>();

function kept<Subject extends object>(texts: WeakMap<Subject, string>, subject: Subject, make: () => string): string {
  let text = texts.get(subject);
  if (text === undefined) texts.set(subject, (text = make()));
  return text;
}

/** Asked once for all tools of a list; each item becomes `target` and `tool` of one question, without `arguments`. */
export function listInput(call: Call, tools: readonly Tool[]): JsonObject {
  return {
    request: requestInput(call, "tools/list"),
    principal: principalInput(call),
    tools: tools.map(listItem),
  };
}

/** An operation that is not on a tool: the permission it needs stands in `target.permissions`. */
export function operationInput(call: Call, target: Target, permission: string): JsonObject {
  return {
    request: requestInput(call, call.operation),
    principal: principalInput(call),
    target: { kind: target.kind, name: target.name, permissions: [permission] },
  };
}

const items = new WeakMap<Tool, JsonObject>();

function listItem(tool: Tool): JsonObject {
  let item = items.get(tool);
  if (item === undefined) {
    item = { target: { kind: "tool", name: tool.name }, tool: tool.policyInput };
    items.set(tool, item);
  }
  return item;
}

function requestInput(call: Call, operation: string): JsonObject {
  const { asked } = call;
  return {
    id: call.id,
    time: new Date(call.startedMs).toISOString(),
    interface: asked.interface,
    operation,
    ip: asked.ip,
    protocol: asked.protocol,
  };
}

const principals = new WeakMap<Principal, JsonObject>();

function principalInput(call: Call): JsonObject {
  const principal = call.principal;
  if (principal === null) throw new Error("Policy is asked before authentication.");
  let input = principals.get(principal);
  if (input === undefined) {
    const { id, kind, roles, permissions, tenant, onBehalfOf, claims } = principal;
    input = { id, kind, roles, permissions, tenant, onBehalfOf, claims };
    principals.set(principal, input);
  }
  return input;
}
