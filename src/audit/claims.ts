/**
 * What has been said of a chain, by checkpoints beside it, by those kept elsewhere, and by what the next chain says it follows: so
 * many lines, this root. A checkpoint counts only if a known key signed it; where no key is known, each counts as what it is worth.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseNotes, signedBy } from "./checkpoint.ts";
import type { Checkpoint, Signed } from "./checkpoint.ts";
import { NOTES } from "./segments.ts";
import { listChains } from "./tree.ts";
import type { ChainFiles } from "./tree.ts";

export type Claim = {
  readonly size: number;
  readonly root: string;
  /** For people: which checkpoint says so. */
  readonly by: string;
  /** null where another chain's checkpoint says it. */
  readonly checkpoint: Checkpoint | null;
};
export type Claims = {
  readonly files: ChainFiles;
  /** By size. */
  readonly claims: readonly Claim[];
  /** The first line that is said to be kept. */
  readonly first: number;
  /** So many lines were here, by those beside it. */
  readonly here: number;
  /** A checkpoint that is none, by its file; null where there is none. */
  readonly forged: { readonly file: string; readonly size: number } | null;
};
export type OutsideNote = Signed & { readonly from: string };
export type ClaimOptions = {
  /** Keys that may have signed; null where none is known. */
  readonly pins: readonly string[] | null;
  readonly outside: readonly OutsideNote[];
  /** From whom they were gathered; null for a gateway's own. Where nobody says, checkpoints of either are taken. */
  readonly writer?: string | null;
};
type Said = { claims: Claim[]; first: number; here: number; forged: { file: string; size: number } | null };

/** Of every chain that is there or spoken of, oldest first; `torn`: files that hold something besides checkpoints. */
export async function collectClaims(
  directory: string,
  { pins, outside, writer }: ClaimOptions,
): Promise<{ readonly chains: readonly Claims[]; readonly torn: readonly string[] }> {
  const there = await listChains(directory);
  const torn: string[] = [];
  const said = new Map<string, Said>();
  const of = (chain: string): Said => {
    const known = said.get(chain) ?? { claims: [], first: 1, here: 0, forged: null };
    said.set(chain, known);
    return known;
  };
  const take = (signed: Signed, file: string, beside: boolean): void => {
    const { chain, range, root, time, previous, first } = signed.checkpoint;
    const own = of(fileName(chain, writer));
    if (pins !== null && signedBy(signed, pins) === null) {
      own.forged ??= { file, size: range.size };
      return;
    }
    own.claims.push({
      size: range.size,
      root,
      by: `the checkpoint of ${time} in ${file}`,
      checkpoint: signed.checkpoint,
    });
    own.first = Math.max(own.first, first);
    if (beside) own.here = Math.max(own.here, range.size);
    if (previous === null) return;
    const by = `the checkpoint of ${time} of the chain after it in ${file}`;
    of(previous.chain).claims.push({ size: previous.size, root: previous.root, by, checkpoint: null });
  };
  for (const { chain } of there) {
    const file = `${chain}${NOTES}`;
    const read = parseNotes(await readFile(join(directory, file), "utf8").catch(nothing));
    if (read.torn) torn.push(file);
    for (const signed of read.notes) take(signed, file, true);
  }
  for (const { from, ...signed } of outside) take(signed, from, false);
  const spoken = [...said.keys()].filter((chain) => !there.some((one) => one.chain === chain));
  const all = [...there, ...spoken.map((chain) => ({ chain, segments: [] }))];
  const chains = all.map((files) => {
    const { claims, ...rest } = of(files.chain);
    return { files, claims: claims.toSorted((a, b) => a.size - b.size), ...rest };
  });
  return { chains, torn };
}

/** The chain as its files are called: whoever gathers signs it with the writer's name, the writer itself without. */
function fileName(chain: string, writer: string | null | undefined): string {
  if (writer === undefined) return chain.slice(chain.lastIndexOf("/") + 1);
  return writer !== null && chain.startsWith(`${writer}/`) ? chain.slice(writer.length + 1) : chain;
}

/** Of a file that is not there; one that cannot be read is no empty one. */
function nothing(cause: NodeJS.ErrnoException): string {
  if (cause.code === "ENOENT") return "";
  throw cause;
}
