/** What does one verb of sprintf make of one argument? As Go's fmt has it for int64, float64, string and *big.Int. */
import { formatFloat } from "./float.ts";
import { canBackquote, isPrintable, quoted } from "./quote.ts";
import { bytesOf, charactersOf } from "./term.ts";

export type Argument =
  | { readonly type: "int64" | "*big.Int"; readonly value: bigint }
  | { readonly type: "float64"; readonly value: number }
  | { readonly type: "string"; readonly value: string };
export type Flags = {
  readonly plus: boolean;
  readonly minus: boolean;
  readonly sharp: boolean;
  readonly space: boolean;
  readonly zero: boolean;
  /** `#` of %v. */
  readonly sharpV: boolean;
  readonly width: number | null;
  readonly precision: number | null;
};

/** Null where Go would write an address, or what is inside of its big integers. */
export function formatted(argument: Argument, verb: string, flags: Flags): string | null {
  if (verb === "T") return pad(truncate(argument.type, flags), flags);
  if ((verb === "p" || verb === "w") && argument.type === "*big.Int") return null;
  const text = byType(argument, verb, flags);
  return text ?? bad(argument, verb, flags);
}

function byType(argument: Argument, verb: string, flags: Flags): string | null {
  if (argument.type === "string") return ofString(argument.value, verb, flags);
  if (argument.type === "float64") return ofFloat(argument.value, verb, flags);
  return argument.type === "int64" ? ofInteger(argument.value, verb, flags) : ofBig(argument.value, verb, flags);
}

function bad(argument: Argument, verb: string, flags: Flags): string {
  return `%!${verb}(${argument.type}=${byType(argument, "v", flags) ?? ""})`;
}

function ofString(text: string, verb: string, flags: Flags): string | null {
  if (verb === "s" || (verb === "v" && !flags.sharpV)) return pad(truncate(text, flags), flags);
  if (verb === "q" || verb === "v") {
    const cut = truncate(text, flags);
    if (flags.sharp && canBackquote(cut)) return pad(`\`${cut}\``, flags);
    return pad(quoted(cut, { ascii: flags.plus }), flags);
  }
  return verb === "x" || verb === "X" ? hexadecimal(text, verb, flags) : null;
}

function hexadecimal(text: string, verb: string, { precision, sharp, space, ...flags }: Flags): string {
  const all = bytesOf(text);
  const pairs = [...all.subarray(0, precision ?? all.length)].map((byte) => byte.toString(16).padStart(2, "0"));
  const prefix = sharp ? "0x" : "";
  const joined = pairs.length === 0 ? "" : prefix + pairs.join(space ? ` ${prefix}` : "");
  const cased = verb === "X" ? joined.toUpperCase() : joined;
  return pad(cased, { ...flags, precision, sharp, space });
}

const BASES: { readonly [verb: string]: number } = { v: 10, d: 10, b: 2, o: 8, O: 8, x: 16, X: 16 };

function ofInteger(value: bigint, verb: string, flags: Flags): string | null {
  if (verb === "c") return pad(charOf(value), flags);
  if (verb === "q") return pad(quoted(charOf(value), { mark: "'", ascii: flags.plus }), flags);
  if (verb === "U") return unicode(value, flags);
  const base = BASES[verb];
  if (base === undefined) return null;
  const { precision, width, zero, minus, plus, space, sharp } = flags;
  if (precision === 0 && value === 0n) return " ".repeat(width ?? 0);
  const isNegative = value < 0n;
  const isSigned = isNegative || plus || space;
  const least = precision ?? (zero && !minus && width !== null ? width - Number(isSigned) : 0);
  let digits = (isNegative ? -value : value).toString(base).padStart(least, "0");
  if (verb === "X") digits = digits.toUpperCase();
  if (sharp && base === 2) digits = `0b${digits}`;
  if (sharp && base === 8 && !digits.startsWith("0")) digits = `0${digits}`;
  if (sharp && base === 16) digits = `0${verb === "X" ? "X" : "x"}${digits}`;
  if (verb === "O") digits = `0o${digits}`;
  return pad(signOf(isNegative, flags) + digits, { ...flags, zero: false });
}

function signOf(isNegative: boolean, { plus, space }: Flags): string {
  if (isNegative) return "-";
  return plus ? "+" : space ? " " : "";
}

function charOf(value: bigint): string {
  const isValid = value >= 0n && value <= 0x10ffffn && !(value >= 0xd800n && value <= 0xdfffn);
  return isValid ? String.fromCodePoint(Number(value)) : "\ufffd";
}

function unicode(value: bigint, flags: Flags): string {
  const unsigned = BigInt.asUintN(64, value);
  const digits = unsigned
    .toString(16)
    .toUpperCase()
    .padStart(Math.max(flags.precision ?? 0, 4), "0");
  const isShown =
    flags.sharp && unsigned <= 0x10ffffn && isPrintable(charOf(unsigned)) && charOf(unsigned) !== "\ufffd";
  const isReplacement = flags.sharp && unsigned === 0xfffdn;
  const shown = isShown || isReplacement ? ` '${charOf(unsigned)}'` : "";
  return pad(`U+${digits}${shown}`, { ...flags, zero: false });
}

const BIG_BASES: { readonly [verb: string]: number } = { b: 2, o: 8, O: 8, d: 10, s: 10, v: 10, x: 16, X: 16 };
const BIG_PREFIXES: { readonly [verb: string]: string } = { b: "0b", o: "0", x: "0x", X: "0X" };

function ofBig(value: bigint, verb: string, flags: Flags): string {
  const base = BIG_BASES[verb];
  if (base === undefined) return `%!${verb}(big.Int=${value})`;
  const { precision, width, minus, zero } = flags;
  const sign = signOf(value < 0n, flags);
  const hasPrefix = verb === "v" ? flags.sharpV : flags.sharp;
  const prefix = verb === "O" ? "0o" : hasPrefix ? (BIG_PREFIXES[verb] ?? "") : "";
  const magnitude = (value < 0n ? -value : value).toString(base);
  const digits = (verb === "X" ? magnitude.toUpperCase() : magnitude).padStart(precision ?? 0, "0");
  const missing = Math.max((width ?? 0) - sign.length - prefix.length - digits.length, 0);
  if (minus) return `${sign}${prefix}${digits}${" ".repeat(missing)}`;
  if (zero && precision === null) return `${sign}${prefix}${"0".repeat(missing)}${digits}`;
  return `${" ".repeat(missing)}${sign}${prefix}${digits}`;
}

function ofFloat(value: number, verb: string, flags: Flags): string | null {
  const isGeneral = verb === "v" || verb === "g" || verb === "G";
  if (!isGeneral && !"beEfFxX".includes(verb)) return null;
  const fallback = isGeneral || "bxX".includes(verb) ? -1 : 6;
  const precision = flags.precision ?? fallback;
  const text = formatFloat(value, verb === "v" ? "g" : verb === "F" ? "f" : verb, precision);
  const isNegative = text.startsWith("-");
  const unsigned = isNegative ? text.slice(1) : text;
  const whole = flags.sharp && verb !== "b" ? withPoint(unsigned, verb, precision) : unsigned;
  const sign = signOf(isNegative, flags);
  const { zero, minus, width } = flags;
  if (sign !== "" && zero && !minus && width !== null) return sign + whole.padStart(width - 1, "0");
  return pad(sign + whole, flags);
}

/** `#`: a decimal point always, and the zeros that %g leaves out. */
function withPoint(text: string, verb: string, precision: number): string {
  const isHex = verb === "x" || verb === "X";
  const at = text.search(isHex ? /[pP]/ : /[eE]/);
  const [mantissa, tail] = at === -1 ? [text, ""] : [text.slice(0, at), text.slice(at)];
  let missing = "vgGx".includes(verb) ? (precision === -1 ? 6 : precision) : 0;
  missing -= /[^0.].*$/.exec(mantissa)?.[0].replace(".", "").length ?? 0;
  const pointed = mantissa.includes(".") ? mantissa : `${mantissa}.`;
  if (!mantissa.includes(".") && mantissa === "0") missing--;
  return pointed + "0".repeat(Math.max(missing, 0)) + tail;
}

function truncate(text: string, { precision }: Flags): string {
  if (precision === null || text.length <= precision) return text;
  return charactersOf(text).slice(0, precision).join("");
}

function pad(text: string, { width, minus, zero }: Flags): string {
  if (width === null || width === 0) return text;
  const missing = Math.max(width - charactersOf(text).length, 0);
  if (minus) return text + " ".repeat(missing);
  return (zero ? "0" : " ").repeat(missing) + text;
}
