/**
 * RFC 6962's tree over the hashes of lines, and what proves that one is in it. What surprises: of all lines there ever
 * were, the roots of the largest whole subtrees are enough to go on from (a compact range), some twenty hashes for a
 * million lines. Inside, a hash is a string of 32 characters: to have it as a buffer takes three times as long to make.
 */
import { hash } from "node:crypto";

/** A character for each byte. */
type Hash = string;
/** Peaks from the largest subtree on; their number is that of the ones in `size`. */
export type Range = { size: number; peaks: Hash[] };

const HASH_BYTES = 32;

export function emptyRange(): Range {
  return { size: 0, peaks: [] };
}

/** Of a line whose SHA-256, in hex, is this. */
export function leafOf(digest: string): Hash {
  leafInput.write(digest, 1, "hex");
  return hash("sha256", leafInput, "binary");
}

export function append(range: Range, leaf: Hash): void {
  let node = leaf;
  for (let size = range.size; size % 2 === 1; size = (size - 1) / 2) node = nodeOf(range.peaks.pop() as Hash, node);
  range.peaks.push(node);
  range.size++;
}

export function rootOf({ peaks }: Range): Buffer {
  return peaks.length === 0 ? hash("sha256", "", "buffer") : bytesOf(joined(peaks));
}

function joined(peaks: readonly Hash[]): Hash {
  return peaks.slice(0, -1).reduceRight((right, left) => nodeOf(left, right), peaks.at(-1) as Hash);
}

export function peaksOf({ peaks }: Range): readonly Buffer[] {
  return peaks.map(bytesOf);
}

/** null where these cannot be the peaks of so many leaves. */
export function rangeOf(size: number, peaks: readonly Buffer[]): Range | null {
  const ones = size.toString(2).replaceAll("0", "").length;
  return peaks.length === ones && peaks.every((peak) => peak.length === HASH_BYTES)
    ? { size, peaks: peaks.map(hashOf) }
    : null;
}

export type Prover = {
  readonly add: (leaf: Hash) => void;
  /** The hashes from the leaf's sibling up to the root's child; null before the leaf was added. */
  readonly path: () => readonly Buffer[] | null;
};

/** Goes on from a range that ends before the leaf of this index, from 0. */
export function createProver({ size: from, peaks: before }: Range, index: number): Prover {
  let size = from;
  const peaks = [...before];
  const path: Hash[] = [];
  /** Which peak has the leaf under it. */
  let holder = -1;
  return {
    add: (leaf) => {
      let node = leaf;
      let holds = size === index;
      for (let rest = size; rest % 2 === 1; rest = (rest - 1) / 2) {
        const left = peaks.pop() as Hash;
        const leftHolds = holder === peaks.length;
        if (leftHolds || holds) path.push(leftHolds ? node : left);
        holds ||= leftHolds;
        node = nodeOf(left, node);
      }
      if (holds) holder = peaks.length;
      peaks.push(node);
      size++;
    },
    path: () => (holder === -1 ? null : [...path, ...upwards(peaks, holder)].map(bytesOf)),
  };
}

/** From a peak on: all peaks to its right are one sibling, each to its left is another. */
function upwards(peaks: readonly Hash[], holder: number): readonly Hash[] {
  const right = peaks.slice(holder + 1);
  const lefts = peaks.slice(0, holder).toReversed();
  return right.length === 0 ? lefts : [joined(right), ...lefts];
}

/** The root that the path leads to (RFC 9162, 2.1.3.2); null where it is none of a tree of that size. */
export function rootFrom(leaf: Hash, place: { index: number; size: number }, path: readonly Buffer[]): Buffer | null {
  let { index } = place;
  let last = place.size - 1;
  if (index < 0 || index > last) return null;
  let node = leaf;
  for (const bytes of path) {
    if (last === 0 || bytes.length !== HASH_BYTES) return null;
    const sibling = hashOf(bytes);
    if (index % 2 === 0 && index !== last) node = nodeOf(node, sibling);
    else {
      node = nodeOf(sibling, node);
      while (index % 2 === 0 && index !== 0) [index, last] = [half(index), half(last)];
    }
    [index, last] = [half(index), half(last)];
  }
  return last === 0 ? bytesOf(node) : null;
}

function half(value: number): number {
  return Math.floor(value / 2);
}

/** Zeros and ones keep a leaf from being taken for a node. */
const leafInput = Buffer.alloc(1 + HASH_BYTES);
const nodeInput = Buffer.alloc(1 + 2 * HASH_BYTES, 1);

function nodeOf(left: Hash, right: Hash): Hash {
  nodeInput.write(left, 1, "latin1");
  nodeInput.write(right, 1 + HASH_BYTES, "latin1");
  return hash("sha256", nodeInput, "binary");
}

function hashOf(bytes: Buffer): Hash {
  return bytes.toString("latin1");
}

function bytesOf(of: Hash): Buffer {
  return Buffer.from(of, "latin1");
}
