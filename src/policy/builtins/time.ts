/**
 * What is the time, and what was it elsewhere? OPA's time.*, in nanoseconds of 64 bits. What surprises: time.now_ns is
 * input.request.time, the same throughout an evaluation and in a replay of it.
 */
import { civilOf, clockSeconds, daysIn, type Moment, nanosOf, NS, unixOf, weekdayOf } from "./civil.ts";
import { parseDuration } from "./duration.ts";
import { layoutOf, WEEKDAYS } from "./layout.ts";
import { arrayAt, bigIntOf, type Builtins, type Context, int64At, stringAt, unfit } from "./operand.ts";
import { isArray, isNum, num, type Term } from "./term.ts";
import { formatTime } from "./time-format.ts";
import { parseRfc3339, parseTime } from "./time-parse.ts";
import { zoneOf } from "./zone.ts";

export const time: Builtins = {
  "time.now_ns": (_, { nowNs }) => num(nowNs() ?? unfit()),
  "time.parse_rfc3339_ns": (operands) => ranged(parseRfc3339(stringAt(operands, 0))),
  "time.parse_ns": (operands, { charge }) => {
    const [layout, value] = [stringAt(operands, 0), stringAt(operands, 1)];
    charge(layout.length * STEPS_PER_CHARACTER);
    return ranged(parseTime(layoutOf(layout), value));
  },
  "time.parse_duration_ns": (operands) => num(parseDuration(stringAt(operands, 0)) ?? unfit()),
  "time.format": (operands, context) => {
    const layout = isArray(operands[0] ?? null) ? (arrayAt(operands, 0)[2] ?? "") : "";
    if (typeof layout !== "string") return unfit();
    context.charge(layout.length * STEPS_PER_CHARACTER + (layout.split("MST").length - 1) * STEPS_PER_ZONE);
    return formatTime(momentAt(operands, 0, context), layoutOf(layout === "" ? "RFC3339Nano" : layout));
  },
  "time.date": (operands, context) => {
    const { year, month, day } = civilOf(momentAt(operands, 0, context));
    return [num(year), num(month), num(day)];
  },
  "time.clock": (operands, context) => {
    const { hour, minute, second } = civilOf(momentAt(operands, 0, context));
    return [num(hour), num(minute), num(second)];
  },
  "time.weekday": (operands, context) => WEEKDAYS[weekdayOf(civilOf(momentAt(operands, 0, context)))] ?? unfit(),
  "time.add_date": addDate,
  "time.diff": (operands, context) => {
    const from = momentAt(operands, 0, context);
    return diff(from, { ...momentAt(operands, 1, context), zone: from.zone });
  },
};

/** Of a layout: each is compared with the beginnings of all fields. */
const STEPS_PER_CHARACTER = 32;
/** Whether Intl has been asked about it before or not, so that a replay costs the same. */
const STEPS_PER_ZONE = 512;

function ranged(ns: bigint | null): Term {
  return ns === null || BigInt.asIntN(64, ns) !== ns ? unfit() : num(ns);
}

/** A number of nanoseconds, or that and a zone, and a layout. */
function momentAt(operands: readonly Term[], at: number, context: Context): Moment {
  const operand = operands[at] as Term;
  const [value = null, zone = "", layout = ""] = isArray(operand) ? operand : [operand];
  if (!isNum(value) || typeof zone !== "string" || typeof layout !== "string") return unfit();
  // OPA reads it through a float of 64 bits of mantissa: of whole numbers that fit, all exactly
  const ns = bigIntOf(value, context);
  if (ns === null || BigInt.asIntN(64, ns) !== ns) return unfit();
  if (zone !== "") context.charge(STEPS_PER_ZONE);
  return { ns, zone: zoneOf(zone) };
}

/** Years, months or days: what is more is no date. */
const FAR = 10_000_000n;

function addDate(operands: readonly Term[], context: Context): Term {
  const moment = momentAt(operands, 0, context);
  const [years, months, days] = [1, 2, 3].map((at) => {
    const value = int64At(operands, at);
    return value > FAR || value < -FAR ? unfit() : Number(value);
  }) as [number, number, number];
  const civil = civilOf(moment);
  const moved = { ...civil, year: civil.year + years, month: civil.month + months, day: civil.day + days };
  // no clock is asked for what does not fit into 64 bits anyway
  if (Math.abs(clockSeconds(moved)) > 10_000_000_000) return unfit();
  return ranged(BigInt(unixOf(moved, moment.zone)) * NS + BigInt(nanosOf(moment.ns)));
}

/** Years, months, days, hours, minutes and seconds between, each as if counted on the calendar from the earlier one. */
function diff(one: Moment, other: Moment): Term {
  const [first, last] = one.ns > other.ns ? [civilOf(other), civilOf(one)] : [civilOf(one), civilOf(other)];
  let [year, month, day] = [last.year - first.year, last.month - first.month, last.day - first.day];
  let [hour, minute, second] = [last.hour - first.hour, last.minute - first.minute, last.second - first.second];
  if (second < 0) [second, minute] = [second + 60, minute - 1];
  if (minute < 0) [minute, hour] = [minute + 60, hour - 1];
  if (hour < 0) [hour, day] = [hour + 24, day - 1];
  if (day < 0) [day, month] = [day + daysIn(first.year, first.month), month - 1];
  if (month < 0) [month, year] = [month + 12, year - 1];
  return [year, month, day, hour, minute, second].map((part) => num(part));
}
