/**
 * What of a call is known before the upstream hears of it, as attributes: who asked for what, what was decided, and as
 * much of the arguments as may be kept. What surprises: before policy has said what to mask, nothing of the arguments
 * is kept but their keyed digest. Parts that are the same for every call of a tool or principal are kept with it.
 */
import type { Call, Principal, Snapshot, Tool } from "../model.ts";
import { NAME_MAX, flat, intAttribute, listAttribute, textAttribute } from "./attributes.ts";
import { maskedText } from "./mask.ts";
import { hiddenOf, isHidden, keptArguments } from "./privacy.ts";

export const JSON_MAX = 1_900;

const write = {
  callId: textAttribute("portcullis.call.id"),
  operation: textAttribute("portcullis.operation"),
  method: textAttribute("mcp.method.name"),
  protocol: textAttribute("mcp.protocol.version"),
  requestId: textAttribute("jsonrpc.request.id", 64),
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
  routeReason: textAttribute("portcullis.route.reason"),
  routeFrom: textAttribute("portcullis.route.from"),
  toolDigest: textAttribute("portcullis.tool.digest"),
  target: textAttribute("portcullis.target"),
  decision: textAttribute("portcullis.decision"),
  policyRevision: textAttribute("portcullis.policy.revision"),
  shadow: textAttribute("portcullis.shadow", JSON_MAX),
  snapshotRevision: textAttribute("portcullis.snapshot.revision"),
  limitName: textAttribute("portcullis.limit.name"),
  limitRemaining: intAttribute("portcullis.limit.remaining"),
  digest: textAttribute("portcullis.arguments.digest"),
  arguments: textAttribute("gen_ai.tool.call.arguments", JSON_MAX),
} as const;
const writeReasons = listAttribute("portcullis.reasons");

/** Each attribute ends in a comma. `digest` is keyed. */
export function factsOf(call: Call, digest: (text: string) => string): string {
  const { asked, snapshot, operation } = call;
  return (
    write.callId(call.id) +
    write.operation(operation) +
    (operation.startsWith("tools/") ? write.method(operation) : "") +
    write.interface(asked.interface) +
    (asked.requestId === undefined ? "" : write.requestId(maskedText(asked.requestId, NAME_MAX + 1))) +
    (asked.protocol === "" ? "" : write.protocol(maskedText(asked.protocol, NAME_MAX + 1))) +
    (asked.ip === "" || isHidden(call, "address") ? "" : write.address(asked.ip)) +
    (call.principal === null ? "" : principalOf(call.principal)) +
    targetOf(call) +
    (call.decision === null ? "" : write.decision(call.decision.allow ? "allow" : "deny")) +
    reasonsOf(call, call.decision?.reasons) +
    (call.shadows.length === 0 ? "" : write.shadow(shadowsText(call))) +
    revisionsOf(snapshot) +
    (call.limit === null ? "" : write.limitName(call.limit.name) + write.limitRemaining(call.limit.remaining)) +
    argumentsOf(call, digest)
  );
}

/** Policy may quote arguments in its reasons. */
export function reasonsOf(call: Call, reasons: readonly string[] = []): string {
  if (reasons.length === 0 || isHidden(call, "reasons")) return "";
  const hidden = hiddenOf(call);
  return writeReasons(reasons.map((reason) => maskedText(reason, REASON_MAX, hidden)));
}
const REASON_MAX = 250;

/** Always said by whom it was judged; reasons only where they would have changed something. Four bundles fit. */
function shadowsText(call: Call): string {
  const hidden = hiddenOf(call);
  const silent = isHidden(call, "reasons");
  return JSON.stringify(
    call.shadows.map(({ bundle, revision, decision: { allow, reasons }, flip }) => ({
      bundle,
      revision,
      decision: allow ? "allow" : "deny",
      ...(flip === null
        ? {}
        : {
            flip,
            reasons: silent ? [] : reasons.slice(0, 2).map((one) => maskedText(one, SHADOW_REASON_MAX, hidden)),
          }),
    })),
  );
}
const SHADOW_REASON_MAX = 100;

const principals = new WeakMap<Principal, string>();

function principalOf(principal: Principal): string {
  const known = principals.get(principal);
  if (known !== undefined) return known;
  const { id, kind, onBehalfOf, tenant } = principal;
  const user = onBehalfOf === null ? "" : write.onBehalfOf(onBehalfOf);
  const made = flat(write.principal(id) + write.principalKind(kind) + user + write.tenant(tenant));
  principals.set(principal, made);
  return made;
}

function targetOf(call: Call): string {
  if (call.tool !== null) return toolOf(call.tool) + choiceOf(call);
  const name = call.target?.name ?? askedTool(call);
  if (name === null) return "";
  // whatever stands where a name should
  const safe = maskedText(name, NAME_MAX + 1);
  return call.target === null || call.target.kind === "tool" ? write.toolName(safe) : write.target(safe);
}

function choiceOf({ choice }: Call): string {
  if (choice === null || choice.reason === "default") return "";
  return write.routeReason(choice.reason) + (choice.from === null ? "" : write.routeFrom(choice.from));
}

const tools = new WeakMap<Tool, string>();

function toolOf(tool: Tool): string {
  const known = tools.get(tool);
  if (known !== undefined) return known;
  const made = flat(
    write.toolName(tool.name) +
      write.genAiOperation("execute_tool") +
      write.mcpServer(tool.server) +
      write.server(tool.server) +
      write.version(tool.version) +
      write.toolDigest(tool.digest),
  );
  tools.set(tool, made);
  return made;
}

const revisions = new WeakMap<Snapshot, string>();

function revisionsOf(snapshot: Snapshot): string {
  const known = revisions.get(snapshot);
  if (known !== undefined) return known;
  const { policy, revision } = snapshot;
  const made = flat((policy === null ? "" : write.policyRevision(policy.revision)) + write.snapshotRevision(revision));
  revisions.set(snapshot, made);
  return made;
}

/** What a refused call asked for, although nothing of that name was found. */
function askedTool({ asked }: Call): string | null {
  if (!("tool" in asked) || typeof asked.tool !== "object" || asked.tool === null) return null;
  return "name" in asked.tool && typeof asked.tool.name === "string" ? asked.tool.name : null;
}

function argumentsOf(call: Call, digest: (text: string) => string): string {
  if (call.arguments === null || call.tool?.auditArguments === "off") return "";
  const kept = keptArguments(call);
  return write.digest(digest(JSON.stringify(call.arguments))) + (kept === null ? "" : write.arguments(kept));
}
