/**
 * As what else may a text be read? With the escapes of JSON decoded, once and once more, for JSON within text may be
 * within JSON itself; and with percent codes decoded, where a plus may be a blank, as forms write it. What surprises: the
 * text need not be JSON or a link, and nothing of it is replaced in a reading: what is found there is told as places of
 * the text itself.
 */
import type { Spans } from "./spans.ts";

export type Reading = {
  readonly text: string;
  /** Places of it, as places of what is read. */
  readonly inSource: (spans: Spans) => Spans;
};

/** How something is encoded. */
type Code = {
  /** Each code begins with it. */
  readonly sign: string;
  /** What the code here stands for, as a code point; -1 where there is none. */
  readonly read: (text: string, at: number) => number;
  /** How long that code is. */
  readonly size: (text: string, at: number, point: number) => number;
};

/** The text itself first. */
export function readingsOf(text: string): readonly Reading[] {
  const plain: Reading = { text, inSource: (spans) => spans };
  if (!ENCODED.test(text)) return [plain];
  const inner = decoded(plain, ESCAPES);
  const innermost = inner === null ? null : decoded(inner, ESCAPES);
  const link = decoded(plain, PERCENT);
  const form = text.includes("+") ? { ...plain, text: text.replaceAll("+", " ") } : null;
  const readings = [plain, inner, innermost, link, form === null ? null : (decoded(form, PERCENT) ?? form)];
  return readings.filter((reading) => reading !== null);
}

const ENCODED = /[\\%+]/;

/** Null where nothing is encoded. */
function decoded(of: Reading, code: Code): Reading | null {
  const text = decode(of.text, code);
  return text === null ? null : { text, inSource: (spans) => of.inSource(encodedPlaces(of.text, code, spans)) };
}

function decode(text: string, { sign, read, size }: Code): string | null {
  const first = text.indexOf(sign);
  if (first === -1) return null;
  const signUnit = sign.charCodeAt(0);
  const units = new Uint16Array(text.length - first);
  let count = 0;
  let isCoded = false;
  for (let at = first; at < text.length;) {
    const unit = text.charCodeAt(at);
    const point = unit === signUnit ? read(text, at) : -1;
    if (point < ASTRAL) units[count++] = point === -1 ? unit : point;
    else {
      units[count++] = 0xd800 + ((point - ASTRAL) >> 10);
      units[count++] = 0xdc00 + ((point - ASTRAL) & 0x3ff);
    }
    if (point !== -1) isCoded = true;
    at += point === -1 ? 1 : size(text, at, point);
  }
  return isCoded ? text.slice(0, first) + Buffer.from(units.buffer, 0, count * 2).toString("utf16le") : null;
}
const ASTRAL = 0x1_0000;

/** Where what stands at places of the decoded text stands in the encoded one. */
function encodedPlaces(text: string, { sign, read, size }: Code, spans: Spans): Spans {
  const places: number[] = [];
  // `ahead`: how many units more than of the decoded text
  let [at, ahead, next] = [0, 0, -1];
  for (const place of spans) {
    while (at - ahead < place) {
      if (next < at) next = text.includes(sign, at) ? text.indexOf(sign, at) : text.length;
      const point = next === at ? read(text, at) : -1;
      if (point === -1) at = Math.max(at + 1, Math.min(next, place + ahead));
      else {
        const length = size(text, at, point);
        at += length;
        ahead += length - (point < ASTRAL ? 1 : 2);
      }
    }
    places.push(at);
  }
  return places;
}

const SHORT: { readonly [letter: string]: string } = {
  ...{ '"': '"', "\\": "\\", "/": "/", b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" },
};

const ESCAPES: Code = {
  sign: "\\",
  read: (text, at) => {
    const letter = text[at + 1] ?? "";
    return letter === "u" ? hexAt(text, at + 2, 4) : (SHORT[letter]?.charCodeAt(0) ?? -1);
  },
  size: (text, at) => (text[at + 1] === "u" ? 6 : 2),
};

const PERCENT: Code = {
  sign: "%",
  read: (text, at) => {
    const lead = hexAt(text, at + 1, 2);
    if (lead < 0x80) return lead;
    const more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4) return -1;
    let point = lead & (0x3f >> more);
    for (let next = at + 3; next < at + 3 * (more + 1); next += 3) {
      const byte = text[next] === "%" ? hexAt(text, next + 1, 2) : -1;
      if (byte < 0x80 || byte > 0xbf) return -1;
      point = (point << 6) | (byte & 0x3f);
    }
    return point <= 0x10_ffff && point >= (LEAST[more] ?? 0) ? point : -1;
  },
  size: (_, __, point) => (point < LEAST[1] ? 3 : point < LEAST[2] ? 6 : point < LEAST[3] ? 9 : 12),
};
/** Code points of so many bytes more than one. */
const LEAST = [0, 0x80, 0x800, ASTRAL] as const;

/** -1 where these are no hexadecimal digits. */
function hexAt(text: string, from: number, length: number): number {
  let value = 0;
  for (let at = from; at < from + length; at++) {
    const unit = text.charCodeAt(at);
    const digit = HEX_DIGITS[unit] ?? -1;
    if (digit === -1) return -1;
    value = value * 16 + digit;
  }
  return value;
}
const HEX_DIGITS = Int8Array.from({ length: 128 }, (_, unit) =>
  /[0-9a-f]/i.test(String.fromCharCode(unit)) ? Number.parseInt(String.fromCharCode(unit), 16) : -1,
);
