/**
 * Where do any of these words stand in a text? A small search is a plain one, a larger one is an automaton's. What
 * surprises: each place of each word is found, also where two overlap; and how large a search is, is how long it takes
 * if it goes as badly as it can, for whoever writes the text may have written the words as well.
 */
import { automatonOf, searchBy } from "./automaton.ts";
import { joined, type Spans } from "./spans.ts";

/** @throws Refusal forbidden with reason `redact_too_large`, where to find out would take too long */
export type WordSearch = (text: string) => Spans;

/** Of plain search, in comparisons of characters: some milliseconds, in all the texts of an answer. */
const PLAIN_STEPS_MAX = 4_000_000;
/** What a search costs in a text of no length, in the same. */
const PLAIN_STEPS_MIN = 32;

/** `words`: each once, none empty. */
export function wordSearch(words: readonly string[]): WordSearch {
  let stepsLeft = PLAIN_STEPS_MAX;
  let automaton: WordSearch | null = null;
  return (text) => {
    if (automaton !== null) return automaton(text);
    const characters = words.reduce((sum, { length }) => sum + (length > text.length ? 1 : length), 0);
    stepsLeft -= (text.length + PLAIN_STEPS_MIN) * characters;
    if (stepsLeft >= 0) return plainly(words, text);
    automaton = searchBy(automatonOf(words.toSorted()));
    return automaton(text);
  };
}

function plainly(words: readonly string[], text: string): Spans {
  const found: number[] = [];
  for (const word of words)
    for (let at = text.indexOf(word); at !== -1; at = text.indexOf(word, at + 1)) found.push(at, at + word.length);
  return joined(found);
}
