/**
 * Which parts of a text? Places are found in any order and by several searches; here they are put in order and made one
 * where they overlap. What surprises: a list of them is flat, for there may be millions.
 */

/** From, to, from, to …; from `joined`, in their order and apart from one another. */
export type Spans = readonly number[];

/** In their order, overlapping ones as one; those that only touch stay two. */
export function joined(found: Spans): Spans {
  if (isInOrder(found)) return found;
  const spans: number[] = [];
  const pairs = Array.from({ length: found.length / 2 }, (_, at) => found.slice(2 * at, 2 * at + 2));
  for (const [from = 0, to = 0] of pairs.toSorted(([one = 0], [other = 0]) => one - other)) join(spans, from, to);
  return spans;
}

/** Adds one that begins or ends behind all that are there. */
export function join(spans: number[], from: number, to: number): void {
  let [start, end] = [from, to];
  while (spans.length > 0 && (spans.at(-1) ?? 0) > start) {
    end = Math.max(end, spans.pop() ?? 0);
    start = Math.min(start, spans.pop() ?? 0);
  }
  spans.push(start, end);
}

function isInOrder(found: Spans): boolean {
  for (let at = 1; at < found.length; at++) if ((found[at] ?? 0) < (found[at - 1] ?? 0)) return false;
  return true;
}
