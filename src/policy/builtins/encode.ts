/** From text to other text and back: hex, base64url without padding, and what stands behind the question mark of a URL. */
import { type Builtins, objectAt, stringAt, stringsOf, unfit } from "./operand.ts";
import { sorted } from "./order.ts";
import { bytesOf, type Entry, isArray, isNum, isSet, type Term, textOf } from "./term.ts";

export const encode: Builtins = {
  "hex.encode": (operands) => Buffer.from(bytesOf(stringAt(operands, 0))).toString("hex"),
  "hex.decode": (operands) => {
    const text = stringAt(operands, 0);
    return /^(?:[0-9a-fA-F]{2})*$/.test(text) ? textOf(Buffer.from(text, "hex")) : unfit();
  },
  "base64url.encode_no_pad": (operands) => Buffer.from(bytesOf(stringAt(operands, 0))).toString("base64url"),
  "urlquery.encode": (operands) => escape(stringAt(operands, 0)),
  "urlquery.decode": (operands) => unescape(stringAt(operands, 0)) ?? unfit(),
  "urlquery.encode_object": (operands) => {
    const { entries } = objectAt(operands, 0);
    const named = entries.map(([key, value]) => [nameOf(key), valuesOf(value)] as const);
    return named
      .toSorted(([a], [b]) => Buffer.compare(bytesOf(a), bytesOf(b)))
      .flatMap(([name, values]) => values.map((value) => `${escape(name)}=${escape(value)}`))
      .join("&");
  },
  "urlquery.decode_object": (operands) => {
    const byName = new Map<string, string[]>();
    for (const pair of stringAt(operands, 0).split("&")) {
      if (pair === "") continue;
      if (pair.includes(";")) return unfit();
      const at = pair.indexOf("=");
      const name = unescape(at === -1 ? pair : pair.slice(0, at)) ?? unfit();
      const value = unescape(at === -1 ? "" : pair.slice(at + 1)) ?? unfit();
      const values = byName.get(name);
      if (values === undefined) byName.set(name, [value]);
      else values.push(value);
    }
    return { entries: [...byName] as readonly Entry[] };
  },
};

/** As OPA writes a key that is no string. */
/** What is no text is named by its JSON, as Go writes it. */
function nameOf(key: Term): string {
  return typeof key === "string" ? key : jsonOf(key);
}

function jsonOf(term: Term): string {
  if (term === null || typeof term === "boolean") return String(term);
  if (typeof term === "string") return jsonText(term);
  if (isNum(term)) return term.number;
  if (isArray(term)) return `[${term.map(jsonOf).join(",")}]`;
  if (isSet(term)) return `[${sorted(term).map(jsonOf).join(",")}]`;
  const members = new Map(term.entries.map(([key, value]) => [nameOf(key), jsonOf(value)]));
  const named = [...members].toSorted(([a], [b]) => Buffer.compare(bytesOf(a), bytesOf(b)));
  return `{${named.map(([key, value]) => `${jsonText(key)}:${value}`).join(",")}}`;
}

/** Fit for HTML: Go thinks of that first. */
function jsonText(text: string): string {
  return JSON.stringify(text).replace(
    /[<>&\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

function valuesOf(value: Term): readonly string[] {
  if (typeof value === "string") return [value];
  return stringsOf(isSet(value) ? sorted(value) : value);
}

/** Go's QueryEscape. */
function escape(text: string): string {
  let out = "";
  for (const byte of bytesOf(text)) {
    const char = String.fromCharCode(byte);
    if (/[A-Za-z0-9\-_.~]/.test(char)) out += char;
    else out += byte === 0x20 ? "+" : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return out;
}

function unescape(text: string): string | null {
  if (/%(?![0-9a-fA-F]{2})/.test(text)) return null;
  const spaced = text.replaceAll("+", " ");
  if (!spaced.includes("%")) return spaced;
  const parts = spaced.split(/((?:%[0-9a-fA-F]{2})+)/);
  return textOf(
    Buffer.concat(
      parts.map((part, at) => (at % 2 === 0 ? bytesOf(part) : Buffer.from(part.replaceAll("%", ""), "hex"))),
    ),
  );
}
