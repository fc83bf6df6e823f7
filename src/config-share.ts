/**
 * Which of the hundred places has which canary? Whoever asks has one place for ever; the shares say who has it. What
 * surprises: shares alone cannot say it so that nobody moves who need not: where an earlier one ends, those after it would
 * move along. So a change writes down which places each one has, wherever it must.
 */
import { z } from "zod";

export const version = z
  .string()
  .regex(/^[^/\s]{1,64}$/, "a version: up to 64 characters, neither white space nor a slash among them");

const PLACES = 100;
export const share = z.strictObject({ version, percent: z.int().min(0).max(PLACES) });
const placed = share.extend({
  at: z
    .array(z.tuple([z.int().min(0).max(PLACES), z.int().min(0).max(PLACES)]))
    .min(1)
    .max(PLACES / 2)
    .optional()
    .describe(
      "Which of the hundred places it has, each part from the first number to before the second; without it the first that are free. A change writes it where somebody would move otherwise.",
    ),
});
export type Share = z.output<typeof placed>;
export const shares = z
  .array(placed)
  .min(1)
  .max(16)
  .refine((all) => all.reduce((sum, { percent }) => sum + percent, 0) <= PLACES, "at most 100 percent together")
  .refine((all) => new Set(all.map((one) => one.version)).size === all.length, "each version once")
  .refine(fits, "in `at` as many places as `percent` says, and no place twice");

function fits(all: readonly Share[]): boolean {
  const places = all.flatMap(({ at = [] }) => at.flatMap(placesIn));
  const whole = all.every(({ at, percent }) => at === undefined || at.flatMap(placesIn).length === percent);
  return whole && new Set(places).size === places.length;
}

function placesIn([from, until]: readonly [number, number]): readonly number[] {
  return Array.from({ length: Math.max(until - from, 0) }, (_, index) => from + index);
}

/** A version for each place; undefined where nobody has it. */
export type Places = readonly (string | undefined)[];

export function placesOf(all: readonly Share[]): Places {
  const places = Array.from<string | undefined>({ length: PLACES });
  for (const { version: name, at = [] } of all) for (const place of at.flatMap(placesIn)) places[place] = name;
  for (const { version: name, percent, at } of all) if (at === undefined) fill(places, name, percent);
  return places;
}

/** The first that are free. */
function fill(places: (string | undefined)[], name: string, count: number): void {
  let left = count;
  for (let place = 0; place < PLACES && left > 0; place++) {
    if (places[place] !== undefined) continue;
    places[place] = name;
    left--;
  }
}

/** As asked for, where whoever has a version keeps it while its share does not shrink; else the same shares at such places. */
export function staying(before: readonly Share[], asked: readonly Share[]): readonly Share[] {
  const [old, now] = [placesOf(before), placesOf(asked)];
  if (asked.every((one) => isWithin(old, now, one.version) || isWithin(now, old, one.version))) return asked;
  const left = new Map(asked.map((one) => [one.version, one.percent]));
  const places = old.map((name = "") => {
    const free = left.get(name) ?? 0;
    left.set(name, Math.max(free - 1, 0));
    return free > 0 ? name : undefined;
  });
  for (const one of asked) fill(places, one.version, left.get(one.version) ?? 0);
  return asked.map(({ version: name, percent }) => {
    const at = rangesOf(places, name);
    return at.length === 0 ? { version: name, percent } : { version: name, percent, at };
  });
}

function isWithin(few: Places, more: Places, name: string): boolean {
  return few.every((one, place) => one !== name || more[place] === name);
}

function rangesOf(places: Places, name: string): [number, number][] {
  const ranges: [number, number][] = [];
  for (const [place, one] of places.entries()) {
    if (one !== name) continue;
    const last = ranges.at(-1);
    if (last?.[1] === place) last[1] = place + 1;
    else ranges.push([place, place + 1]);
  }
  return ranges;
}
