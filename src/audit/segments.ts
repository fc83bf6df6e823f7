/**
 * How the spool's files are named and found: `<writer>-<boot>-<n>.jsonl`. The boot begins with its time, so that names
 * sort by age; a chain is one writer's one boot, its segments numbered from 1 without a gap.
 */
import { readdir } from "node:fs/promises";

export type SegmentName = {
  readonly file: string;
  /** `<writer>-<boot>`. */
  readonly chain: string;
  readonly boot: string;
  readonly number: number;
};

/** A line is longer only if it is none of ours: every part of a record is bounded. */
export const LINE_BYTES_MAX = 256 * 1024;

export function segmentFile(writer: string, boot: string, number: number): string {
  return `${writer}-${boot}-${String(number).padStart(6, "0")}.jsonl`;
}

/** null for a file that is none of the spool's. */
export function parseSegment(file: string): SegmentName | null {
  const [, writer, boot, number] = /^([a-z0-9]{1,32})-([0-9a-f]{20})-(\d{6,9})\.jsonl$/.exec(file) ?? [];
  if (writer === undefined || boot === undefined || number === undefined) return null;
  return { file, chain: `${writer}-${boot}`, boot, number: Number(number) };
}

/** As checkpoints name a chain: with its writer where it was gathered. */
export function signedName(chain: string, writer: string | null): string {
  return writer === null ? chain : `${writer}/${chain}`;
}

/** Beside a chain's segments: what was signed of it (checkpoint.ts). */
export const NOTES = ".checkpoints";

/** The chain; null for a file that is none of a chain's checkpoints. */
export function parseNotesFile(file: string): string | null {
  return /^([a-z0-9]{1,32}-[0-9a-f]{20})\.checkpoints$/.exec(file)?.[1] ?? null;
}

/** Oldest boot first, each chain's segments in order. @throws Error if the directory cannot be read */
export async function listSegments(directory: string): Promise<readonly SegmentName[]> {
  const names = (await readdir(directory)).map(parseSegment).filter((name) => name !== null);
  return names.toSorted((a, b) => compare(a.boot, b.boot) || compare(a.chain, b.chain) || a.number - b.number);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Order of two segments of one directory, as `listSegments` gives them. */
export function isAfter(a: SegmentName, b: SegmentName): boolean {
  return (compare(a.boot, b.boot) || compare(a.chain, b.chain) || a.number - b.number) > 0;
}
