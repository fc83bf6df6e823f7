/** The tree is RFC 6962's, and a path through it proves its leaf and nothing else. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { append, createProver, emptyRange, leafOf, peaksOf, rangeOf, rootFrom, rootOf } from "../src/audit/merkle.ts";

const sha = (...parts: readonly Buffer[]) => createHash("sha256").update(Buffer.concat(parts)).digest();
const digest = (at: number) => sha(Buffer.from(`line ${at}`));
const range = (size: number) => {
  const grown = emptyRange();
  for (let at = 0; at < size; at++) append(grown, leafOf(digest(at).toString("hex")));
  return grown;
};

/** As the RFC writes it: MTH(D[n]). */
function mth(leaves: readonly Buffer[]): Buffer {
  if (leaves.length === 0) return sha();
  if (leaves.length === 1) return sha(Buffer.from([0]), leaves[0]!);
  const k = split(leaves.length);
  return sha(Buffer.from([1]), mth(leaves.slice(0, k)), mth(leaves.slice(k)));
}

/** And PATH(m, D[n]). */
function pathTo(m: number, leaves: readonly Buffer[]): readonly Buffer[] {
  if (leaves.length === 1) return [];
  const k = split(leaves.length);
  return m < k
    ? [...pathTo(m, leaves.slice(0, k)), mth(leaves.slice(k))]
    : [...pathTo(m - k, leaves.slice(k)), mth(leaves.slice(0, k))];
}

function split(size: number): number {
  let k = 1;
  while (k * 2 < size) k *= 2;
  return k;
}

const leavesOf = (size: number) => Array.from({ length: size }, (_, at) => digest(at));

test("the root of every size up to 130 is the RFC's", () => {
  for (let size = 0; size <= 130; size++) expect(rootOf(range(size))).toEqual(mth(leavesOf(size)));
});

test("its peaks are enough to go on from, and no others are taken for them", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: 50 }), (size, more) => {
      const kept = rangeOf(size, peaksOf(range(size)));
      for (let at = size; at < size + more; at++) append(kept!, leafOf(digest(at).toString("hex")));
      expect(rootOf(kept!)).toEqual(rootOf(range(size + more)));
      expect(rangeOf(size, [...peaksOf(range(size)), digest(0)])).toBeNull();
    }),
    { numRuns: 40 },
  );
});

test("every path is the RFC's, from whatever peaks it was begun, and leads to the root", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 200 }), fc.nat(), fc.nat(), (size, place, begun) => {
      const index = place % size;
      const from = begun % (index + 1);
      const prover = createProver(range(from), index);
      for (let at = from; at < size; at++) prover.add(leafOf(digest(at).toString("hex")));
      const path = prover.path()!;
      expect(path).toEqual(pathTo(index, leavesOf(size)));
      const leaf = leafOf(digest(index).toString("hex"));
      expect(rootFrom(leaf, { index, size }, path)).toEqual(rootOf(range(size)));
    }),
    { numRuns: 150 },
  );
});

test("no other leaf, place, size or path leads there", () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 100 }), fc.nat(), fc.nat(), (size, place, other) => {
      const index = place % size;
      const path = pathTo(index, leavesOf(size));
      const root = rootOf(range(size));
      const leaf = leafOf(digest(index).toString("hex"));
      const elsewhere = (index + 1 + (other % (size - 1))) % size;
      expect(rootFrom(leafOf(digest(elsewhere).toString("hex")), { index, size }, path)).not.toEqual(root);
      expect(rootFrom(leaf, { index: elsewhere, size }, path)).not.toEqual(root);
      expect(rootFrom(leaf, { index, size }, path.slice(1))).not.toEqual(root);
      expect(rootFrom(leaf, { index, size }, [...path, digest(0)])).toBeNull();
      expect(rootFrom(leaf, { index: size, size }, path)).toBeNull();
      const flipped = path.map((hash, at) => (at === other % path.length ? Buffer.from(hash).fill(0, 0, 1) : hash));
      if (!flipped.every((hash, at) => hash.equals(path[at]!)))
        expect(rootFrom(leaf, { index, size }, flipped)).not.toEqual(root);
    }),
    { numRuns: 100 },
  );
});
