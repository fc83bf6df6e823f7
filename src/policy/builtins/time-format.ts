/** How is a moment written in a layout of Go's? */
import { type Civil, civilOf, type Moment, nanosOf, secondsOf, weekdayOf, yearDayOf } from "./civil.ts";
import { type Field, MONTHS, readLayout, WEEKDAYS } from "./layout.ts";
import { unfit } from "./operand.ts";

export function formatTime(moment: Moment, layout: string): string {
  const civil = civilOf(moment);
  const { pieces, rest } = readLayout(layout);
  return pieces.map(({ before, field, text }) => before + fieldOf(moment, civil, { field, text })).join("") + rest;
}

type Asked = { readonly field: Field; readonly text: string };

function fieldOf(moment: Moment, civil: Civil, asked: Asked): string {
  const write = WRITERS[asked.field];
  return write === undefined ? ofMoment(moment, asked) : write(civil);
}

const WRITERS: { readonly [field: string]: (civil: Civil) => string } = {
  longMonth: ({ month }) => MONTHS[month - 1] as string,
  month: ({ month }) => (MONTHS[month - 1] as string).slice(0, 3),
  numMonth: ({ month }) => String(month),
  zeroMonth: ({ month }) => padded(month, 2),
  longWeekday: (civil) => WEEKDAYS[weekdayOf(civil)] as string,
  weekday: (civil) => (WEEKDAYS[weekdayOf(civil)] as string).slice(0, 3),
  day: ({ day }) => String(day),
  underDay: ({ day }) => String(day).padStart(2),
  zeroDay: ({ day }) => padded(day, 2),
  underYearDay: (civil) => String(yearDayOf(civil)).padStart(3),
  zeroYearDay: (civil) => padded(yearDayOf(civil), 3),
  hour: ({ hour }) => padded(hour, 2),
  hour12: ({ hour }) => String(hour % 12 || 12),
  zeroHour12: ({ hour }) => padded(hour % 12 || 12, 2),
  minute: ({ minute }) => String(minute),
  zeroMinute: ({ minute }) => padded(minute, 2),
  second: ({ second }) => String(second),
  zeroSecond: ({ second }) => padded(second, 2),
  year: ({ year }) => padded(year, 4),
  shortYear: ({ year }) => padded(Math.abs(year) % 100, 2),
  PM: ({ hour }) => (hour >= 12 ? "PM" : "AM"),
  pm: ({ hour }) => (hour >= 12 ? "pm" : "am"),
};

function ofMoment({ ns, zone }: Moment, { field, text }: Asked): string {
  if (field === "fraction0" || field === "fraction9") return fractionOf(nanosOf(ns), text, field === "fraction9");
  const unix = secondsOf(ns);
  if (field === "zone") return zone.nameAt(unix) ?? unfit();
  const offset = zone.offsetAt(unix);
  return field.startsWith("iso") && offset === 0 ? "Z" : offsetOf(offset, text);
}

/** `text` is what the layout has: `-07:00` and its kin. */
function offsetOf(offset: number, text: string): string {
  const minutes = Math.floor(Math.abs(offset) / 60);
  const colon = text.includes(":") ? ":" : "";
  const digits = text.replaceAll(/\D/g, "").length;
  const parts = [padded(Math.floor(minutes / 60), 2)];
  if (digits >= 4) parts.push(padded(minutes % 60, 2));
  if (digits >= 6) parts.push(padded(Math.abs(offset) % 60, 2));
  return (Math.trunc(offset / 60) < 0 ? "-" : "+") + parts.join(colon);
}

function fractionOf(nanos: number, text: string, isTrimmed: boolean): string {
  const count = text.length - 1;
  const digits = padded(nanos, 9).padEnd(count, "0").slice(0, Math.min(count, 9));
  if (!isTrimmed) return (text[0] as string) + digits;
  const kept = digits.replace(/0+$/, "");
  return kept === "" ? "" : (text[0] as string) + kept;
}

function padded(value: number, width: number): string {
  return (value < 0 ? "-" : "") + String(Math.abs(value)).padStart(width, "0");
}
