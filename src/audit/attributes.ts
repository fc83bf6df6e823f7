/**
 * Every name an audit record may carry, once, and how one attribute is written as OTLP/JSON. What surprises: lines
 * are put together as text, a third of the cost of building objects for JSON.stringify, so each writer here is made
 * once per name; and every line is pure ASCII, so that its length in characters is its length in bytes.
 */
import { STAGES } from "../model.ts";

export const ATTRIBUTES = {
  "audit.sequence.number": "Number of the line in its chain, from 1.",
  "audit.sequence.prev_hash": "SHA-256, in hex, of the bytes of the line before, without its newline.",
  "client.address": "Address the request came from.",
  "error.type": "Refusal code, `tool_error`, or an upstream's JSON-RPC code.",
  "gen_ai.operation.name": "`execute_tool` for a tool call.",
  "gen_ai.tool.call.arguments": "Arguments as JSON, bounded, masked as the server's `audit.arguments` says.",
  "gen_ai.tool.call.result": "Result as JSON, bounded, masked; only where the server's `audit.results` says so.",
  "gen_ai.tool.name": "Gateway name of the tool.",
  "jsonrpc.request.id": "Id of the caller's JSON-RPC request.",
  "mcp.method.name": "MCP method.",
  "mcp.protocol.version": "MCP revision the caller spoke.",
  "mcp.server.name": "The server, under the name that dashboards look for.",
  "portcullis.arguments.digest": "Keyed HMAC-SHA-256 of the arguments: confirms a guess, reveals nothing.",
  "portcullis.attempt.errors":
    "How each attempt failed, in order, empty for one that did not; absent where none failed.",
  "portcullis.attempt.instances": "Instance of each attempt, where there were several.",
  "portcullis.attempt.times": "Begin and end of each attempt, in microseconds since the call's start.",
  "portcullis.attempts": "How often the call was sent to an instance.",
  "portcullis.call.id": "UUIDv7 of the call, the same in answer, header and log.",
  "portcullis.change": "What an administrative change found and left, as JSON.",
  "portcullis.count": "How many identical refusals of unauthenticated requests this record stands for.",
  "portcullis.decision": "`allow` or `deny`; absent while policy was not asked.",
  "portcullis.executed": "Whether the upstream ran the call: `no`, `yes` or `unknown`.",
  "portcullis.instance": "Instance that was called.",
  "portcullis.interface": "Door of the request.",
  "portcullis.limit.name": "Tightest limit that was charged.",
  "portcullis.limit.remaining": "What that limit had left.",
  "portcullis.on_behalf_of": "User an agent acts for.",
  "portcullis.operation": "Key of the operation table.",
  "portcullis.outcome": "`success`, `error` (the tool or the way to it failed) or `refused`.",
  "portcullis.policy.revision": "Policy bundle that decided.",
  "portcullis.principal.id": "Who asked.",
  "portcullis.principal.kind": "`user` or `agent`.",
  "portcullis.reasons": "Why policy decided so.",
  "portcullis.record": "`intent`, `outcome` or `refusal`.",
  "portcullis.result.digest": "Keyed HMAC-SHA-256 of the result, where the server's `audit.results` says so.",
  "portcullis.route.from": "Version that the call was first decided on, where policy sent it to another.",
  "portcullis.route.reason": "Why this version: `asked`, `canary`, `pin` or `policy`; absent for the default.",
  "portcullis.server.name": "Server of the tool.",
  "portcullis.server.version": "Version of that server.",
  "portcullis.shadow":
    "What each bundle in shadow decided, as JSON: bundle, revision, decision, and where it differs its reasons.",
  "portcullis.snapshot.revision": "Snapshot the call ran under.",
  "portcullis.stage.ends": `End of each stage (${STAGES.join(", ")}), in microseconds since the call's start; as many as it came through.`,
  "portcullis.target": "What was asked for, where it is not a tool.",
  "portcullis.tenant": "Tenant of the principal.",
  "portcullis.tool.digest": "Digest of the tool's accepted definition.",
  "rpc.response.status_code": "JSON-RPC code of the upstream's own error, on the span of the attempt.",
} as const;

export type AttributeName = keyof typeof ATTRIBUTES;

export const NAME_MAX = 256;
const ITEMS_MAX = 8;

/**
 * The same text in one piece. V8 keeps what was put together as a tree of its parts, and walks that tree each time the
 * text goes into a line: what is kept for many lines is made flat once.
 */
export function flat(text: string): string {
  return Buffer.from(text).toString();
}

/** Makes the writer of one string attribute: bounded, escaped, and ending in a comma. */
export function textAttribute(name: AttributeName, max = NAME_MAX): (value: string) => string {
  const open = flat(`{"key":"${name}","value":{"stringValue":"`);
  return (value) => `${open}${escape(value, max)}"}},`;
}

export function intAttribute(name: AttributeName): (value: number) => string {
  const open = flat(`{"key":"${name}","value":{"intValue":"`);
  return (value) => `${open}${Math.trunc(value)}"}},`;
}

export function listAttribute(name: AttributeName): (values: readonly string[]) => string {
  const open = flat(`{"key":"${name}","value":{"arrayValue":{"values":[`);
  return (values) => {
    const items = values.slice(0, ITEMS_MAX).map((value) => `{"stringValue":"${escape(value)}"}`);
    return `${open}${items.join(",")}]}}},`;
  };
}

/** Whole numbers, one at least. In a list they are cheaper than under names of their own: ninety bytes and a lookup each. */
export function intsAttribute(name: AttributeName): (values: readonly number[]) => string {
  const open = flat(`{"key":"${name}","value":{"arrayValue":{"values":[{"intValue":"`);
  return (values) => `${open}${values.join('"},{"intValue":"')}"}]}}},`;
}

const PLAIN = /^[ !#-[\]-~]*$/;
/** Control and format characters: a name from outside must not move a terminal's cursor or turn its text around. */
const CONTROLS = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** The inside of a JSON string: bounded, controls made visible, ASCII only. */
export function escape(value: string, max = NAME_MAX): string {
  if (value.length <= max && PLAIN.test(value)) return value;
  const bounded = value.length <= max ? value : `${value.slice(0, max - 1)}…`;
  return JSON.stringify(bounded.toWellFormed().replace(CONTROLS, visible))
    .slice(1, -1)
    .replace(/[\x7f-\uffff]/g, unicode);
}

/** `\u001b` as six characters of text, for people to read. */
export function visible(control: string): string {
  return control.split("").map(unicode).join("");
}

function unicode(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}
