/**
 * How much work can this regular expression make? V8 backtracks, so that a hostile `pattern` costs a caller's string of
 * 30 characters minutes. What surprises: nothing is searched for by name ("nested quantifiers"); the ways through the
 * pattern are counted, as a polynomial in the string's length, and what cannot be counted is not trusted.
 */

export type PatternWork = {
  /** The work is at most `factor × (length + 1) ^ degree` steps for a string of that length. */
  readonly factor: number;
  readonly degree: number;
};

/** Null where the work may be exponential or the pattern has what is not understood here: it needs a deadline. */
export function patternWork(pattern: string): PatternWork | null {
  if (pattern.length > PATTERN_LENGTH_MAX) return null;
  const cursor: Cursor = { pattern, at: 0 };
  const ways = alternatives(cursor);
  if (ways === null || cursor.at !== pattern.length) return null;
  // a pattern that may begin anywhere is tried from every position
  const degree = ways.anchored ? ways.degree : ways.degree + 1;
  return degree > DEGREE_MAX ? null : { factor: ways.choices * Math.max(ways.length, 1), degree };
}

type Cursor = { readonly pattern: string; at: number };
/** Through one part: `choices × n ^ degree` ways, each past `length` fixed positions. */
type Ways = { readonly choices: number; readonly degree: number; readonly length: number; readonly anchored: boolean };

function alternatives(cursor: Cursor): Ways | null {
  let all = sequence(cursor);
  while (all !== null && cursor.pattern[cursor.at] === "|") {
    cursor.at++;
    const other = sequence(cursor);
    if (other === null) return null;
    all = {
      choices: all.choices + other.choices,
      degree: Math.max(all.degree, other.degree),
      length: all.length + other.length,
      anchored: all.anchored && other.anchored,
    };
  }
  return all;
}

function sequence(cursor: Cursor): Ways | null {
  let all: Ways = { choices: 1, degree: 0, length: 0, anchored: false };
  for (
    let first = true;
    cursor.at < cursor.pattern.length && !"|)".includes(cursor.pattern[cursor.at] ?? "");
    first = false
  ) {
    const part = repeated(cursor);
    if (part === null) return null;
    all = {
      choices: all.choices * part.choices,
      degree: all.degree + part.degree,
      length: all.length + part.length,
      anchored: first ? part.anchored : all.anchored,
    };
    if (all.choices > CHOICES_MAX || all.length > CHOICES_MAX || all.degree > DEGREE_MAX) return null;
  }
  return all;
}

function repeated(cursor: Cursor): Ways | null {
  const once = atom(cursor);
  const quantifier =
    once === null ? null : /^(?:[*+?]|\{(\d{1,6})(,?)(\d{0,6})\})\??/.exec(cursor.pattern.slice(cursor.at));
  if (once === null || quantifier === null) return once;
  cursor.at += quantifier[0].length;
  const [min, max] = bounds(quantifier);
  // what has several ways through it, taken any number of times, has exponentially many
  if (max === Number.POSITIVE_INFINITY) {
    if (once.choices > 1 || once.degree > 0) return null;
    return { choices: 1, degree: 1, length: once.length * Math.max(min, 1), anchored: once.anchored && min > 0 };
  }
  if (max < min) return null;
  return {
    choices: Math.min(once.choices ** max * (max - min + 1), CHOICES_MAX + 1),
    degree: once.degree * max,
    length: once.length * Math.max(max, 1),
    anchored: once.anchored && min > 0,
  };
}

function bounds([text, min, comma, max]: RegExpExecArray): readonly [min: number, max: number] {
  if (text.startsWith("*")) return [0, Number.POSITIVE_INFINITY];
  if (text.startsWith("+")) return [1, Number.POSITIVE_INFINITY];
  if (text.startsWith("?")) return [0, 1];
  if (max !== undefined && max !== "") return [Number(min), Number(max)];
  return [Number(min), comma === "," ? Number.POSITIVE_INFINITY : Number(min)];
}

const ONE: Ways = { choices: 1, degree: 0, length: 1, anchored: false };

function atom(cursor: Cursor): Ways | null {
  const { pattern, at } = cursor;
  const unit = pattern[at] ?? "";
  // a quantifier with nothing before it: not a pattern, or one that this reads wrongly
  if ("*+?{}])".includes(unit)) return null;
  if (unit === "(") return group(cursor);
  if (unit === "[") return stepped(cursor, /^\[\^?(?:\\[^]|[^\]\\])*\]/);
  if (unit === "\\") return stepped(cursor, ESCAPE);
  cursor.at += 1;
  return unit === "^" ? { ...ONE, anchored: true } : ONE;
}

/** Character escapes and classes, not back references (`\1`, `\k`). */
const ESCAPE =
  /^\\(?:[dDwWsSbBfnrtv0]|c[A-Za-z]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|u\{[0-9a-fA-F]+\}|[pP]\{[\w=]+\}|[^\w\s])/;

function stepped(cursor: Cursor, form: RegExp): Ways | null {
  const found = form.exec(cursor.pattern.slice(cursor.at));
  if (found === null) return null;
  cursor.at += found[0].length;
  return ONE;
}

/** `(…)`, `(?:…)` and `(?<name>…)`; look-around and flags are not counted. */
function group(cursor: Cursor): Ways | null {
  const opening = /^\((?:\?:|\?<\w+>|(?!\?))/.exec(cursor.pattern.slice(cursor.at));
  if (opening === null) return null;
  cursor.at += opening[0].length;
  const inside = alternatives(cursor);
  if (inside === null || cursor.pattern[cursor.at] !== ")") return null;
  cursor.at += 1;
  return inside;
}

const PATTERN_LENGTH_MAX = 512;
const CHOICES_MAX = 100_000;
const DEGREE_MAX = 4;
