/** Is the second within the first? object.subset, of objects and what they hold, sets, and runs of arrays. */
import { type Builtins, type Context, unfit } from "./operand.ts";
import { equal, lookUp, payFor } from "./order.ts";
import { isArray, isObject, isSet, type Term, type TermObject, type TermSet } from "./term.ts";

export const subset: Builtins = {
  "object.subset": ([whole = null, part = null], context) => {
    if (isArray(whole) && isSet(part)) return arrayHolds(whole, part, context);
    return within(whole, part, context) ?? unfit();
  },
};

/** Null where the two are of no kind that can be compared. */
function within(whole: Term, part: Term, context: Context): boolean | null {
  if (isObject(whole) && isObject(part)) return objectHolds(whole, part, context);
  if (isSet(whole) && isSet(part)) {
    payForEach(whole.set.length, part.set, context);
    return part.set.every((item) => whole.set.some((other) => equal(item, other)));
  }
  return isArray(whole) && isArray(part) ? hasRun(whole, part, context) : null;
}

/** Each of these is compared so often. */
function payForEach(times: number, items: readonly Term[], { charge }: Context): void {
  for (const item of items) charge(times * payFor(item, charge));
}

function objectHolds(whole: TermObject, part: TermObject, context: Context): boolean {
  context.charge(whole.entries.length * part.entries.length);
  return part.entries.every(([key, value]) => {
    const found = lookUp(whole, key);
    if (found === undefined) return false;
    payFor(value, context.charge);
    return equal(found, value) || (within(found, value, context) ?? false);
  });
}

/** As OPA looks for it, which overlooks a run that begins within a failed attempt's own start. */
function hasRun(whole: readonly Term[], part: readonly Term[], context: Context): boolean {
  payForEach(whole.length, part, context);
  for (let from = 0; from + part.length <= whole.length; from++) {
    if (part.every((item, at) => equal(item, whole[from + at] as Term))) return true;
  }
  return false;
}

function arrayHolds(whole: readonly Term[], { set }: TermSet, context: Context): boolean {
  payForEach(whole.length, set, context);
  if (whole.length === 0) return false;
  // OPA counts items, not elements: what stands twice in the array counts twice
  let unmatched = set.length;
  return whole.some((item) => {
    if (set.some((other) => equal(item, other))) unmatched--;
    return unmatched === 0;
  });
}
