/**
 * The one parser of JSON from outside: fatal UTF-8, bounded depth, no duplicate keys, no `__proto__`, no lone
 * surrogates. What surprises: `JSON.parse` does the parsing, being several times faster than anything written in
 * JavaScript; one scan of the text counts depth and keys, and a duplicate key shows as a count that the parsed
 * value does not reach.
 */
import { isUtf8 } from "node:buffer";
import type { Json, JsonObject } from "./model.ts";

export const DEPTH_MAX = 64;

/** Says what is wrong with the text in constant words; never quotes it. */
export class JsonFault extends Error {
  override readonly name = "JsonFault";
}

/** @throws JsonFault */
export function parseJson(bytes: Buffer): Json {
  if (!isUtf8(bytes)) throw new JsonFault("The body is not valid UTF-8.");
  return parseJsonText(bytes.toString("utf8"));
}

/** @throws JsonFault */
export function parseJsonText(text: string): Json {
  const keys = scan(text);
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch {
    throw new JsonFault("The body is not valid JSON.");
  }
  if (count(value) !== keys) throw new JsonFault("An object has a duplicate key.");
  return value;
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Counts the colons outside strings, which are the keys, and refuses too deep a text before it is parsed. */
function scan(text: string): number {
  let depth = 0;
  let keys = 0;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit === 0x22) at = endOfString(text, at + 1);
    else if (unit === 0x3a) keys++;
    else if (unit === 0x7b || unit === 0x5b) {
      if (++depth > DEPTH_MAX) throw new JsonFault(`The body is nested more than ${DEPTH_MAX} deep.`);
    } else if (unit === 0x7d || unit === 0x5d) depth--;
  }
  return keys;
}

function endOfString(text: string, from: number): number {
  for (let at = text.indexOf('"', from); at !== -1; at = text.indexOf('"', at + 1)) {
    let slashes = 0;
    while (text.charCodeAt(at - 1 - slashes) === 0x5c) slashes++;
    if (slashes % 2 === 0) return at;
  }
  return text.length;
}

/** Keys of the parsed value; on the way refuses names and strings that no room below could handle safely. */
function count(value: Json): number {
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw new JsonFault("A string holds a lone surrogate.");
    return 0;
  }
  if (typeof value === "number") {
    // 1e999 would be re-serialised as null: what is decided on must be what is sent
    if (!Number.isFinite(value)) throw new JsonFault("A number is too large.");
    return 0;
  }
  if (typeof value !== "object" || value === null) return 0;
  let keys = 0;
  if (Array.isArray(value)) {
    for (const item of value as readonly Json[]) keys += count(item);
    return keys;
  }
  const object = value as JsonObject;
  for (const key of Object.keys(object)) {
    if (key === "__proto__") throw new JsonFault("The key __proto__ is not allowed.");
    if (!key.isWellFormed()) throw new JsonFault("A key holds a lone surrogate.");
    keys += 1 + count(object[key] as Json);
  }
  return keys;
}
