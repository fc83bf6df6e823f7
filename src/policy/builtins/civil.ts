/** Which day is it, and at what time? The proleptic Gregorian calendar, in whole seconds of a zone, as Go's Date has it. */
import type { Zone } from "./zone.ts";

export type Civil = {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
};
/** A moment in nanoseconds since 1970, in a zone. */
export type Moment = { readonly ns: bigint; readonly zone: Zone };

export const NS = 1_000_000_000n;
const DAY = 86_400;

export function secondsOf(ns: bigint): number {
  const rest = ns % NS;
  return Number((ns - rest) / NS) - (rest < 0n ? 1 : 0);
}

export function nanosOf(ns: bigint): number {
  return Number(((ns % NS) + NS) % NS);
}

export function civilOf({ ns, zone }: Moment): Civil {
  const unix = secondsOf(ns);
  return civilAt(unix + zone.offsetAt(unix));
}

/** Of seconds as the clocks show them. */
export function civilAt(seconds: number): Civil {
  const days = Math.floor(seconds / DAY);
  const clock = seconds - days * DAY;
  return {
    ...dateOf(days),
    hour: Math.floor(clock / 3600),
    minute: Math.floor(clock / 60) % 60,
    second: clock % 60,
  };
}

/** The clocks' seconds at what may be out of range: 32 January is 1 February. */
export function clockSeconds({ year, month, day, hour, minute, second }: Civil): number {
  const months = year * 12 + month - 1;
  const days = daysBefore(Math.floor(months / 12), (((months % 12) + 12) % 12) + 1) + day - 1;
  return days * DAY + hour * 3600 + minute * 60 + second;
}

/** As Go resolves a time that the clocks show twice, or never. */
export function unixOf(civil: Civil, zone: Zone): number {
  const seconds = clockSeconds(civil);
  const offset = zone.offsetAt(seconds);
  return offset === 0 ? seconds : seconds - zone.offsetAt(seconds - offset);
}

/** 0 is Sunday. */
export function weekdayOf({ year, month, day }: Civil): number {
  return (((daysBefore(year, month) + day - 1 + 4) % 7) + 7) % 7;
}

export function yearDayOf({ year, month, day }: Civil): number {
  return daysBefore(year, month) - daysBefore(year, 1) + day;
}

export function daysIn(year: number, month: number): number {
  return (month === 12 ? daysBefore(year + 1, 1) : daysBefore(year, month + 1)) - daysBefore(year, month);
}

/** Days from 1970 to the first of a month; years begin in March, so that the leap day is their last. */
function daysBefore(year: number, month: number): number {
  const shifted = month <= 2 ? year - 1 : year;
  const era = Math.floor(shifted / 400);
  const ofEra = shifted - era * 400;
  const ofYear = Math.floor((153 * ((month + 9) % 12) + 2) / 5);
  return era * 146_097 + ofEra * 365 + Math.floor(ofEra / 4) - Math.floor(ofEra / 100) + ofYear - 719_468;
}

function dateOf(days: number): { readonly year: number; readonly month: number; readonly day: number } {
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const ofEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (ofEra - Math.floor(ofEra / 1460) + Math.floor(ofEra / 36_524) - Math.floor(ofEra / 146_096)) / 365,
  );
  const ofYear = ofEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const at = Math.floor((5 * ofYear + 2) / 153);
  const month = at < 10 ? at + 3 : at - 9;
  const day = ofYear - Math.floor((153 * at + 2) / 5) + 1;
  return { year: yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day };
}
