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
  cursor.at++;
  return readRest(cursor, end);
}

function readRest(cursor: Cursor, end: string): Term[] {
  const items: Term[] = [];
  while (next(cursor) !== end) {
    if (cursor.text[cursor.at] === ",") {
      cursor.at++;
      next(cursor);
    }
    items.push(read(cursor));
  }
  cursor.at++;
  return items;
}

function readBraces(cursor: Cursor): Term {
  cursor.at++;
  if (next(cursor) === "}") {
    cursor.at++;
    return { entries: [] };
  }
  const first = read(cursor);
  // read once: sets in sets would be read again for each that they are in
  if (next(cursor) !== ":") return { set: [first, ...readRest(cursor, "}")] };
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

/** As `parseTerm` reads it. `spend` is told of each part's length, and may end it: a term may hold another many times. */
export function printTerm(term: Term, spend: (characters: number) => void = () => {}): string {
  const print = (some: Term): string => printTerm(some, spend);
  if (isArray(term)) return `[${term.map(print).join(",")}]`;
  if (isSet(term)) return term.set.length === 0 ? "set()" : `{${term.set.map(print).join(",")}}`;
  if (isObject(term)) return `{${term.entries.map(([key, value]) => `${print(key)}:${print(value)}`).join(",")}}`;
  const text = typeof term === "string" ? quote(term) : isNum(term) ? term.number : String(term);
  spend(text.length + 1);
  return text;
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
  let from = 0;
  for (let at = 0; at < bytes.length;) {
    const size = characterAt(bytes, at);
    at += Math.max(size, 1);
    if (size > 0) continue;
    text += strict.decode(bytes.subarray(from, at - 1)) + String.fromCharCode(BYTE + (bytes[at - 1] as number));
    from = at;
  }
  return text + strict.decode(bytes.subarray(from));
}

/** First bytes of characters of two, three and four; what may follow the first of each kind is narrower at its ends. */
const SECOND: { readonly [first: number]: readonly [least: number, most: number] } = {
  0xe0: [0xa0, 0xbf],
  0xed: [0x80, 0x9f],
  0xf0: [0x90, 0xbf],
  0xf4: [0x80, 0x8f],
};

/** How many bytes the character has that begins here; 0 where none does. */
function characterAt(bytes: Uint8Array, at: number): number {
  const first = bytes[at] as number;
  if (first < 0x80) return 1;
  const size = first < 0xc2 || first > 0xf4 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  const [least, most] = SECOND[first] ?? [0x80, 0xbf];
  for (let next = 1; next < size; next++) {
    const byte = bytes[at + next] ?? 0;
    if (next === 1 ? byte < least || byte > most : byte < 0x80 || byte > 0xbf) return 0;
  }
  return size;
}
