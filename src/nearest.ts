/** Which known word was probably meant? For keys of the file, commands and options: a typo is answered with a suggestion. */

/** The closest of `words`, ignoring case; undefined when none is close enough to be a typo of it. */
export function nearest(word: string, words: Iterable<string>): string | undefined {
  const short = word.slice(0, 64).toLowerCase();
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(short.length / 3)) + 1;
  for (const candidate of words) {
    const distance = editDistance(short, candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** As it ends the sentence that says what is not there. */
export function hint(word: string, words: Iterable<string>): string {
  const guess = nearest(word, words);
  return guess === undefined ? "" : `; did you mean ${guess}?`;
}

/** Optimal string alignment: a swap of two neighbours, the commonest slip, costs one. */
function editDistance(from: string, to: string): number {
  let before: number[] = [];
  let above = Array.from({ length: to.length + 1 }, (_, column) => column);
  for (let row = 1; row <= from.length; row++) {
    const here = [row];
    for (let column = 1; column <= to.length; column++) {
      const same = from[row - 1] === to[column - 1];
      let cost = Math.min(
        (above[column] ?? 0) + 1,
        (here[column - 1] ?? 0) + 1,
        (above[column - 1] ?? 0) + (same ? 0 : 1),
      );
      const swapped = row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      if (swapped) cost = Math.min(cost, (before[column - 2] ?? 0) + 1);
      here.push(cost);
    }
    [before, above] = [above, here];
  }
  return above[to.length] ?? 0;
}
