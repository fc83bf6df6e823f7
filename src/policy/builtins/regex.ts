/**
 * regex.replace and regex.find_n in time linear in the text, by a port of RE2, the engine that Go has and that OPA's
 * module carries; never JavaScript's own, which a pattern or a text can keep busy for years. What surprises: many
 * matches in a long text are still quadratic, in Go as well, so the engine reads the text through a meter that cuts it
 * off when the evaluation's steps are spent.
 */
import { MatcherInput, RE2JS } from "re2js";
import { type Builtins, type Context, int64At, stringAt, UNFIT } from "./operand.ts";

export const regex: Builtins = {
  "regex.replace": (operands, context) => {
    const [text, pattern, template] = [stringAt(operands, 0), stringAt(operands, 1), stringAt(operands, 2)];
    let [out, from] = ["", 0];
    for (const match of matches(compiled(pattern, context), text, context)) {
      const more = text.slice(from, match.spans[0]) + expanded(template, text, { ...match, ...context });
      context.charge(template.length + (more.length >> 2));
      out += more;
      from = match.spans[1] as number;
    }
    return out + text.slice(from);
  },
  "regex.find_n": (operands, context) => {
    const [pattern, text] = [stringAt(operands, 0), stringAt(operands, 1)];
    const most = int64At(operands, 2);
    const found: string[] = [];
    if (most === 0n) return compiled(pattern, context) && found;
    for (const { spans } of matches(compiled(pattern, context), text, context)) {
      found.push(text.slice(spans[0], spans[1]));
      if (BigInt(found.length) === most) break;
    }
    return found;
  },
};

const CACHE_MAX = 256;
const cache = new Map<string, RE2JS>();
/** Steps for each instruction that a pattern may compile to: kept or not, it costs the same, so that a replay does too. */
const STEPS_PER_INSTRUCTION = 8;

function compiled(pattern: string, { charge }: Context): RE2JS {
  charge(sizeOf(pattern) * STEPS_PER_INSTRUCTION);
  const known = cache.get(pattern);
  if (known !== undefined) return known;
  const fresh = compile(pattern);
  if (cache.size >= CACHE_MAX) cache.clear();
  cache.set(pattern, fresh);
  return fresh;
}

function compile(pattern: string): RE2JS {
  try {
    return RE2JS.compile(pattern);
  } catch {
    throw UNFIT;
  }
}

/** Atoms, those in repeated groups as often as they are repeated: about the size of the program. */
function sizeOf(pattern: string): number {
  const open: { sum: number; last: number }[] = [{ sum: 0, last: 0 }];
  for (const [token] of pattern.matchAll(/\\[^]|\[\^?\]?(?:\\[^]|[^\]\\])*\]|\{\d+(?:,\d*)?\}|[^]/g)) {
    const here = open.at(-1) as { sum: number; last: number };
    if (token === "(") open.push({ sum: 2, last: 0 });
    else if (token === ")" && open.length > 1) add(open.at(-2) as typeof here, open.pop()?.sum ?? 0);
    else if (token.length > 2 && token.startsWith("{"))
      repeat(here, Math.max(...token.slice(1, -1).split(",").map(Number)));
    else add(here, 1 + CLASS_SIZE * (token.match(/\\p/gi)?.length ?? 0));
  }
  return open.reduce((total, { sum }) => total + sum, 0);
}

/** A class of Unicode has hundreds of ranges, and twice as many where case does not count. */
const CLASS_SIZE = 384;

function add(to: { sum: number; last: number }, size: number): void {
  to.sum += size;
  to.last = size;
}

function repeat(here: { sum: number; last: number }, times: number): void {
  const more = here.last * Math.min(Math.max(times, 1), 1000);
  here.sum += more - here.last;
  here.last = more;
}

/** Starts and ends of the whole and of each group; -1 where a group took no part. */
type Match = { readonly spans: readonly number[]; readonly names: { readonly [name: string]: number } };

/** As Go goes through a text: none that is empty right behind another. */
function* matches(pattern: RE2JS, text: string, context: Context): Generator<Match> {
  const re2 = pattern.re2();
  const groups = 1 + pattern.groupCount();
  const input = MatcherInput.utf16(metered(text, pattern.programSize(), context));
  let previousEnd = -1;
  for (let at = 0; at <= text.length;) {
    const [isFound, spans] = re2.matchMachineInput(input, at, text.length, UNANCHORED, groups) as unknown as Found;
    if (!isFound) return;
    const [start = 0, end = 0] = spans;
    const isAccepted = end !== at || start !== previousEnd;
    at = end === at ? at + ((text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1) : end;
    previousEnd = end;
    if (isAccepted) yield { spans, names: re2.namedGroups };
  }
}
type Found = readonly [boolean, readonly number[]];
const UNANCHORED = 0;

/** A text of which each character that is read costs: for each instruction that it may have to be shown to, two steps. */
function metered(text: string, instructions: number, { charge }: Context): object {
  const steps = 4 + instructions * 2;
  return {
    // what RE2JS knows a string by
    [Symbol.toStringTag]: "String",
    length: text.length,
    charCodeAt: (at: number) => {
      charge(steps);
      return text.charCodeAt(at);
    },
    indexOf: (part: string, from: number) => {
      const found = text.indexOf(part, from);
      charge(((found === -1 ? text.length : found) - from) >> 4);
      return found;
    },
    toString: () => text,
  };
}

/** Go's Expand: `$1`, `$name`, `${name}`, `$$`; a group that is not there, or took no part, is empty. */
function expanded(template: string, text: string, { spans, names, charge }: Match & Context): string {
  return template.replaceAll(/\$(?:(\$)|([\p{L}\p{Nd}_]+)|\{([\p{L}\p{Nd}_]+)\})/gu, (_, dollar, bare, braced) => {
    if (dollar !== undefined) return "$";
    const name = (bare ?? braced) as string;
    const isNumber = /^(?:0|[1-9][0-9]{0,7})$/.test(name);
    const group = isNumber ? Number(name) : Object.hasOwn(names, name) ? (names[name] as number) : -1;
    const [start = -1, end = -1] = group < 0 ? [] : spans.slice(2 * group, 2 * group + 2);
    charge(1 + ((end - start) >> 3));
    return start < 0 ? "" : text.slice(start, end);
  });
}
