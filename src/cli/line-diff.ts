/** Which lines changed between two texts? As `diff -u` shows it, three lines around each change. */
const AROUND = 3;
/** Beyond so many lines in the middle, all of them count as changed: the table would be too large. */
const LINES_MAX = 2_000;

type Line = { readonly mark: " " | "-" | "+"; readonly text: string };

/** Each line with its mark; `@@` between places that are apart. Null is a file that is not there. */
export function lineDiff(before: string | null, after: string | null): readonly string[] {
  const lines = marked(linesOf(before), linesOf(after));
  const near = lines.map((_, at) => lines.slice(Math.max(0, at - AROUND), at + AROUND + 1).some(isChange));
  return lines.flatMap((line, at) => {
    if (near[at] !== true) return [];
    const apart = at > 0 && near[at - 1] !== true;
    return [...(apart ? ["@@"] : []), `${line.mark}${line.text}`];
  });
}

function isChange({ mark }: Line): boolean {
  return mark !== " ";
}

function linesOf(text: string | null): readonly string[] {
  return text === null ? [] : text.replace(/\n$/, "").split("\n");
}

function marked(before: readonly string[], after: readonly string[]): readonly Line[] {
  let head = 0;
  while (head < before.length && head < after.length && before[head] === after[head]) head++;
  let tail = 0;
  while (tail < Math.min(before.length, after.length) - head && before.at(-1 - tail) === after.at(-1 - tail)) tail++;
  const same = (texts: readonly string[]): readonly Line[] => texts.map((text) => ({ mark: " ", text }));
  const [old, now] = [before.slice(head, before.length - tail), after.slice(head, after.length - tail)];
  return [...same(before.slice(0, head)), ...middle(old, now), ...same(before.slice(before.length - tail))];
}

/** By the longest common subsequence. */
function middle(before: readonly string[], after: readonly string[]): readonly Line[] {
  const out = (mark: Line["mark"], texts: readonly string[]): readonly Line[] => texts.map((text) => ({ mark, text }));
  if (Math.max(before.length, after.length) > LINES_MAX) return [...out("-", before), ...out("+", after)];
  const width = after.length + 1;
  const common = new Uint16Array((before.length + 1) * width);
  const at = (row: number, column: number): number => common[row * width + column] ?? 0;
  for (let row = before.length - 1; row >= 0; row--)
    for (let column = after.length - 1; column >= 0; column--)
      common[row * width + column] =
        before[row] === after[column]
          ? at(row + 1, column + 1) + 1
          : Math.max(at(row + 1, column), at(row, column + 1));
  const lines: Line[] = [];
  let [row, column] = [0, 0];
  while (row < before.length && column < after.length) {
    if (before[row] === after[column]) {
      lines.push({ mark: " ", text: before[row] ?? "" });
      row++;
      column++;
    } else if (at(row + 1, column) >= at(row, column + 1)) lines.push({ mark: "-", text: before[row++] ?? "" });
    else lines.push({ mark: "+", text: after[column++] ?? "" });
  }
  return [...lines, ...out("-", before.slice(row)), ...out("+", after.slice(column))];
}
