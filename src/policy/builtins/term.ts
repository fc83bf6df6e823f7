/**
 * What does a built-in work on? Rego terms, read from and written as the text that OPA's own module dumps and parses:
 * JSON with sets, and with keys that are no strings. What surprises: a number is its text, so that none is rounded;
 * and a string may hold bytes that are no UTF-8 (hex.decode makes them), each of which is kept as one of the
 * surrogates U+DC80 to U+DCFF: no input can hold those, and no digest is taken of a replacement character.
 */
export type Num = { readonly number: string };
export type TermSet = { readonly set: readonly Term[] };
export type Entry = readonly [key: Term, value: Term];
export type TermObject = { readonly entries: readonly Entry[] };
export type Term = null | boolean | string | Num | readonly Term[] | TermSet | TermObject;

export function num(value: number | bigint | string): Num {
  return { number: String(value) };
}

export function isNum(term: Term): term is Num {
  return typeof term === "object" && term !== null && "number" in term;
}

export function isArray(term: Term): term is readonly Term[] {
  return Array.isArray(term);
}

export function isSet(term: Term): term is TermSet {
  return typeof term === "object" && term !== null && "set" in term;
}

export function isObject(term: Term): term is TermObject {
  return typeof term === "object" && term !== null && "entries" in term && !Array.isArray(term);
}

type Cursor = { readonly text: string; at: number };
const BLANK = /\s*/y;
const SCALAR = /true|false|null|-?[0-9.][0-9.eE+-]*/y;
const QUOTED = /"(?:[^"\\]|\\.)*"/y;

/** @throws Error if the text is no term: the module that wrote it is broken */
export function parseTerm(text: string): Term {
  const cursor = { text, at: 0 };
  const term = read(cursor);
  if (cursor.at !== text.length) throw new Error("a term is followed by something else");
  return term;
}

function read(cursor: Cursor): Term {
  const { text } = cursor;
  const first = text[cursor.at];
  if (first === '"') return JSON.parse(take(cursor, QUOTED)) as string;
  if (first === "[") return readItems(cursor, "]");
  if (first === "{") return readBraces(cursor);
  if (text.startsWith("set()", cursor.at)) {
    cursor.at += 5;
    return { set: [] };
  }
  const scalar = take(cursor, SCALAR);
  if (scalar === "null") return null;
  return scalar === "true" || scalar === "false" ? scalar === "true" : { number: scalar };
}

function take(cursor: Cursor, pattern: RegExp): string {
  pattern.lastIndex = cursor.at;
  const found = pattern.exec(cursor.text)?.[0];
  if (found === undefined) throw new Error("a term is malformed");
  cursor.at += found.length;
  return found;
}

function next(cursor: Cursor): string | undefined {
  take(cursor, BLANK);
  return cursor.text[cursor.at];
}

function readItems(cursor: Cursor, end: string): Term[] {
  const items: Term[] = [];
  cursor.at++;
  while (next(cursor) !== end) {
    items.push(read(cursor));
    if (next(cursor) === ",") cursor.at++;
  }
  cursor.at++;
  return items;
}

function readBraces(cursor: Cursor): Term {
  const start = cursor.at;
  cursor.at++;
  if (next(cursor) === "}") {
    cursor.at++;
    return { entries: [] };
  }
  const first = read(cursor);
  if (next(cursor) !== ":") {
    cursor.at = start;
    return { set: readItems(cursor, "}") };
  }
  const entries: Entry[] = [];
  for (let key = first; ; key = read(cursor)) {
    cursor.at++;
    next(cursor);
    entries.push([key, read(cursor)]);
    const after = next(cursor);
    cursor.at++;
    if (after === "}") return { entries };
    next(cursor);
  }
}

/** As `parseTerm` reads it. */
export function printTerm(term: Term): string {
  if (term === null || typeof term === "boolean") return String(term);
  if (typeof term === "string") return quote(term);
  if (isNum(term)) return term.number;
  if (isArray(term)) return `[${term.map(printTerm).join(",")}]`;
  if (isSet(term)) return term.set.length === 0 ? "set()" : `{${term.set.map(printTerm).join(",")}}`;
  return `{${term.entries.map(([key, value]) => `${printTerm(key)}:${printTerm(value)}`).join(",")}}`;
}

/** JSON.stringify would escape what stands for a byte. */
function quote(text: string): string {
  if (text.isWellFormed()) return JSON.stringify(text);
  return `"${text.replaceAll(/["\\\p{Cc}]/gu, (one) => JSON.stringify(one).slice(1, -1))}"`;
}

/** Not UTF-16 units. */
export function charactersOf(text: string): readonly string[] {
  return Array.from(text);
}

const encoder = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const BYTE = 0xdc00;

/** The bytes that a string of Rego stands for. */
export function bytesOf(text: string): Uint8Array {
  if (text.isWellFormed()) return encoder.encode(text);
  const parts = text.split(/([\udc80-\udcff])/).map((part) => {
    const code = part.charCodeAt(0);
    return part.length === 1 && code >= BYTE + 0x80 && code <= BYTE + 0xff
      ? Uint8Array.of(code - BYTE)
      : encoder.encode(part);
  });
  return Buffer.concat(parts);
}

/** The string that bytes stand for; each that is no UTF-8 as a surrogate of its own. */
export function textOf(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    return textOfBroken(bytes);
  }
}

function textOfBroken(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const size = [1, 2, 3, 4].find((length) => at + length <= bytes.length && isUtf8(bytes, at, length)) ?? 0;
    text +=
      size === 0 ? String.fromCharCode(BYTE + (bytes[at] as number)) : strict.decode(bytes.subarray(at, at + size));
    at += Math.max(size, 1);
  }
  return text;
}

function isUtf8(bytes: Uint8Array, at: number, length: number): boolean {
  try {
    return charactersOf(strict.decode(bytes.subarray(at, at + length))).length === 1;
  } catch {
    return false;
  }
}
