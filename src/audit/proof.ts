/**
 * That one record is in a trail of which a checkpoint is known: the record, and the hashes that lead from it to the checkpoint's
 * root. Written as C2SP's `tlog-proof`, with the record as its extra data. What surprises: the call's id holds its time, so that no chain
 * is read that began later.
 */
import { join } from "node:path";
import { parseNotes, signedBy } from "./checkpoint.ts";
import type { Checkpoint, Signed } from "./checkpoint.ts";
import { digestOf, linkOf } from "./link.ts";
import { linesFrom } from "./lines.ts";
import { createProver, emptyRange, leafOf, rootFrom } from "./merkle.ts";
import { listSegments } from "./segments.ts";
import type { SegmentName } from "./segments.ts";
import { readNotes } from "./tree.ts";

export type Proof = {
  /** The record, as it stands in the trail. */
  readonly line: string;
  /** Of its leaf, from 0: one less than its number. */
  readonly index: number;
  readonly path: readonly Buffer[];
  readonly signed: Signed;
};
export type ProofOptions = {
  readonly call: string;
  /** The record from before the call, or the one of how it ended. */
  readonly intent: boolean;
  /** Keys that may have signed; null where none is known. */
  readonly pins: readonly string[] | null;
  /** Checkpoints that were kept elsewhere, to prove it against; null for those beside the trail. */
  readonly outside: readonly Signed[] | null;
};
export type Unproven = "no record" | "no checkpoint" | "another trail";

type Found = { readonly segments: readonly SegmentName[]; readonly line: string; readonly sequence: number };

/** @throws Error if the directory cannot be read */
export async function proveCall(directory: string, options: ProofOptions): Promise<Proof | Unproven> {
  const found = await find(directory, options);
  if (found === null) return "no record";
  const chain = found.segments[0]?.chain ?? "";
  const beside = await readNotes(directory, chain);
  const known = (all: readonly Signed[]): readonly Signed[] =>
    all.filter(
      (one) => one.checkpoint.chain === chain && (options.pins === null || signedBy(one, options.pins) !== null),
    );
  const covering = known(options.outside ?? beside)
    .filter(({ checkpoint }) => checkpoint.range.size >= found.sequence)
    .toSorted((a, b) => a.checkpoint.range.size - b.checkpoint.range.size);
  // kept elsewhere, the newest is worth most; beside the trail, the first is found quickest
  const signed = options.outside === null ? covering[0] : covering.at(-1);
  if (signed === undefined) return "no checkpoint";
  const before = known(beside).findLast(({ checkpoint }) => checkpoint.range.size < found.sequence)?.checkpoint ?? null;
  const path = await pathOf(directory, found, { from: before, to: signed.checkpoint });
  const proof = { line: found.line, index: found.sequence - 1, path: path ?? [], signed };
  return path !== null && holds(proof) ? proof : "another trail";
}

/** Whether the record is where the checkpoint's root has it; the signature is another question. */
export function holds({ line, index, path, signed }: Proof): boolean {
  const { range, root } = signed.checkpoint;
  return rootFrom(leafOf(digestOf(line)), { index, size: range.size }, path)?.toString("base64") === root;
}

async function find(directory: string, { call, intent }: ProofOptions): Promise<Found | null> {
  const began = Number.parseInt(call.replaceAll("-", "").slice(0, 12), 16);
  const chains = Map.groupBy(await listSegments(directory), ({ chain }) => chain);
  const named = `"portcullis.call.id","value":{"stringValue":"${call}"}`;
  const before = `"portcullis.record","value":{"stringValue":"intent"}`;
  for (const segments of [...chains.values()].toReversed()) {
    if (Number.parseInt(segments[0]?.boot.slice(0, 12) ?? "", 16) > began) continue;
    for (const { file } of segments)
      for await (const { text } of linesFrom(join(directory, file), 0)) {
        if (!text.includes(named) || text.includes(before) !== intent) continue;
        const link = linkOf(Buffer.from(text, "latin1"));
        if (link !== null) return { segments, line: text, sequence: link.sequence };
      }
  }
  return null;
}

type Span = { readonly from: Checkpoint | null; readonly to: Checkpoint };

async function pathOf(
  directory: string,
  { segments, sequence }: Found,
  { from, to }: Span,
): Promise<readonly Buffer[] | null> {
  const prover = createProver(from?.range ?? emptyRange(), sequence - 1);
  const begun = segments.findIndex(({ file }) => file === from?.file);
  let left = to.range.size - (from?.range.size ?? 0);
  for (const { file } of segments.slice(Math.max(begun, 0)))
    for await (const { text } of linesFrom(join(directory, file), file === from?.file ? from.bytes : 0)) {
      if (left-- <= 0) return prover.path();
      prover.add(leafOf(digestOf(text)));
    }
  return prover.path();
}

const OPENING = "c2sp.org/tlog-proof@v1";

export function textOfProof({ line, index, path, signed }: Proof): string {
  const hashes = path.map((hash) => `${hash.toString("base64")}\n`).join("");
  return `${OPENING}\nextra ${Buffer.from(line, "latin1").toString("base64")}\nindex ${index}\n${hashes}\n${signed.note}`;
}

/** null for what is no proof of a record of ours. */
export function parseProof(text: string): Proof | null {
  const end = text.indexOf("\n\n");
  const [opening, extra = "", place = "", ...hashes] = text.slice(0, end).split("\n");
  const index = /^index (0|[1-9]\d{0,14})$/.exec(place)?.[1];
  const [signed] = parseNotes(text.slice(end + 2)).notes;
  if (end === -1 || opening !== OPENING || !extra.startsWith("extra ") || index === undefined || signed === undefined)
    return null;
  const line = Buffer.from(extra.slice("extra ".length), "base64").toString("latin1");
  return { line, index: Number(index), path: hashes.map((hash) => Buffer.from(hash, "base64")), signed };
}
