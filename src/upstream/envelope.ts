/**
 * What goes around a request's own parameters: `_meta` and the HTTP headers that repeat parts of the body. What
 * surprises: the caller's `_meta` passes with all that we do not know, but what belongs to this hop (envelope, progress
 * token, trace) is always ours, and `baggage` ends here, for it carries one company's notes across a border of trust.
 */
import { isObject } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";
import { PRODUCT } from "../version.ts";
import { MODERN } from "./connection.ts";
import type { Exchange, Greeting } from "./connection.ts";
import { headerParameters } from "./header-parameters.ts";

const RESERVED: ReadonlySet<string> = new Set([
  "io.modelcontextprotocol/protocolVersion",
  "io.modelcontextprotocol/clientInfo",
  "io.modelcontextprotocol/clientCapabilities",
  "io.modelcontextprotocol/logLevel",
  "io.modelcontextprotocol/subscriptionId",
  "progressToken",
  "traceparent",
  "tracestate",
  "baggage",
]);

/** What every modern request carries. No client capabilities: what nobody declared, no server may ask for. */
const ENVELOPE: JsonObject = {
  "io.modelcontextprotocol/protocolVersion": MODERN,
  "io.modelcontextprotocol/clientInfo": PRODUCT,
  "io.modelcontextprotocol/clientCapabilities": {},
};

/** The parameters as they are sent, with `_meta`; the envelope is the modern era's alone. */
export function paramsOf(exchange: Exchange, modern: boolean, progressToken: number): JsonObject {
  const meta: { [key: string]: Json } = modern ? { ...ENVELOPE } : {};
  if (exchange.meta !== null) {
    for (const key of Object.keys(exchange.meta)) {
      if (RESERVED.has(key) || key.startsWith("portcullis/")) continue;
      meta[key] = exchange.meta[key] as Json;
    }
  }
  if (exchange.traceparent !== null) meta["traceparent"] = exchange.traceparent;
  if (exchange.tracestate !== null) meta["tracestate"] = exchange.tracestate;
  if (exchange.onProgress !== null) meta["progressToken"] = progressToken;
  if (exchange.idempotencyKey !== null) meta["portcullis/idempotencyKey"] = exchange.idempotencyKey;
  // MCP has no word for a deadline; what is left needs no clock that two machines share
  if (exchange.timeLeftMs !== null) meta["portcullis/timeLeftMs"] = exchange.timeLeftMs;
  for (const _ in meta) return { ...exchange.params, _meta: meta };
  return exchange.params;
}

/** Headers of one request, flat; `base` are those that never change. */
export function headersOf(
  base: readonly string[],
  exchange: Exchange,
  greeting: Greeting,
  session: string | null,
): string[] {
  const headers = [...base, "mcp-protocol-version", greeting.protocol];
  if (session !== null) headers.push("mcp-session-id", session);
  if (exchange.traceparent !== null) headers.push("traceparent", exchange.traceparent);
  if (exchange.tracestate !== null) headers.push("tracestate", exchange.tracestate);
  if (greeting.era === "legacy") return headers;
  headers.push("mcp-method", exchange.method);
  if (exchange.tool === null) return headers;
  headers.push("mcp-name", encodeHeader(exchange.tool.upstreamName));
  const args = exchange.params["arguments"];
  for (const { name, path } of headerParameters(exchange.tool.definition) ?? []) {
    const value = scalarAt(args, path);
    if (value !== null) headers.push(name, encodeHeader(value));
  }
  return headers;
}

/** Plain where a header can carry the text as it is; otherwise base64 within the sentinel of the specification. */
export function encodeHeader(text: string): string {
  const plain = /^[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?$/.test(text) && !/^=\?base64\?.*\?=$/.test(text);
  return plain ? text : `=?base64?${Buffer.from(text, "utf8").toString("base64")}?=`;
}

function scalarAt(args: Json | undefined, path: readonly string[]): string | null {
  let value: Json | undefined = args;
  for (const key of path) value = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  if (typeof value === "string") return value;
  if (typeof value === "boolean" || (typeof value === "number" && Number.isSafeInteger(value))) return String(value);
  return null;
}
