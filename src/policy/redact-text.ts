/**
 * How does a hidden value stand in a text? As it is, in either normal form of Unicode, escaped as JSON or as ASCII
 * JSON, percent-encoded in a link, and in base64 of a blob or a `data:` link. A text that is JSON as a whole is
 * `redact.ts`'s to read. All of it is linear in the text.
 */
import { parseJsonText } from "../json.ts";
import type { Json } from "../model.ts";
import { joined, type Spans } from "./spans.ts";
import type { WordSearch } from "./words.ts";

export type Hidden = {
  readonly patterns: readonly RegExp[];
  /** In every form that is looked for. */
  readonly values: ReadonlySet<string>;
  readonly valuesIn: WordSearch;
};

export const MARK = "[redacted]";

export function textForms(value: string): readonly string[] {
  return [...new Set([value, value.normalize("NFC"), value.normalize("NFD")])].flatMap((form) => {
    const escaped = JSON.stringify(form).slice(1, -1);
    const ascii = escaped.replaceAll(/[\u0080-\uffff]/g, escapeUnit);
    return [form, escaped, ascii, ascii.replaceAll(/\\u[0-9a-f]{4}/g, upperCase), escaped.replaceAll("/", "\\/")];
  });
}

export function isHidden(text: string, { patterns, values }: Hidden): boolean {
  return values.has(text) || patterns.some((pattern) => text.replace(pattern, "") !== text);
}

export function hideText(text: string, hidden: Hidden): string {
  let clean = text;
  if (clean.includes("%")) clean = hidePercentEncoded(clean, hidden);
  if (clean.includes(";base64,"))
    clean = clean.replaceAll(
      DATA_LINK,
      (_, head: string, data: string) => head + hideBase64(data, (inner) => hidePlain(inner, hidden)),
    );
  return hidePlain(clean, hidden);
}

/** All of it is found before any is replaced: what is written is not read. */
function hidePlain(text: string, { patterns, valuesIn }: Hidden): string {
  const found = [...valuesIn(text)];
  for (const pattern of patterns)
    for (const match of text.matchAll(pattern)) found.push(match.index, match.index + match[0].length);
  return found.length === 0 ? text : covered(text, joined(found));
}

function covered(text: string, spans: Spans): string {
  const parts: string[] = [];
  let from = 0;
  for (let at = 0; at < spans.length; at += 2) {
    parts.push(text.slice(from, spans[at]), MARK);
    from = spans[at + 1] ?? text.length;
  }
  return parts.join("") + text.slice(from);
}

const DATA_LINK = /(;base64,)([A-Za-z0-9+/_=-]+)/g;
/** What no link holds. */
const BETWEEN_LINKS = /([\s"<>]+)/;

/** A word that says something hidden once it is decoded is given decoded. */
function hidePercentEncoded(text: string, hidden: Hidden): string {
  return text
    .split(BETWEEN_LINKS)
    .map((word) => {
      // in a query a plus is a blank
      const readings = [word, word.replaceAll("+", " ")].map(decodedLink);
      const clean = readings.map((one) => hidePlain(one, hidden));
      const [plain, form] = clean.map((one, at) => (one === readings[at] ? null : one));
      if (plain && form && plain !== form) return MARK;
      return plain ?? form ?? word;
    })
    .join("");
}

/** Each run of codes by itself: what is no UTF-8 stays as it is, and the rest is read all the same. */
function decodedLink(word: string): string {
  return word.replaceAll(/(?:%[0-9a-f]{2})+/gi, (codes) => {
    try {
      return decodeURIComponent(codes);
    } catch {
      return codes.replaceAll(/%[0-7][0-9a-f]/gi, (code) => String.fromCharCode(Number.parseInt(code.slice(1), 16)));
    }
  });
}

/** Base64 of text in which something is hidden, encoded anew; anything else as it is. */
export function hideBase64(data: string, hide: (text: string) => string): string {
  if (!BASE64.test(data)) return data;
  const bytes = Buffer.from(data, "base64");
  try {
    const text = STRICT.decode(bytes);
    const clean = hide(text);
    return clean === text ? data : Buffer.from(clean).toString("base64");
  } catch {
    return data;
  }
}

const BASE64 = /^[A-Za-z0-9+/_\s-]*=*$/;
const STRICT = new TextDecoder("utf-8", { fatal: true });

/** An object or a list; undefined where the text is none, or is nested too deep to be read. */
export function parsedText(text: string): Json | undefined {
  const start = text.trimStart()[0];
  if (start !== "{" && start !== "[" && start !== '"') return undefined;
  try {
    return parseJsonText(text, "kept");
  } catch {
    return lenient(text);
  }
}

/** With a key that stands twice, say: most readers take the last. */
function lenient(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return undefined;
  }
}

function escapeUnit(unit: string): string {
  return `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

function upperCase(escape: string): string {
  return `\\u${escape.slice(2).toUpperCase()}`;
}
