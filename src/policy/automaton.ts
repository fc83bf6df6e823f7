/**
 * The automaton of Aho and Corasick: finds each of many words in a text, and reads each character once, however many the
 * words are and however alike. What surprises: of words that are too long together it knows no more than so much of their
 * beginnings as has room; wherever such a one stands, what follows is compared, as often as the budget of an answer lets it.
 */
import { Refusal } from "../refusal.ts";
import { join, type Spans } from "./spans.ts";

/** More would take too long to build. */
const NODES_MAX = 200_000;
/** Of comparing, in all the texts of an answer. */
const COMPARED_STEPS_MAX = 8_000_000;

export function tooMuchToHide(): Refusal {
  return new Refusal("forbidden", "The result holds more to hide than can be looked for.", {
    reasons: ["redact_too_large"],
  });
}

/** Nodes in the order of their depth; the children of one stand together, in the order of their units. */
export type Automaton = {
  /** In the order of their units: those that begin alike stand together. */
  readonly words: readonly string[];
  readonly children: Int32Array;
  readonly units: Uint16Array;
  /** The longest other beginning of a word that the node's own text ends with. */
  readonly falls: Int32Array;
  /** The length of the longest word that it ends with. */
  readonly longest: Int32Array;
  /** Words that begin as it reads: from, to. */
  readonly from: Int32Array;
  readonly to: Int32Array;
  /** Children of the root, by their unit. */
  readonly roots: Int32Array;
  /** The first node whose words may go on beyond it, and the depth of all such. */
  edge: number;
  depth: number;
};

/** `words`: at most 50,000, each once, none empty. */
export function automatonOf(words: readonly string[]): Automaton {
  const units = words.reduce((sum, { length }) => sum + length, 0);
  const size = 2 + Math.min(NODES_MAX, units);
  const numbers = (): Int32Array => new Int32Array(size);
  const automaton: Automaton = {
    ...{ words, children: numbers(), units: new Uint16Array(size), falls: numbers(), longest: numbers() },
    ...{ from: numbers(), to: numbers(), roots: new Int32Array(UNITS), edge: 0, depth: 0 },
  };
  automaton.to[0] = words.length;
  let [node, count] = [0, 1];
  // as many levels as are sure to have room
  while (node < count && count + words.length < NODES_MAX) {
    for (const end = count; node < end; node++) count = addChildren(automaton, node, count);
    automaton.depth++;
  }
  automaton.edge = node;
  return automaton;
}
const UNITS = 65_536;

/** Returns how many nodes there are then. */
function addChildren(automaton: Automaton, node: number, count: number): number {
  const { words, children, units, falls, longest, from, to, roots, depth } = automaton;
  const end = to[node] ?? 0;
  let at = from[node] ?? 0;
  if (words[at]?.length === depth) at++;
  let next = count;
  for (; at < end; next++) {
    const unit = words[at]?.charCodeAt(depth) ?? 0;
    const fall = depth === 0 ? 0 : stepFrom(automaton, falls[node] ?? 0, unit);
    units[next] = unit;
    falls[next] = fall;
    longest[next] = words[at]?.length === depth + 1 ? depth + 1 : (longest[fall] ?? 0);
    from[next] = at;
    while (at < end && words[at]?.charCodeAt(depth) === unit) at++;
    to[next] = at;
    if (depth === 0) roots[unit] = next;
  }
  children[node] = count;
  children[node + 1] = next;
  return next;
}

/** The node that one more unit leads to, by way of what each falls to where it leads nowhere. */
function stepFrom(automaton: Automaton, start: number, unit: number): number {
  const { children, units, falls, roots } = automaton;
  for (let node = start; node !== 0; node = falls[node] ?? 0) {
    let low = children[node] ?? 0;
    let high = (children[node + 1] ?? 0) - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((units[middle] ?? 0) < unit) low = middle + 1;
      else high = middle;
    }
    if (low === high && units[low] === unit) return low;
  }
  return roots[unit] ?? 0;
}

/** @throws Refusal forbidden with reason `redact_too_large`, where to compare would take too long */
export function searchBy(automaton: Automaton): (text: string) => Spans {
  const walk: Walk = { automaton, units: new Uint16Array(BLOCK), node: 0, stepsLeft: COMPARED_STEPS_MAX };
  const bytes = Buffer.from(walk.units.buffer);
  return (text) => {
    const spans: number[] = [];
    walk.node = 0;
    // from an array of units they are read several times faster than from a text
    for (let start = 0; start < text.length; start += BLOCK) {
      bytes.write(text.slice(start, start + BLOCK), "utf16le");
      readBlock(walk, text, start, spans);
    }
    return spans;
  };
}
const BLOCK = 16_384;
type Walk = { readonly automaton: Automaton; readonly units: Uint16Array; node: number; stepsLeft: number };

function readBlock(walk: Walk, text: string, start: number, spans: number[]): void {
  const { automaton, units } = walk;
  const { longest, roots, edge, depth } = automaton;
  const end = Math.min(BLOCK, text.length - start);
  let { node } = walk;
  for (let at = 0; at < end; at++) {
    if (node === 0) while (at < end && roots[units[at] ?? 0] === 0) at++;
    if (at === end) break;
    node = stepFrom(automaton, node, units[at] ?? 0);
    const length = longest[node] ?? 0;
    const to = start + at + 1;
    if (length > 0) join(spans, to - length, to);
    if (node < edge) continue;
    const more = longestOf(walk, node, text, to - depth);
    if (more > 0) join(spans, to - depth, to - depth + more);
  }
  walk.node = node;
}

/** The length of the longest word that stands at a place where one that begins as the node reads does; 0 for none. */
function longestOf(walk: Walk, node: number, text: string, place: number): number {
  const { words, from, to, depth } = walk.automaton;
  let [low, high] = [from[node] ?? 0, to[node] ?? 0];
  let found = 0;
  for (let length = depth; low < high; length++) {
    const word = words[low] ?? "";
    if (high - low === 1) return isAt(walk, word, text, place) ? word.length : found;
    spend(walk, CHOICE_STEPS);
    if (word.length === length) {
      found = length;
      low++;
    }
    const unit = text.charCodeAt(place + length);
    low = firstFrom(words, [low, high], length, unit);
    high = firstFrom(words, [low, high], length, unit + 1);
  }
  return found;
}

function isAt(walk: Walk, word: string, text: string, place: number): boolean {
  spend(walk, 1 + word.length / WHOLE);
  return text.slice(place, place + word.length) === word;
}

function spend(walk: Walk, steps: number): void {
  walk.stepsLeft -= steps;
  if (walk.stepsLeft < 0) throw tooMuchToHide();
}
/** To look for a word among many. */
const CHOICE_STEPS = 8;
/** Characters that are compared in one step, where all of a word is. */
const WHOLE = 32;

/** Of a range of words that are alike up to a place, the first with this unit or a later one there. */
function firstFrom(words: readonly string[], range: readonly [number, number], place: number, unit: number): number {
  let [low, high] = range;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((words[middle]?.charCodeAt(place) ?? 0) < unit) low = middle + 1;
    else high = middle;
  }
  return low;
}
