/** How many bytes is `10KiB`, and which numbers lie between? units.* and numbers.range_step. */
import {
  bigIntOf,
  type Builtins,
  type Context,
  costOfDigits,
  type Decimal,
  decimalOf,
  stringAt,
  unfit,
} from "./operand.ts";
import { isNum, num, type Term } from "./term.ts";

export const numbers: Builtins = {
  "units.parse": (operands, context) => {
    const [number, unit] = amountAndUnit(stringAt(operands, 0).replaceAll('"', ""));
    const cased = unit.slice(0, 1) + unit.slice(1).toLowerCase();
    if (cased === "m") return written(scaled(number, MILLI, context));
    const factor = factorOf(cased, SI) ?? unfit();
    return written(scaled(number, { digits: factor, exponent: 0 }, context));
  },
  "units.parse_bytes": (operands, context) => {
    const [number, unit] = amountAndUnit(stringAt(operands, 0).toLowerCase().replaceAll('"', ""));
    const factor = factorOf(unit, BYTES) ?? unfit();
    const amount = decimalOf(number, context) ?? unfit();
    context.charge(Math.abs(amount.exponent));
    const { mantissa, power } = times(asFloat(amount), factor);
    return num(power >= 0n ? mantissa << power : mantissa / 2n ** -power);
  },
  "numbers.range_step": (operands, context) => {
    const [from, to, step] = [0, 1, 2].map((at) => integerAt(operands, at, context)) as [bigint, bigint, bigint];
    if (step <= 0n) return unfit();
    const count = (from < to ? to - from : from - to) / step + 1n;
    context.charge(
      count > 1_000_000n ? Number.MAX_SAFE_INTEGER : Number(count) * (4 + costOfDigits(from) + costOfDigits(to)),
    );
    return Array.from({ length: Number(count) }, (_, at) => num(from + (from <= to ? step : -step) * BigInt(at)));
  },
};

function integerAt(operands: readonly Term[], at: number, context: Context): bigint {
  const operand = operands[at] as Term;
  return isNum(operand) ? (bigIntOf(operand, context) ?? unfit()) : unfit();
}

/** OPA's thousandth is the double, exactly: a little more than 0.001. */
const MILLI: Decimal = exactly(0.001);
const SI: { readonly [letter: string]: string } = { k: "kK", m: "M", g: "gG", t: "tT", p: "pP", e: "eE" };
const BYTES: { readonly [letter: string]: string } = { k: "k", m: "m", g: "g", t: "t", p: "p", e: "e" };

function exactly(value: number): Decimal {
  const bits = 60;
  const digits = BigInt(value * 2 ** bits) * 5n ** BigInt(bits);
  return { digits, exponent: -bits };
}

/** `K` is 1000 and `Ki` 1024; bytes also end in `b`. */
function factorOf(unit: string, letters: { readonly [letter: string]: string }): bigint | null {
  if (unit === "") return 1n;
  const found = (letters === BYTES ? /^([kmgtpe])(i?)b?$/ : /^([kKmMgGtTpPeE])(i?)$/).exec(unit);
  if (found === null) return null;
  const [, letter = "", binary = ""] = found;
  const power = BigInt("kmgtpe".indexOf(letter.toLowerCase()) + 1);
  if (binary === "i") return 1024n ** power;
  return letters[letter.toLowerCase()]?.includes(letter) === true ? 1000n ** power : null;
}

function scaled(number: string, by: Decimal, context: Context): Decimal {
  const amount = decimalOf(number, context) ?? unfit();
  context.charge(Math.abs(amount.exponent));
  return { digits: amount.digits * by.digits, exponent: amount.exponent + by.exponent };
}

/** The number, up to the first character that is neither a digit, a point, a sign nor an exponent's. */
function amountAndUnit(text: string): readonly [number: string, unit: string] {
  if (text.includes(" ")) return unfit();
  const number = /^(?:[\d.+-]|[eE][+-]?\d+|[eE][+-](?!\d))*/.exec(text)?.[0] ?? "";
  if (/[eE][+-]?\d{7}/.test(number) || number === "") return unfit();
  return [number, text.slice(number.length)];
}

/** An integer as it is, anything else with ten decimals, half up. */
function written({ digits, exponent }: Decimal): Term {
  if (exponent >= 0) return num(digits * 10n ** BigInt(exponent));
  const divisor = 10n ** BigInt(-exponent);
  if (digits % divisor === 0n) return num(digits / divisor);
  const magnitude = digits < 0n ? -digits : digits;
  const rounded = (magnitude * 10n ** 10n * 2n + divisor) / (divisor * 2n);
  const whole = rounded / 10n ** 10n;
  return num(`${digits < 0n ? "-" : ""}${whole}.${(rounded % 10n ** 10n).toString().padStart(10, "0")}`);
}

type Float = { readonly mantissa: bigint; readonly power: bigint };

/** As Go's big.Float of 64 bits, through which OPA reads bytes. */
function asFloat({ digits, exponent }: Decimal): Float {
  if (exponent >= 0) return rounded(digits * 10n ** BigInt(exponent), 1n);
  return rounded(digits, 10n ** BigInt(-exponent));
}

function times({ mantissa, power }: Float, factor: bigint): Float {
  const product = rounded(mantissa * factor, 1n);
  return { mantissa: product.mantissa, power: product.power + power };
}

/** A fraction with 64 bits, half to even. */
function rounded(numerator: bigint, denominator: bigint): Float {
  const magnitude = numerator < 0n ? -numerator : numerator;
  if (magnitude === 0n) return { mantissa: 0n, power: 0n };
  // one bit more than that, or as many
  let power = BigInt(bits(magnitude) - bits(denominator) - 64);
  const top = power >= 0n ? magnitude : magnitude << -power;
  let bottom = power >= 0n ? denominator << power : denominator;
  if (top / bottom >= 2n ** 64n) [power, bottom] = [power + 1n, bottom * 2n];
  const [whole, rest] = [top / bottom, (top % bottom) * 2n];
  const mantissa = rest > bottom || (rest === bottom && whole % 2n === 1n) ? whole + 1n : whole;
  return { mantissa: numerator < 0n ? -mantissa : mantissa, power };
}

function bits(value: bigint): number {
  return value.toString(2).length;
}
