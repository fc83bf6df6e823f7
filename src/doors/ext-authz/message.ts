/**
 * What does the request that Envoy holds want of its MCP server? What surprises: here the bytes that were checked are not
 * re-serialised, Envoy sends on what the client sent. So everything that another reader could read otherwise is refused,
 * keys that differ from the protocol's only in case included: Go's JSON takes them for the same.
 */
import type { Json, JsonObject } from "../../model.ts";
import { Refusal } from "../../refusal.ts";
import type { Headers } from "../exchange.ts";
import { VERSIONS } from "../mcp/legacy.ts";
import { envelopeOf, invalidParams, metaOf, MODERN_PROTOCOL, notRpc, readMessage } from "../mcp/message.ts";
import type { Message } from "../mcp/message.ts";
import { checkMirror, mismatch } from "../mcp/mirror.ts";
import { checkEnvelope, isModern } from "../mcp/modern.ts";
import { isObject } from "../../json.ts";

/** `server`: nothing but to talk to it. `list`: what it lists, unfiltered. */
export type Wanted =
  | { readonly kind: "server" }
  | { readonly kind: "list" }
  | {
      readonly kind: "use";
      readonly name: string;
      readonly arguments: JsonObject;
      readonly meta: JsonObject | null;
      readonly isModern: boolean;
    };

export type Held = {
  /** HTTP method. */
  readonly method: string;
  readonly headers: Headers;
  readonly body: Json | undefined;
  /** What Envoy's own MCP filter read; null where there is none before us. */
  readonly filter: { readonly method: string | null; readonly name: string | null } | null;
};

const LIFECYCLE = new Set(["initialize", "ping", "server/discover"]);
const ENVELOPE = ["jsonrpc", "id", "method", "params", "result", "error"];
const PARAMS = ["name", "arguments", "_meta"];

/** @throws Refusal invalid_request, forbidden for a method that does not pass */
export function readWanted(held: Held): Wanted {
  const { method, headers } = held;
  if (method === "POST") return readPost(held);
  // nothing else that a server may offer under GET and DELETE of its MCP path is MCP
  const isStream = method === "GET" && headers["accept"]?.includes("text/event-stream") === true;
  const isEnd = method === "DELETE" && headers["mcp-session-id"] !== undefined;
  if (isStream || isEnd) return { kind: "server" };
  throw bad("This is not a request of MCP.", 405);
}

/** The revision that a request speaks, where it says one that is known. */
export function protocolOf(headers: Headers): string {
  const named = headers["mcp-protocol-version"] ?? "";
  return named === MODERN_PROTOCOL || VERSIONS.has(named) ? named : "";
}

function readPost({ headers, body, filter }: Held): Wanted {
  if (body === undefined) throw bad("The body must come with the check: set with_request_body.");
  const message = readMessage(body);
  if (isObject(body)) checkKeys(body, message);
  if (headers["mcp-protocol-version"] !== undefined && protocolOf(headers) === "")
    throw mismatch("MCP-Protocol-Version");
  const modern = isModern(headers, envelopeOf(body));
  if (!modern && Object.keys(headers).some((name) => name.startsWith("mcp-param-")))
    throw bad("Mcp-Param headers are the later era's: in this one nothing holds them to the body.");
  if (modern && message.kind === "request") checkEnvelope(headers, message);
  else if (headers["mcp-method"] !== undefined || headers["mcp-name"] !== undefined)
    checkMirror(headers, ...said(message));
  if (filter !== null) checkFilter(filter, message);
  return wantedOf(message, modern);
}

function checkKeys(body: JsonObject, message: Message): void {
  if (!Object.keys(body).every((key) => ENVELOPE.includes(key))) throw notRpc("A key is none of JSON-RPC's.");
  if (message.kind !== "response" && (body["result"] !== undefined || body["error"] !== undefined))
    throw notRpc("A message asks or answers, not both.");
  if (message.kind === "response") return;
  const params = Object.keys(message.params);
  if (params.some((key) => !PARAMS.includes(key) && PARAMS.includes(folded(key))))
    throw notRpc("A key of params differs from one of MCP's in case only.");
  if (hasTwins(message.params)) throw notRpc("Two keys of an object differ in case only.");
}

/** One reader takes the one for the other. The depth is bounded by the parser. */
function hasTwins(value: Json): boolean {
  if (Array.isArray(value)) return (value as readonly Json[]).some(hasTwins);
  if (!isObject(value)) return false;
  const keys = Object.keys(value);
  return new Set(keys.map(folded)).size < keys.length || Object.values(value).some(hasTwins);
}

/** As Go's encoding/json compares keys: U+017F is an s to it, and U+212A a k. */
function folded(key: string): string {
  return key.toUpperCase().toLowerCase();
}

/** Two readers of one body that disagree: whatever the reason, one of them decides about something else. */
function checkFilter(filter: NonNullable<Held["filter"]>, message: Message): void {
  const [method, params] = said(message);
  const sameMethod = filter.method === (message.kind === "response" ? FILTER_RESPONSE : method);
  if (!sameMethod || (filter.name !== null && filter.name !== params["name"]))
    throw bad("Envoy's MCP filter has read another message.");
}
/** What the filter calls the method of a message that has none. */
const FILTER_RESPONSE = "__jsonrpc_response";

function said(message: Message): readonly [string, JsonObject] {
  return message.kind === "response" ? ["", {}] : [message.method, message.params];
}

function wantedOf(message: Message, modern: boolean): Wanted {
  // what the client answers, the server has asked
  if (message.kind === "response") return { kind: "server" };
  const { method, params } = message;
  if (message.kind === "notification") {
    if (method.startsWith("notifications/")) return { kind: "server" };
  } else if (LIFECYCLE.has(method)) return { kind: "server" };
  else if (method === "tools/list") return { kind: "list" };
  else if (method === "tools/call") return use(params, modern);
  throw new Refusal("forbidden", "This method does not pass.", { reasons: ["method_not_allowed"] });
}

function use(params: JsonObject, modern: boolean): Wanted {
  const { name, arguments: args = {} } = params;
  if (typeof name !== "string") throw invalidParams("params.name must be a string.", 400);
  if (!isObject(args)) throw invalidParams("params.arguments must be an object.", 400);
  return { kind: "use", name, arguments: args, meta: metaOf(params), isModern: modern };
}

function bad(message: string, status = 400): Refusal {
  return new Refusal("invalid_request", message, { status });
}
