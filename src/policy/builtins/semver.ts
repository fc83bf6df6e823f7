/** Is it a semantic version, and which one comes first? As OPA reads them: a leading v is none of its business. */
import { type Builtins, stringAt, UNFIT, unfit } from "./operand.ts";
import { num } from "./term.ts";

export const semver: Builtins = {
  "semver.is_valid": ([text]) => typeof text === "string" && isVersion(text),
  "semver.compare": (operands) => {
    const [one, other] = [parse(stringAt(operands, 0)), parse(stringAt(operands, 1))];
    return num(Math.sign(compareNumbers(one.numbers, other.numbers) || comparePre(one.pre, other.pre)));
  },
};

type Version = { readonly numbers: readonly bigint[]; readonly pre: string };
const VERSION =
  /^v?((?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2})(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?$/;
const INT64 = 2n ** 63n;

function isVersion(text: string): boolean {
  try {
    parse(text);
    return true;
  } catch (thrown) {
    if (thrown === UNFIT) return false;
    throw thrown;
  }
}

function parse(text: string): Version {
  const [, digits = "", pre = ""] = VERSION.exec(text) ?? unfit();
  const parts = digits.split(".");
  // as text first: a number of very many digits is no number of 64 bits
  if (parts.some((part) => part.length > 19) || pre.split(".").some((part) => /^0\d+$/.test(part))) return unfit();
  const numbers = parts.map(BigInt);
  return numbers.some((one) => one >= INT64) ? unfit() : { numbers, pre };
}

function compareNumbers(one: readonly bigint[], other: readonly bigint[]): number {
  const at = one.findIndex((value, index) => value !== other[index]);
  if (at === -1) return 0;
  return (one[at] as bigint) < (other[at] as bigint) ? -1 : 1;
}

/** None is more than any; part by part, numbers before words, and what goes on after what ends. */
function comparePre(one: string, other: string): number {
  if (one === other) return 0;
  if (one === "" || other === "") return one === "" ? 1 : -1;
  const [ours, theirs] = [one.split("."), other.split(".")];
  for (let at = 0; at < Math.max(ours.length, theirs.length); at++) {
    const [mine, yours] = [ours[at], theirs[at]];
    if (mine === undefined || yours === undefined) return mine === undefined ? -1 : 1;
    const order = compareParts(mine, yours);
    if (order !== 0) return order;
  }
  return 0;
}

function compareParts(one: string, other: string): number {
  const [isNumber, isOtherNumber] = [/^\d+$/.test(one), /^\d+$/.test(other)];
  if (isNumber !== isOtherNumber) return isNumber ? -1 : 1;
  if (!isNumber) return one < other ? -1 : Number(one > other);
  const [a, b] = [clamped(one), clamped(other)];
  return a < b ? -1 : Number(a > b);
}

/** OPA reads it as 64 bits, and what is more as the most. */
function clamped(digits: string): bigint {
  const value = digits.length > 19 ? INT64 : BigInt(digits);
  return value >= INT64 ? INT64 - 1n : value;
}
