/**
 * Do the headers say what the body says? MCP 2026-07-28 mirrors method, name and annotated arguments into headers so
 * that balancers can read them; a caller who makes the two differ wants one thing seen and another done. The gateway
 * itself reads the body only. Values may come as `=?base64?…?=`.
 */
import { isUtf8 } from "node:buffer";
import { isObject } from "../../json.ts";
import type { Json, JsonObject, Tool } from "../../model.ts";
import { Refusal } from "../../refusal.ts";
import { headerParameters } from "../../upstream/header-parameters.ts";
import type { Headers } from "../exchange.ts";

const NAMED_BY: { readonly [method: string]: string | undefined } = {
  "tools/call": "name",
  "prompts/get": "name",
  "resources/read": "uri",
};
const PREFIX = "=?base64?";
const SUFFIX = "?=";

/** @throws Refusal invalid_request with −32020 */
export function checkMirror(headers: Headers, method: string, params: JsonObject): void {
  if (headers["mcp-method"] !== method) throw mismatch("Mcp-Method");
  const field = Object.hasOwn(NAMED_BY, method) ? NAMED_BY[method] : undefined;
  const name = field === undefined ? undefined : params[field];
  if (typeof name === "string" && decode(headers["mcp-name"]) !== name) throw mismatch("Mcp-Name");
}

/** Whether a header `Mcp-Param-*` that this tool's schema declares is missing, too many or different. */
export function paramsDiffer(tool: Tool, headers: Headers, args: JsonObject): boolean {
  // callers must drop a tool whose annotations break the rules: none of them can be held to them
  return (headerParameters(tool.definition) ?? []).some(({ path, name }) => {
    const value = valueAt(args, path);
    const given = headers[name];
    if (value === undefined || value === null) return given !== undefined;
    // neither can be mirrored: the argument check refuses it by its schema
    if (typeof value === "object") return false;
    const decoded = decode(given);
    if (decoded === null) return true;
    if (typeof value === "number" && /^-?\d+(\.\d+)?$/.test(decoded)) return Number(decoded) !== value;
    return decoded !== String(value);
  });
}

export function mismatch(header: string): Refusal {
  const message = `The header ${header} is missing or differs from the body.`;
  return new Refusal("invalid_request", message, { status: 400, rpc: { code: -32020 } });
}

/** Null where the header is absent, holds what no header may hold, or says base64 and is none. */
function decode(value: string | undefined): string | null {
  if (value === undefined || !/^[\t\x20-\x7e]*$/.test(value)) return null;
  const isEncoded = value.startsWith(PREFIX) && value.endsWith(SUFFIX) && value.length >= PREFIX.length + SUFFIX.length;
  if (!isEncoded) return value;
  const base64 = value.slice(PREFIX.length, -SUFFIX.length);
  const bytes = Buffer.from(base64, "base64");
  // node decodes what is not base64 as far as it goes: the round trip shows it
  return bytes.toString("base64") === base64 && isUtf8(bytes) ? bytes.toString("utf8") : null;
}

function valueAt(args: JsonObject, path: readonly string[]): Json | undefined {
  let value: Json | undefined = args;
  for (const key of path) value = isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
  return value;
}
