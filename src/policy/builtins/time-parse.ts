/** Which moment does a text name, read by a layout of Go's? Null where it names none. */
import { type Civil, clockSeconds, daysIn, NS } from "./civil.ts";
import { type Field, MONTHS, type Piece, readLayout, WEEKDAYS } from "./layout.ts";

type Found = {
  year: number;
  month: number | null;
  day: number | null;
  yearDay: number | null;
  hour: number;
  minute: number;
  second: number;
  nanos: number;
  half: "am" | "pm" | null;
  /** Seconds; null while nothing was said. */
  offset: number | null;
};
type Text = { rest: string };

/** In nanoseconds since 1970. */
export function parseTime(layout: string, value: string): bigint | null {
  const { pieces, rest } = readLayout(layout);
  const text: Text = { rest: value };
  const found: Found = {
    year: 0,
    month: null,
    day: null,
    yearDay: null,
    hour: 0,
    minute: 0,
    second: 0,
    nanos: 0,
    half: null,
    offset: null,
  };
  for (const [at, piece] of pieces.entries()) {
    if (!skip(text, piece.before) || !readField(text, found, piece)) return null;
    if (piece.field === "second" || piece.field === "zeroSecond") readUnasked(text, found, pieces[at + 1]);
  }
  return skip(text, rest) && text.rest === "" ? momentOf(found) : null;
}

/** RFC 3339: what the layout would also take, a comma or one digit of the hour, included. */
export function parseRfc3339(value: string): bigint | null {
  return parseTime("2006-01-02T15:04:05Z07:00", value);
}

/** A blank of the layout is any number of them in the text, none at its end included. */
function skip(text: Text, before: string): boolean {
  for (let prefix = before; prefix !== "";) {
    if (prefix.startsWith(" ")) {
      if (text.rest !== "" && !text.rest.startsWith(" ")) return false;
      prefix = prefix.replace(/^ +/, "");
      text.rest = text.rest.replace(/^ +/, "");
      continue;
    }
    if (text.rest[0] !== prefix[0]) return false;
    prefix = prefix.slice(1);
    text.rest = text.rest.slice(1);
  }
  return true;
}

type Reader = (text: Text, found: Found) => boolean;

function readField(text: Text, found: Found, { field, text: asked }: Piece): boolean {
  const read = READERS[field];
  if (read !== undefined) return read(text, found);
  if (field === "fraction0") return readFraction(text, found, new RegExp(`^[.,]\\d{${asked.length - 1}}`));
  if (field === "fraction9") return readFraction(text, found, /^[.,]\d+/) || true;
  return readOffset(text, found, asked, field);
}

const READERS: { readonly [field in Field]?: Reader } = {
  shortYear: (text, found) => {
    const year = match(text, /^[+-]?\d+/, 2);
    if (year !== null) found.year = Number(year) + (Number(year) >= 69 ? 1900 : 2000);
    return year !== null;
  },
  year: (text, found) => number(text, /^\d{4}/, (year) => ((found.year = year), true)),
  longMonth: (text, found) => name(text, MONTHS, (month) => (found.month = month + 1)),
  month: (text, found) => name(text, short(MONTHS), (month) => (found.month = month + 1)),
  numMonth: (text, found) => number(text, /^\d\d?/, (month) => ((found.month = month), month > 0 && month <= 12)),
  zeroMonth: (text, found) => number(text, /^\d\d/, (month) => ((found.month = month), month > 0 && month <= 12)),
  longWeekday: (text) => name(text, WEEKDAYS, () => {}),
  weekday: (text) => name(text, short(WEEKDAYS), () => {}),
  day: (text, found) => number(text, /^\d\d?/, (day) => ((found.day = day), true)),
  underDay: (text, found) => number(text, /^ ?\d\d?/, (day) => ((found.day = day), true)),
  zeroDay: (text, found) => number(text, /^\d\d/, (day) => ((found.day = day), true)),
  underYearDay: (text, found) => number(text, /^ {0,2}\d{1,3}/, (day) => ((found.yearDay = day), true)),
  zeroYearDay: (text, found) => number(text, /^\d{3}/, (day) => ((found.yearDay = day), true)),
  hour: (text, found) => number(text, /^\d\d?/, (hour) => ((found.hour = hour), hour < 24)),
  hour12: (text, found) => number(text, /^\d\d?/, (hour) => ((found.hour = hour), hour <= 12)),
  zeroHour12: (text, found) => number(text, /^\d\d/, (hour) => ((found.hour = hour), hour <= 12)),
  minute: (text, found) => number(text, /^\d\d?/, (minute) => ((found.minute = minute), minute < 60)),
  zeroMinute: (text, found) => number(text, /^\d\d/, (minute) => ((found.minute = minute), minute < 60)),
  second: (text, found) => number(text, /^\d\d?/, (second) => ((found.second = second), second < 60)),
  zeroSecond: (text, found) => number(text, /^\d\d/, (second) => ((found.second = second), second < 60)),
  PM: (text, found) => half(match(text, /^[AP]M/), found),
  pm: (text, found) => half(match(text, /^[ap]m/), found),
  zone: (text, found) => {
    if (match(text, /^UTC/) !== null) return ((found.offset = 0), true);
    return match(text, ZONE) !== null;
  },
};

/** What looks like an abbreviation. Go does not know its offset, nor that of GMT+3, and takes it for none. */
const ZONE =
  /^(?:ChST|MeST|GMT(?:[+-](?:[01]?\d|2[0-3])(?!\d))?|[+-](?:0*(?:1?\d|2[0-3]))(?!\d)|[A-Z]{4}T(?![A-Z])|(?:[A-Z]{3}T|WITA)(?![A-Z])|[A-Z]{3}(?![A-Z]))/;

function match(text: Text, pattern: RegExp, length?: number): string | null {
  const found = pattern.exec(length === undefined ? text.rest : text.rest.slice(0, length))?.[0];
  if (found === undefined || (length !== undefined && found.length !== length)) return null;
  text.rest = text.rest.slice(found.length);
  return found;
}

function number(text: Text, pattern: RegExp, take: (value: number) => boolean): boolean {
  const digits = match(text, pattern);
  return digits !== null && take(Number(digits));
}

function name(text: Text, names: readonly string[], take: (at: number) => void): boolean {
  const at = names.findIndex((one) => text.rest.slice(0, one.length).toLowerCase() === one.toLowerCase());
  if (at === -1) return false;
  take(at);
  text.rest = text.rest.slice((names[at] as string).length);
  return true;
}

function short(names: readonly string[]): readonly string[] {
  return names.map((one) => one.slice(0, 3));
}

function half(text: string | null, found: Found): boolean {
  if (text !== null) found.half = text.toLowerCase() as "am" | "pm";
  return text !== null;
}

function readFraction(text: Text, found: Found, pattern: RegExp): boolean {
  const digits = match(text, pattern);
  if (digits !== null) found.nanos = Number(digits.slice(1, 10).padEnd(9, "0"));
  return digits !== null;
}

/** A fraction after the second that the layout does not ask for. */
function readUnasked(text: Text, found: Found, next: Piece | undefined): void {
  if (next?.field !== "fraction0" && next?.field !== "fraction9") readFraction(text, found, /^[.,]\d+/);
}

function readOffset(text: Text, found: Found, asked: string, field: Field): boolean {
  if (field.startsWith("iso") && match(text, /^Z/) !== null) return ((found.offset = 0), true);
  const pattern = asked.slice(1).replaceAll(/\d\d/g, "(\\d\\d)");
  const parts = new RegExp(`^([+-])${pattern}`).exec(text.rest);
  if (parts === null) return false;
  text.rest = text.rest.slice(parts[0].length);
  const [, sign, hours = "0", minutes = "0", seconds = "0"] = parts;
  if (Number(hours) > 24 || Number(minutes) > 60 || Number(seconds) > 60) return false;
  const offset = Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds);
  found.offset = sign === "-" ? -offset : offset;
  return true;
}

function momentOf(found: Found): bigint | null {
  const date = dateOf(found);
  if (date === null || date.day < 1 || date.day > daysIn(found.year, date.month)) return null;
  const { hour, half: ofDay } = found;
  const civil: Civil = {
    year: found.year,
    ...date,
    hour: ofDay === "pm" && hour < 12 ? hour + 12 : ofDay === "am" && hour === 12 ? 0 : hour,
    minute: found.minute,
    second: found.second,
  };
  return BigInt(clockSeconds(civil) - (found.offset ?? 0)) * NS + BigInt(found.nanos);
}

function dateOf({ year, month, day, yearDay }: Found): { readonly month: number; readonly day: number } | null {
  if (yearDay === null) return { month: month ?? 1, day: day ?? 1 };
  let rest = yearDay;
  let at = 1;
  for (; at < 12 && rest > daysIn(year, at); at++) rest -= daysIn(year, at);
  if (rest < 1 || rest > daysIn(year, at)) return null;
  return (month !== null && month !== at) || (day !== null && day !== rest) ? null : { month: at, day: rest };
}
