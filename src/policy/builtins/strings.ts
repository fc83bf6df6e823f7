/** OPA's strings.* that its module lacks, and indexof_n. Positions count characters, not UTF-16 units. */
import { type Builtins, type Context, int64At, stringAt, stringsOf, unfit } from "./operand.ts";
import { charactersOf, num, type Term } from "./term.ts";

export const strings: Builtins = {
  "strings.any_prefix_match": (operands, { charge }) => {
    const [texts, prefixes] = [someStrings(operands, 0), someStrings(operands, 1)];
    charge(texts.length * prefixes.length);
    return texts.some((text) => prefixes.some((prefix) => text.startsWith(prefix)));
  },
  "strings.any_suffix_match": (operands, { charge }) => {
    const [texts, suffixes] = [someStrings(operands, 0), someStrings(operands, 1)];
    charge(texts.length * suffixes.length);
    return texts.some((text) => suffixes.some((suffix) => text.endsWith(suffix)));
  },
  "strings.count": (operands) => {
    const [text, part] = [stringAt(operands, 0), stringAt(operands, 1)];
    return num(part === "" ? charactersOf(text).length + 1 : text.split(part).length - 1);
  },
  "strings.split_n": (operands) => {
    const [text, by] = [stringAt(operands, 0), stringAt(operands, 1)];
    const count = int64At(operands, 2);
    const parts = by === "" ? charactersOf(text) : text.split(by);
    if (count < 0n) return parts.slice(count < -BigInt(parts.length) ? 0 : Number(count));
    return parts.slice(0, count > BigInt(parts.length) ? parts.length : Number(count));
  },
  indexof_n: (operands, context) => {
    const [text, part] = [stringAt(operands, 0), stringAt(operands, 1)];
    return part === "" ? unfit() : positions(text, part, context).map((at) => num(at));
  },
};

function someStrings(operands: readonly Term[], at: number): readonly string[] {
  const operand = operands[at] as Term;
  return typeof operand === "string" ? [operand] : stringsOf(operand);
}

/** They may overlap. */
function positions(text: string, part: string, { charge }: Context): readonly number[] {
  const found: number[] = [];
  let characters = 0;
  let counted = 0;
  for (let at = text.indexOf(part); at !== -1; at = text.indexOf(part, at + 1)) {
    for (; counted < at; characters++) counted += (text.codePointAt(counted) as number) > 0xffff ? 2 : 1;
    found.push(characters);
    // each is looked for anew, to its end
    charge(part.length >> 5);
  }
  return found;
}
