/**
 * When are two terms the same, which comes first, and how does OPA write one in a text? Sets and objects in the order
 * of their elements, strings as Go quotes them; strings are ordered by their bytes, not by JavaScript's code units.
 */
import {
  isArray,
  isNum,
  isObject,
  isSet,
  bytesOf,
  type Entry,
  type Num,
  type Term,
  type TermObject,
  type TermSet,
} from "./term.ts";
import { quoted } from "./quote.ts";

export function equal(a: Term, b: Term): boolean {
  return compare(a, b) === 0;
}

export function compare(a: Term, b: Term): number {
  const byKind = rank(a) - rank(b);
  if (byKind !== 0) return byKind;
  if (a === null || typeof a === "boolean") return Number(a) - Number(b);
  if (typeof a === "string") return compareText(a, b as string);
  if (isNum(a)) return compareNumbers(a, b as Num);
  if (isArray(a)) return compareAll(a, b as readonly Term[]);
  if (isSet(a)) return compareAll(sorted(a), sorted(b as TermSet));
  return compareObjects(a, b as TermObject);
}

export function sorted({ set }: TermSet): readonly Term[] {
  return set.toSorted(compare);
}

/** Without what is in it twice. */
export function setOf(items: readonly Term[]): TermSet {
  const ordered = items.toSorted(compare);
  return { set: ordered.filter((item, at) => at === 0 || compare(ordered[at - 1] as Term, item) !== 0) };
}

export function lookUp({ entries }: TermObject, key: Term): Term | undefined {
  return entries.find(([other]) => equal(other, key))?.[1];
}

/**
 * Takes steps for each of its parts, however often one is in it, and for its texts: it may be far larger than it is in
 * memory. What is put in order before it is compared costs more. Returns how many.
 */
export function payFor(term: Term, charge: (steps: number) => void): number {
  const own = typeof term === "string" ? 1 + (term.length >> 4) : isSet(term) || isObject(term) ? SORTED_COST : 1;
  charge(own);
  const parts = isArray(term) ? term : isSet(term) ? term.set : isObject(term) ? term.entries.flat() : [];
  return parts.reduce<number>((sum, part) => sum + payFor(part, charge), own * (1 + parts.length));
}

const SORTED_COST = 8;

/** As sprintf's %v and OPA's answers have it. */
export function written(term: Term): string {
  if (term === null || typeof term === "boolean") return String(term);
  if (typeof term === "string") return quoted(term);
  if (isNum(term)) return term.number;
  if (isArray(term)) return `[${term.map(written).join(", ")}]`;
  if (isSet(term)) return term.set.length === 0 ? "set()" : `{${sorted(term).map(written).join(", ")}}`;
  return `{${byKey(term)
    .map(([key, value]) => `${written(key)}: ${written(value)}`)
    .join(", ")}}`;
}

function rank(term: Term): number {
  if (term === null) return 0;
  if (typeof term === "boolean") return 1;
  if (typeof term === "string") return 3;
  if (isNum(term)) return 2;
  if (isArray(term)) return 4;
  return isSet(term) ? 6 : 5;
}

function byKey({ entries }: TermObject): readonly Entry[] {
  return entries.toSorted(([a], [b]) => compare(a, b));
}

function compareAll(a: readonly Term[], b: readonly Term[]): number {
  const shared = Math.min(a.length, b.length);
  for (let at = 0; at < shared; at++) {
    const order = compare(a[at] as Term, b[at] as Term);
    if (order !== 0) return order;
  }
  return a.length - b.length;
}

/** Key by key, then value by value. */
function compareObjects(a: TermObject, b: TermObject): number {
  const [ours, theirs] = [byKey(a), byKey(b)];
  for (let at = 0; at < Math.min(ours.length, theirs.length); at++) {
    const [[key, value], [otherKey, otherValue]] = [ours[at] as Entry, theirs[at] as Entry];
    const order = compare(key, otherKey) || compare(value, otherValue);
    if (order !== 0) return order;
  }
  return ours.length - theirs.length;
}

const SURROGATE_OR_ABOVE = /[\ud800-\uffff]/;

function compareText(a: string, b: string): number {
  if (a === b) return 0;
  // nothing in either that UTF-16 puts elsewhere than UTF-8
  if (!SURROGATE_OR_ABOVE.test(a) && !SURROGATE_OR_ABOVE.test(b)) return a < b ? -1 : 1;
  return Buffer.compare(bytesOf(a), bytesOf(b));
}

/** Exactly: as digits without leading and trailing zeros and the power of ten that the first one has. */
function compareNumbers(a: Num, b: Num): number {
  if (a.number === b.number) return 0;
  const [one, other] = [scientific(a.number), scientific(b.number)];
  if (one.sign !== other.sign) return one.sign - other.sign;
  if (one.sign === 0) return 0;
  const bySize = one.power - other.power || (one.digits < other.digits ? -1 : Number(one.digits > other.digits));
  return one.sign * bySize;
}

function scientific(text: string): { readonly sign: number; readonly power: number; readonly digits: string } {
  const [, minus, whole = "", fraction = "", exponent = "0"] =
    /^(-?)(\d*)\.?(\d*)(?:[eE]([+-]?\d+))?$/.exec(text) ?? [];
  const all = whole + fraction;
  const leading = /^0*/.exec(all)?.[0].length ?? 0;
  const digits = all.slice(leading).replace(/0+$/, "");
  if (digits === "") return { sign: 0, power: 0, digits };
  return { sign: minus === "-" ? -1 : 1, power: whole.length - leading + Number(exponent), digits };
}
