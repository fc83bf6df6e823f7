/**
 * How does a hidden value stand in a text? In any of its readings (`readings.ts`), in either normal form of Unicode, and
 * in base64 of a blob or a `data:` link. A text that is JSON as a whole is `redact.ts`'s to read. All of it is linear in
 * the text.
 */
import { isUtf8 } from "node:buffer";
import { parseJsonText } from "../json.ts";
import type { Json } from "../model.ts";
import { placesOf } from "./patterns.ts";
import { readingsOf } from "./readings.ts";
import { joined, type Spans } from "./spans.ts";
import type { WordSearch } from "./words.ts";

export type Hidden = {
  readonly patterns: readonly RegExp[];
  /** In every form that is looked for. */
  readonly values: ReadonlySet<string>;
  readonly valuesIn: WordSearch;
};

export const MARK = "[redacted]";
const ASCII = /^[\0-\x7f]*$/;

export function textForms(value: string): readonly string[] {
  return ASCII.test(value) ? [value] : [value, value.normalize("NFC"), value.normalize("NFD")];
}

export function isHidden(text: string, { patterns, values }: Hidden): boolean {
  return values.has(text) || patterns.some((pattern) => text.search(pattern) !== -1);
}

/** In each reading of it; all is found before any is replaced, since what is written is not read. */
export function hideText(text: string, hidden: Hidden): string {
  const clean = text.includes(";base64,") ? hideInDataLinks(text, hidden) : text;
  const found: Spans[] = [];
  for (const reading of readingsOf(clean)) {
    const spans = placesIn(reading.text, hidden);
    if (spans.length > 0) found.push(reading.inSource(spans));
  }
  const [first, ...more] = found;
  return first === undefined ? clean : covered(clean, more.length === 0 ? first : joined(found.flat()));
}

function placesIn(text: string, { patterns, valuesIn }: Hidden): Spans {
  const found = [valuesIn(text)];
  for (const pattern of patterns) {
    const places = placesOf(pattern, text);
    if (places.length > 0) found.push(places);
  }
  return joined(found.length === 1 ? (found[0] ?? []) : found.flat());
}

function hideInDataLinks(text: string, hidden: Hidden): string {
  return text.replaceAll(
    DATA_LINK,
    (_, head: string, data: string) => head + hideBase64(data, (inner) => hideText(inner, hidden)),
  );
}
const DATA_LINK = /(;base64,)([A-Za-z0-9+/_=-]+)/g;

function covered(text: string, spans: Spans): string {
  const parts: string[] = [];
  let from = 0;
  for (let at = 0; at < spans.length; at += 2) {
    const start = spans[at] ?? text.length;
    parts.push(text.slice(from, isEscaped(text, start) ? start - 1 : start), MARK);
    from = spans[at + 1] ?? text.length;
  }
  return parts.join("") + text.slice(from);
}

/** Of `\nann@example.org` no backslash is left alone, which would make JSON none. */
function isEscaped(text: string, place: number): boolean {
  let from = place;
  while (text[from - 1] === "\\") from--;
  return (place - from) % 2 === 1;
}

/** Base64 of text in which something is hidden, encoded anew; anything else as it is. */
export function hideBase64(data: string, hide: (text: string) => string): string {
  const bytes = bytesOf(data);
  if (bytes === null || !isUtf8(bytes)) return data;
  const text = bytes.toString("utf8");
  const clean = hide(text);
  return clean === text ? data : Buffer.from(clean).toString("base64");
}

/** Base64 of what is no text. */
export function isBinary(data: string): boolean {
  const bytes = bytesOf(data);
  return bytes !== null && !isUtf8(bytes);
}

function bytesOf(data: string): Buffer | null {
  return NO_BASE64.test(data) ? null : Buffer.from(data, "base64");
}

const NO_BASE64 = /[^A-Za-z0-9+/_\s=-]|=[^=\s]/;

/** `isWhole`: what is said here is all that the text says; not so where a key stands twice, say. */
export type Parsed = { readonly value: Json; readonly isWhole: boolean };

/** An object, a list or a text; undefined where the text is none, or is nested too deep to be read. */
export function parsedText(text: string): Parsed | undefined {
  const start = text.trimStart()[0];
  if (start !== "{" && start !== "[" && start !== '"') return undefined;
  try {
    return { value: parseJsonText(text, "kept"), isWhole: true };
  } catch {
    return lenient(text);
  }
}

/** Of a key that stands twice most readers take the last. */
function lenient(text: string): Parsed | undefined {
  try {
    return { value: JSON.parse(text) as Json, isWhole: false };
  } catch {
    return undefined;
  }
}
