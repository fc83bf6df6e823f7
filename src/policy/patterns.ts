/**
 * Which shapes can an obligation redact by name? What surprises: each is found at a character that is rare, and looks back
 * from there for its beginning, which is its first group where it has one. So none begins again at every character of a
 * long word, and all run in linear time on any text.
 */
import type { Spans } from "./spans.ts";

const LETTER = String.raw`\p{L}\p{M}\p{N}`;
/** Quoted, or one that begins with no quotation mark. */
const LOCAL_PART = String.raw`"[^"\r\n]{1,64}"|[${LETTER}._%+-][${LETTER}._%+'’-]{0,63}`;
const LABEL = `[${LETTER}-]{1,63}`;

export const REDACTION_PATTERNS: { readonly [name: string]: RegExp } = {
  email: new RegExp(String.raw`@(?<=(${LOCAL_PART})@)${LABEL}(?:\.${LABEL}){1,8}`, "gu"),
  phone: /\+(?=(?:\d[ .-]?){6}\d)\d{1,3}[ .-]?(?:\d{2,4}[ .-]?){2,4}\d{2,4}/g,
  card: /\b\d{4}[ -]?(?:\d{4}[ -]?\d{4}[ -]?\d{1,7}|\d{6}[ -]?\d{4,5})\b/g,
  ssn: /\b\d{3}-\d{2}-\d{4}\b/g,
  iban: /\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b/g,
  ipv4: /\b(?:\d{1,3}\.){3}\d{1,3}\b/g,
  jwt: /\.(?<=\b(eyJ[\w-]{5,16384})\.)[\w-]{5,65536}\.[\w-]{0,65536}/g,
  secret:
    /\b(?:pc_[a-z0-9]{1,32}_[0-9a-f]{64}|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36,255}|sk-[A-Za-z0-9_-]{20,200})\b/g,
};

/** In the order of their ends. */
export function placesOf(pattern: RegExp, text: string): Spans {
  const found: number[] = [];
  if (text.length < LENGTH_MIN) return found;
  pattern.lastIndex = 0;
  // half as long as with matchAll, where there are many
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text))
    found.push(match.index - (match[1]?.length ?? 0), match.index + match[0].length);
  return found;
}
/** `a@b.c` */
const LENGTH_MIN = 5;
