/** The Merkle tree of a chain as far as its lines are on disk: grown from its last checkpoint on, or from its first line. */
import { createReadStream } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ORIGIN, parseNotes } from "./checkpoint.ts";
import type { Checkpoint, Signed } from "./checkpoint.ts";
import { GENESIS, digestOf, linkOf } from "./link.ts";
import type { Head } from "./link.ts";
import { linesBackwards, linesFrom } from "./lines.ts";
import { append, emptyRange, leafOf } from "./merkle.ts";
import type { Range } from "./merkle.ts";
import { NOTES, listSegments, parseNotesFile, parseSegment } from "./segments.ts";
import type { SegmentName } from "./segments.ts";

export type Tree = {
  readonly chain: string;
  readonly range: Range;
  /** The last line, where it stands, and where it ends. */
  head: Head;
  file: string;
  bytes: number;
};
/** The files of one chain, oldest chain first. */
export type ChainFiles = { readonly chain: string; readonly segments: readonly SegmentName[] };

export function emptyTree(chain: string): Tree {
  return { chain, range: emptyRange(), head: GENESIS, file: "", bytes: 0 };
}

/** Also of chains of which nothing but checkpoints is left. @throws Error if the directory cannot be read */
export async function listChains(directory: string): Promise<readonly ChainFiles[]> {
  const segments = Map.groupBy(await listSegments(directory), ({ chain }) => chain);
  const noted = (await readdir(directory)).map(parseNotesFile).filter((name) => name !== null);
  const boots = new Map([...segments.keys(), ...noted].map((chain) => [chain, chain.slice(chain.lastIndexOf("-"))]));
  return [...boots]
    .toSorted(([a, bootA], [b, bootB]) => (bootA < bootB ? -1 : bootA > bootB ? 1 : a < b ? -1 : 1))
    .map(([chain]) => ({ chain, segments: segments.get(chain) ?? [] }));
}

/** Reads what lines follow the checkpoint, as far as they are linked; null where the first ones are gone. */
export async function growTree(directory: string, files: ChainFiles, from: Checkpoint | null): Promise<Tree | null> {
  if (from === null && files.segments[0]?.number !== 1) return null;
  const tree = from === null ? emptyTree(files.chain) : treeAt(from);
  const begun = parseSegment(tree.file)?.number ?? 1;
  for (const { file } of files.segments.filter(({ number }) => number >= begun)) {
    const at = file === tree.file ? tree.bytes : 0;
    for await (const { text, end } of linesFrom(join(directory, file), at)) {
      const link = linkOf(Buffer.from(text, "latin1"));
      if (link?.sequence !== tree.head.sequence + 1 || link.previous !== tree.head.hash) return tree;
      const hash = digestOf(text);
      append(tree.range, leafOf(hash));
      Object.assign(tree, { head: { sequence: link.sequence, hash }, file, bytes: end });
    }
  }
  return tree;
}

/** As it was when that was signed. */
export function treeAt({ chain, range, head, file, bytes }: Checkpoint): Tree {
  const { size, peaks } = range;
  return { chain, range: { size, peaks: [...peaks] }, head: { sequence: size, hash: head }, file, bytes };
}

/**
 * What the chain's own file of checkpoints holds, of these segments alone where some are named; nothing where there is none.
 * Read a note at a time: it grows for as long as the chain does.
 */
export async function readNotes(
  directory: string,
  chain: string,
  segments?: ReadonlySet<string>,
): Promise<readonly Signed[]> {
  const found: Signed[] = [];
  for await (const note of notesIn(join(directory, `${chain}${NOTES}`))) {
    const [, file = ""] = /^file (\S+)/m.exec(note) ?? [];
    if (segments === undefined || segments.has(file)) found.push(...parseNotes(note).notes);
  }
  return found.filter(({ checkpoint }) => checkpoint.chain === chain);
}

/** The last that is right, read from the end: a start must not wait for all that a year has signed. */
export async function lastNote(
  directory: string,
  chain: string,
  isRight: (note: Signed) => boolean,
): Promise<Checkpoint | null> {
  const lines: string[] = [];
  try {
    for await (const group of linesBackwards(join(directory, `${chain}${NOTES}`), Number.MAX_SAFE_INTEGER))
      for (const { text } of group) {
        lines.push(Buffer.from(text, "latin1").toString("utf8"));
        if (!text.startsWith(ORIGIN)) continue;
        const [note] = parseNotes(`${lines.splice(0).toReversed().join("\n")}\n`).notes;
        if (note !== undefined && isRight(note)) return note.checkpoint;
      }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw cause;
  }
  return null;
}

/** The text of one after the other, each from its first line to its signature. */
async function* notesIn(path: string): AsyncGenerator<string, void> {
  let lines: string[] = [];
  try {
    for await (const line of createInterface({ input: createReadStream(path, "utf8"), crlfDelay: Infinity })) {
      if (line.startsWith(ORIGIN)) lines = [];
      lines.push(line);
      if (!line.startsWith("\u2014 ")) continue;
      yield `${lines.join("\n")}\n`;
      lines = [];
    }
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw cause;
  }
}
