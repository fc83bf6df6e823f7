/**
 * What does OPA's sprintf print? What Go's fmt.Sprintf prints of an integer, a float, a string, or any other value's
 * text. What surprises: nothing is an error: a wrong verb, argument or index shows in the text, as `%!d(string=hi)`.
 */
import { arrayAt, bigIntOf, type Builtins, type Context, costOfDigits, int64Of, stringAt, unfit } from "./operand.ts";
import { written } from "./order.ts";
import { isNum, type Term } from "./term.ts";
import { type Argument, type Flags, formatted } from "./verbs.ts";

export const sprintf: Builtins = {
  sprintf: (operands, context) => {
    const format = stringAt(operands, 0);
    return print(
      format,
      arrayAt(operands, 1).map((term) => argumentOf(term, context)),
      context,
    );
  },
};

function argumentOf(term: Term, context: Context): Argument {
  if (typeof term === "string") return { type: "string", value: term };
  if (!isNum(term)) return { type: "string", value: written(term) };
  if (/[.eE]/.test(term.number)) {
    const value = Number(term.number);
    return Number.isFinite(value) ? { type: "float64", value } : { type: "string", value: term.number };
  }
  const small = int64Of(term);
  if (small !== null) return { type: "int64", value: small };
  return { type: "*big.Int", value: bigIntOf(term, context) ?? unfit() };
}

type State = {
  readonly format: string;
  readonly args: readonly Argument[];
  at: number;
  next: number;
  isReordered: boolean;
  isGoodIndex: boolean;
  afterIndex: boolean;
  out: string;
};
/** As fmt has it: what is wider is no width. */
const NUMBER_MAX = 1_000_000;

function print(format: string, args: readonly Argument[], context: Context): string {
  const state: State = {
    format,
    args,
    at: 0,
    next: 0,
    isReordered: false,
    isGoodIndex: true,
    afterIndex: false,
    out: "",
  };
  while (state.at < format.length) {
    const percent = format.indexOf("%", state.at);
    state.out += format.slice(state.at, percent === -1 ? undefined : percent);
    if (percent === -1) break;
    state.at = percent + 1;
    state.isGoodIndex = true;
    state.afterIndex = false;
    printVerb(state, context);
  }
  if (!state.isReordered && state.next < args.length) state.out += extra(args.slice(state.next));
  return state.out;
}

function extra(args: readonly Argument[]): string {
  return `%!(EXTRA ${args.map((arg) => `${arg.type}=${formatted(arg, "v", PLAIN) ?? ""}`).join(", ")})`;
}

const PLAIN: Flags = {
  plus: false,
  minus: false,
  sharp: false,
  space: false,
  zero: false,
  sharpV: false,
  width: null,
  precision: null,
};

function printVerb(state: State, context: Context): void {
  const flags = readFlags(state);
  readIndex(state);
  const { width, minus } = readWidth(state);
  const precision = readPrecision(state);
  if (!state.afterIndex) readIndex(state);
  const code = state.format.codePointAt(state.at);
  if (code === undefined) {
    state.out += "%!(NOVERB)";
    return;
  }
  const verb = String.fromCodePoint(code);
  state.at += verb.length;
  context.charge(((width ?? 0) + (precision ?? 0)) >> 2);
  const isV = verb === "v" || verb === "w";
  const settled: Flags = {
    ...flags,
    minus: flags.minus || minus,
    zero: flags.zero && !minus,
    sharpV: isV && flags.sharp,
    sharp: flags.sharp && !isV,
    plus: flags.plus && !(isV && state.args[state.next]?.type !== "*big.Int"),
    width,
    precision,
  };
  state.out += one(state, { verb, ...context }, settled);
}

/** For an argument may be printed many times: what its text is, of a long number more than that. */
function costOf({ type, value }: Argument): number {
  if (type === "string") return 8 + value.length;
  if (type === "float64") return 256;
  return 8 + costOfDigits(value);
}

function one(state: State, { verb, charge }: { readonly verb: string } & Context, flags: Flags): string {
  if (verb === "%") return "%";
  if (!state.isGoodIndex) return `%!${verb}(BADINDEX)`;
  const argument = state.args[state.next];
  if (argument === undefined) return `%!${verb}(MISSING)`;
  state.next++;
  charge(costOf(argument));
  return formatted(argument, verb, flags) ?? unfit();
}

const FLAGS: { readonly [char: string]: "plus" | "minus" | "sharp" | "space" | "zero" } = {
  "+": "plus",
  "-": "minus",
  "#": "sharp",
  " ": "space",
  "0": "zero",
};

function readFlags(state: State): Flags {
  const flags = { ...PLAIN };
  for (; ; state.at++) {
    const flag = FLAGS[state.format[state.at] ?? ""];
    if (flag === undefined) return flags;
    Object.assign(flags, { [flag]: true });
  }
}

/** `[3]`: the next argument is the third. */
function readIndex(state: State): void {
  state.afterIndex = false;
  if (state.format[state.at] !== "[") return;
  state.isReordered = true;
  const rest = state.format.slice(state.at);
  const end = rest.length < 3 ? -1 : rest.indexOf("]", 1);
  const inner = rest.slice(1, Math.max(end, 1));
  state.at += end === -1 ? 1 : end + 1;
  const index = /^\d+$/.test(inner) && Number(inner) <= NUMBER_MAX * 10 ? Number(inner) - 1 : null;
  if (index !== null && index >= 0 && index < state.args.length) {
    state.next = index;
    state.afterIndex = true;
    return;
  }
  state.isGoodIndex = false;
  state.afterIndex = index !== null;
}

function readWidth(state: State): { readonly width: number | null; readonly minus: boolean } {
  if (state.format[state.at] === "*") {
    state.at++;
    const width = starOf(state);
    if (width === null) state.out += "%!(BADWIDTH)";
    state.afterIndex = false;
    return { width: width === null ? null : Math.abs(width), minus: width !== null && width < 0 };
  }
  const width = readNumber(state);
  if (state.afterIndex && width !== null) state.isGoodIndex = false;
  return { width, minus: false };
}

function readPrecision(state: State): number | null {
  if (state.format[state.at] !== "." || state.at + 1 >= state.format.length) return null;
  state.at++;
  if (state.afterIndex) state.isGoodIndex = false;
  readIndex(state);
  if (state.format[state.at] !== "*") return readNumber(state) ?? 0;
  state.at++;
  const precision = starOf(state);
  state.afterIndex = false;
  if (precision !== null && precision >= 0) return precision;
  state.out += "%!(BADPREC)";
  return null;
}

/** A width or a precision from the arguments. */
function starOf(state: State): number | null {
  const argument = state.args[state.next];
  if (argument === undefined) return null;
  state.next++;
  if (argument.type !== "int64") return null;
  const value = Number(argument.value);
  return Math.abs(value) > NUMBER_MAX ? null : value;
}

/** A number that is too long swallows the rest of the format. */
function readNumber(state: State): number | null {
  const digits = /^\d*/.exec(state.format.slice(state.at, state.at + 9))?.[0] ?? "";
  let value = 0;
  for (const digit of digits) {
    if (value > NUMBER_MAX) {
      state.at = state.format.length;
      return null;
    }
    value = value * 10 + Number(digit);
    state.at++;
  }
  return digits === "" ? null : value;
}
