/**
 * Which of these versions is meant? `v?X[.Y[.Z]]` orders as semver, and only such a version is ever in a range; any other
 * text, a pre-release among them, is meant by its exact name alone (contract §4). Ranges are npm's, spelled plainly.
 */
import { compare, satisfies } from "semver";

const ORDERED = /^v?(\d{1,9})(?:\.(\d{1,9}))?(?:\.(\d{1,9}))?$/;
/** Not `*`, `||` or nothing at all, which a caller would say by mistake and npm takes for anything. */
const RANGE = /^(?:(?:[~^=]|[<>]=?)?v?\d{1,9}(?:\.\d{1,9}){0,2}(?: +(?!$)|$))+$/;
/** Of a text that comes with a call. */
const RANGE_CHARACTERS_MAX = 64;

/** The name itself, else the highest that it fits: never another. Of two that order alike, the first. */
export function meant(names: readonly string[], asked: string): string | undefined {
  if (names.includes(asked)) return asked;
  return names
    .filter((name) => fits(name, asked))
    .reduce<string | undefined>(
      (best, name) => (best !== undefined && order(name, best) <= 0 ? best : name),
      undefined,
    );
}

/** `v1.2.0` and `1.2.0` are one version, and `1.2` is any of 1.2. */
export function fits(version: string, asked: string): boolean {
  if (version === asked) return true;
  const normal = normalOf(version);
  return normal !== null && isRange(asked) && satisfies(normal, withoutZeros(asked));
}

/** Null where the text has no order. */
export function normalOf(version: string): string | null {
  const match = ORDERED.exec(version);
  return match === null ? null : `${Number(match[1])}.${Number(match[2] ?? 0)}.${Number(match[3] ?? 0)}`;
}

/** @throws Error where one of them has no order */
export function order(one: string, other: string): number {
  const normal = [one, other].map(normalOf);
  if (normal[0] == null || normal[1] == null) throw new Error("A version without an order was ordered.");
  return compare(normal[0], normal[1]);
}

/** `2026.08.31` is a version here, and none of semver's. */
function withoutZeros(range: string): string {
  return range.replaceAll(/(?<!\d)0+(?=\d)/g, "");
}

function isRange(text: string): boolean {
  return text.length <= RANGE_CHARACTERS_MAX && RANGE.test(text);
}
