/** What does a layout of Go's time package ask for? `Mon Jan 2 15:04:05 MST 2006`, cut into fields and what stands between. */
export type Piece = { readonly before: string; readonly field: Field; readonly text: string };
export type Layout = { readonly pieces: readonly Piece[]; readonly rest: string };
export type Field = (typeof FIELDS)[number][1] | "fraction0" | "fraction9";

/** The longest first where one begins another. */
const FIELDS = [
  ["January", "longMonth"],
  ["Jan", "month"],
  ["Monday", "longWeekday"],
  ["Mon", "weekday"],
  ["MST", "zone"],
  ["002", "zeroYearDay"],
  ["01", "zeroMonth"],
  ["02", "zeroDay"],
  ["03", "zeroHour12"],
  ["04", "zeroMinute"],
  ["05", "zeroSecond"],
  ["06", "shortYear"],
  ["15", "hour"],
  ["1", "numMonth"],
  ["2006", "year"],
  ["2", "day"],
  ["__2", "underYearDay"],
  ["_2", "underDay"],
  ["3", "hour12"],
  ["4", "minute"],
  ["5", "second"],
  ["PM", "PM"],
  ["pm", "pm"],
  ["-070000", "numSeconds"],
  ["-07:00:00", "numColonSeconds"],
  ["-0700", "num"],
  ["-07:00", "numColon"],
  ["-07", "numShort"],
  ["Z070000", "isoSeconds"],
  ["Z07:00:00", "isoColonSeconds"],
  ["Z0700", "iso"],
  ["Z07:00", "isoColon"],
  ["Z07", "isoShort"],
] as const;

const FRACTION = /[.,](0+|9+)(?!\d)/y;

export function readLayout(layout: string): Layout {
  const pieces: Piece[] = [];
  let from = 0;
  for (let at = 0; at < layout.length;) {
    const found = fieldAt(layout, at);
    if (found === null) {
      at++;
      continue;
    }
    pieces.push({ before: layout.slice(from, at), ...found });
    at += found.text.length;
    from = at;
  }
  return { pieces, rest: layout.slice(from) };
}

function fieldAt(layout: string, at: number): Omit<Piece, "before"> | null {
  // an underscore before the year is just an underscore
  if (layout.startsWith("_2006", at)) return null;
  const known = FIELDS.find(([text]) => layout.startsWith(text, at));
  if (known !== undefined) {
    const [text, field] = known;
    const isWord = (text === "Jan" || text === "Mon") && /^[a-z]/.test(layout.slice(at + 3));
    return isWord ? null : { field, text };
  }
  FRACTION.lastIndex = at;
  const digits = FRACTION.exec(layout)?.[1];
  if (digits === undefined) return null;
  return { field: digits.startsWith("0") ? "fraction0" : "fraction9", text: layout.slice(at, at + 1 + digits.length) };
}

export const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
] as const;
export const WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"] as const;

const NAMED: { readonly [name: string]: string } = {
  ANSIC: "Mon Jan _2 15:04:05 2006",
  UnixDate: "Mon Jan _2 15:04:05 MST 2006",
  RubyDate: "Mon Jan 02 15:04:05 -0700 2006",
  RFC822: "02 Jan 06 15:04 MST",
  RFC822Z: "02 Jan 06 15:04 -0700",
  RFC850: "Monday, 02-Jan-06 15:04:05 MST",
  RFC1123: "Mon, 02 Jan 2006 15:04:05 MST",
  RFC1123Z: "Mon, 02 Jan 2006 15:04:05 -0700",
  RFC3339: "2006-01-02T15:04:05Z07:00",
  RFC3339Nano: "2006-01-02T15:04:05.999999999Z07:00",
};

/** The layout of one of Go's names, or the layout itself. */
export function layoutOf(name: string): string {
  return Object.hasOwn(NAMED, name) ? (NAMED[name] as string) : name;
}
