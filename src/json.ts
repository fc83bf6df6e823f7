/**
 * The one parser of JSON from outside: fatal UTF-8, bounded depth, no duplicate keys, no `__proto__`, no lone
 * surrogates. What surprises: `JSON.parse` does the parsing, being several times faster than anything written in
 * JavaScript; one scan of the text counts depth and keys, and a duplicate key shows as a count that the parsed
 * value does not reach.
 */
import { isUtf8 } from "node:buffer";
import type { Json, JsonObject } from "./model.ts";

/** ECMAScript's JSON.parse source text access, which TypeScript does not know yet. */
declare global {
  interface JSON {
    readonly rawJSON: (text: string) => object;
    readonly isRawJSON: (value: unknown) => boolean;
    parse(
      text: string,
      reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
    ): unknown;
  }
}

export const DEPTH_MAX = 64;

/** Says what is wrong with the text in constant words; never quotes it. */
export class JsonFault extends Error {
  override readonly name = "JsonFault";
}

/**
 * A number of more digits than a double holds. `refused`: what is decided on must be what is sent. `kept`: a value that
 * JSON.stringify writes as it was read, and nothing else can look into. `rounded`, as other readers do.
 */
export type LongNumbers = "refused" | "kept" | "rounded";

/** @throws JsonFault */
export function parseJson(bytes: Buffer, long: LongNumbers = "refused"): Json {
  if (!isUtf8(bytes)) throw new JsonFault("The body is not valid UTF-8.");
  return parseJsonText(bytes.toString("utf8"), long);
}

/** @throws JsonFault */
export function parseJsonText(text: string, long: LongNumbers = "refused"): Json {
  const keys = scan(text);
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch {
    throw new JsonFault("The body is not valid JSON.");
  }
  const counted = { keys: 0, large: false };
  count(value, counted);
  if (counted.keys !== keys) throw new JsonFault("An object has a duplicate key.");
  if (!counted.large || long === "rounded") return value;
  // rare, and three times as slow
  return JSON.parse(text, long === "kept" ? keepNumber : refuseNumber) as Json;
}

/** Our own text, as JSON.stringify wrote it: long numbers kept. @throws SyntaxError */
export function parseOwnJson(text: string): Json {
  return JSON.parse(text, keepNumber) as Json;
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !JSON.isRawJSON(value);
}

/** A kept number included. */
export function isScalar(value: Json): value is null | boolean | number | string {
  return typeof value !== "object" || value === null || JSON.isRawJSON(value);
}

function keepNumber(_: string, value: unknown, { source = "" }: { readonly source?: string }): unknown {
  return typeof value === "number" && !isExact(value, source) ? JSON.rawJSON(source) : value;
}

function refuseNumber(_: string, value: unknown, { source = "" }: { readonly source?: string }): unknown {
  if (typeof value === "number" && !isExact(value, source))
    throw new JsonFault("A number has more digits than can be kept: send it as a string.");
  return value;
}

/** Whether it will be written as it was read. Digits after a point are a measure, and rounded everywhere. */
export function isExact(value: number, source: string): boolean {
  return Number.isSafeInteger(value) || !Number.isInteger(value) || /[eE]/.test(source) || String(value) === source;
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
function count(value: Json, counted: { keys: number; large: boolean }): void {
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw new JsonFault("A string holds a lone surrogate.");
    return;
  }
  if (typeof value === "number") {
    // 1e999 would be re-serialised as null: what is decided on must be what is sent
    if (!Number.isFinite(value)) throw new JsonFault("A number is too large.");
    if (Number.isInteger(value) && !Number.isSafeInteger(value)) counted.large = true;
    return;
  }
  if (typeof value !== "object" || value === null) return;
  if (Array.isArray(value)) {
    for (const item of value as readonly Json[]) count(item, counted);
    return;
  }
  const object = value as JsonObject;
  for (const key of Object.keys(object)) {
    if (key === "__proto__") throw new JsonFault("The key __proto__ is not allowed.");
    if (!key.isWellFormed()) throw new JsonFault("A key holds a lone surrogate.");
    counted.keys++;
    count(object[key] as Json, counted);
  }
}
