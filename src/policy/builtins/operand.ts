/**
 * What may a built-in be given, and what may it cost? Reads operands as OPA does; one that does not fit makes the
 * call undefined, as OPA has it, and is counted. A call pays for its size in the same steps as the policy's loops.
 */
import { isArray, isNum, isObject, isSet, type Num, type Term, type TermObject } from "./term.ts";

export type Context = {
  /** Takes steps from the evaluation's budget. @throws OUT_OF_STEPS */
  readonly charge: (steps: number) => void;
  /** input.request.time in nanoseconds since 1970, the same throughout an evaluation; null where it is none. */
  readonly nowNs: () => bigint | null;
};
/** Undefined: OPA's answer would be an error. */
export type Builtin = (operands: readonly Term[], context: Context) => Term | undefined;
export type Builtins = { readonly [name: string]: Builtin };

/** Thrown by what reads operands, and turned into undefined. No stack: it is thrown often. */
export const UNFIT = new Error("an operand does not fit");
export const OUT_OF_STEPS = new Error("the evaluation ran out of steps");

export function unfit(): never {
  throw UNFIT;
}

/** A term may be null: `??` would not do. */
export function present<T>(value: T | undefined): T {
  return value === undefined ? unfit() : value;
}

export function stringAt(operands: readonly Term[], at: number): string {
  const operand = operands[at];
  return typeof operand === "string" ? operand : unfit();
}

export function arrayAt(operands: readonly Term[], at: number): readonly Term[] {
  const operand = operands[at] as Term;
  return isArray(operand) ? operand : unfit();
}

export function objectAt(operands: readonly Term[], at: number): TermObject {
  const operand = operands[at] as Term;
  return isObject(operand) ? operand : unfit();
}

/** The items of an array or a set. */
export function itemsOf(term: Term): readonly Term[] {
  if (isArray(term)) return term;
  return isSet(term) ? term.set : unfit();
}

export function stringsOf(term: Term): readonly string[] {
  return itemsOf(term).map((item) => (typeof item === "string" ? item : unfit()));
}

const INT64 = 2n ** 63n;
const INTEGER = /^[+-]?(\d+)(?:\.0*)?$/;

/** Of 64 bits, also as 1.0; null for any other number. */
export function int64Of({ number }: Num): bigint | null {
  const digits = INTEGER.exec(number)?.[1];
  if (digits === undefined || digits.length > 19) return null;
  const magnitude = BigInt(digits);
  const value = number.startsWith("-") ? -magnitude : magnitude;
  return value >= -INT64 && value < INT64 ? value : null;
}

export function int64At(operands: readonly Term[], at: number): bigint {
  const operand = operands[at] as Term;
  return isNum(operand) ? (int64Of(operand) ?? unfit()) : unfit();
}

/** Digits of a number whose length the caller bounds. */
export type Decimal = { readonly digits: bigint; readonly exponent: number };
const DECIMAL = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/;
const DIGITS_MAX = 2_000;
const EXPONENT_MAX = 100_000;

/** Exactly, as digits × 10^exponent; a number of very many digits costs more than any budget. */
export function decimalOf(text: string, { charge }: Context): Decimal | null {
  const found = DECIMAL.exec(text);
  if (found === null) return null;
  const [, sign = "", whole = "", fraction = "", power = "0"] = found;
  if (whole.length + fraction.length === 0) return null;
  charge(text.length > DIGITS_MAX ? Number.MAX_SAFE_INTEGER : 0);
  const exponent = Number(power) - fraction.length;
  if (Math.abs(exponent) > EXPONENT_MAX) charge(Number.MAX_SAFE_INTEGER);
  const digits = BigInt(whole + fraction);
  return { digits: sign === "-" ? -digits : digits, exponent };
}

/** Steps that it takes to write the number, which grow as the square of its length. */
export function costOfDigits(value: bigint): number {
  const digits = value.toString(16).length;
  return (digits >> 1) + ((digits ** 2) >> 11);
}

/** Exactly; null for one with a fraction. */
export function bigIntOf({ number }: Num, context: Context): bigint | null {
  const decimal = decimalOf(number, context);
  if (decimal === null) return null;
  const { digits, exponent } = decimal;
  if (exponent >= 0) {
    context.charge(exponent);
    return digits * 10n ** BigInt(exponent);
  }
  const divisor = 10n ** BigInt(-exponent);
  return digits % divisor === 0n ? digits / divisor : null;
}
