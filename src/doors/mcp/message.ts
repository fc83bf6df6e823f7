/**
 * Is this JSON-RPC, and which kind? One message in, one reply out. What surprises: an id is echoed with its type, and
 * null, fractions and numbers that JavaScript cannot hold exactly are refused, for they could not be echoed.
 */
import { isObject } from "../../json.ts";
import type { Json, JsonObject } from "../../model.ts";
import { Refusal } from "../../refusal.ts";

export type Id = string | number;
export type Request = {
  readonly kind: "request";
  readonly id: Id;
  readonly method: string;
  readonly params: JsonObject;
};
export type Message =
  | Request
  | { readonly kind: "notification"; readonly method: string; readonly params: JsonObject }
  | { readonly kind: "response" };

/** What goes back, before anything is written to the wire: a batch joins bodies, a stream sends one as an event. */
export type Reply = {
  readonly status: number;
  readonly headers: { readonly [name: string]: string };
  readonly body: string;
};

export const MODERN_PROTOCOL = "2026-07-28";
const METHOD_CHARACTERS_MAX = 128;

/** @throws Refusal invalid_request with −32600 or −32602 */
export function readMessage(json: Json | undefined): Message {
  if (!isObject(json) || json["jsonrpc"] !== "2.0") throw notRpc("The body is not a JSON-RPC 2.0 message.");
  const { id, method, params } = json;
  if (method === undefined && id !== undefined && (json["result"] !== undefined || json["error"] !== undefined)) {
    return { kind: "response" };
  }
  if (typeof method !== "string" || method.length > METHOD_CHARACTERS_MAX) throw notRpc("The method must be a string.");
  if (id !== undefined && !isId(id)) throw notRpc("The id must be a string or an integer.");
  if (params !== undefined && !isObject(params)) throw invalidParams("params must be an object.", 400);
  return id === undefined
    ? { kind: "notification", method, params: params ?? {} }
    : { kind: "request", id, method, params: params ?? {} };
}

/** The id of a message that was refused, if it has one that can be echoed. */
export function idOf(json: Json | undefined): Id | null {
  const id = isObject(json) ? json["id"] : undefined;
  return isId(id) ? id : null;
}

/** The `_meta` of whatever has one, before anything is known of it. */
export function envelopeOf(body: Json | undefined): JsonObject | null {
  const params = isObject(body) ? body["params"] : undefined;
  const meta = isObject(params) ? params["_meta"] : undefined;
  return isObject(meta) ? meta : null;
}

/** @throws Refusal invalid_request with −32602 where `_meta` is there and no object */
export function metaOf(params: JsonObject): JsonObject | null {
  const meta = params["_meta"];
  if (meta === undefined) return null;
  if (!isObject(meta)) throw invalidParams("params._meta must be an object.", 400);
  return meta;
}

export function notRpc(message: string): Refusal {
  return new Refusal("invalid_request", message, { status: 400, rpc: { code: -32600 } });
}

/** `status` is what the caller's revision wants: 400 for the envelope, 200 for what is inside. */
export function invalidParams(message: string, status: 200 | 400): Refusal {
  return new Refusal("invalid_request", message, { status, rpc: { code: -32602 } });
}

export function methodNotFound(status: 200 | 404): Refusal {
  return new Refusal("invalid_request", "Method not found.", { status, rpc: { code: -32601 } });
}

/** −32022 makes a client of either era try again with a revision that is on the list. */
export function versionNotSupported(requested: string): Refusal {
  const data = { supported: [MODERN_PROTOCOL], requested: requested.slice(0, 64) };
  return new Refusal("invalid_request", "Unsupported protocol version.", { status: 400, rpc: { code: -32022, data } });
}

export function resultText(id: Id, result: string): string {
  return `{"jsonrpc":"2.0","id":${JSON.stringify(id)},"result":${result}}`;
}

/** Without an id where none could be read: MCP's schema knows no null there. */
export function errorText(
  id: Id | null,
  error: { readonly code: number; readonly message: string; readonly data?: Json },
): string {
  return `{"jsonrpc":"2.0",${id === null ? "" : `"id":${JSON.stringify(id)},`}"error":${JSON.stringify(error)}}`;
}

function isId(id: Json | undefined): id is Id {
  return typeof id === "string" || (typeof id === "number" && Number.isSafeInteger(id));
}
