/**
 * What a writer signs of its chain: so many lines, and the Merkle root over their hashes. C2SP's `tlog-checkpoint` in a signed
 * note, each chain being a log of its own. What surprises: extension lines hold all that is needed to go on from there after a
 * restart, and to check what is left when older files are gone; the peaks among them prove themselves, being what the root is made of.
 */
import { hash, sign, verify } from "node:crypto";
import { privateKey, publicBytes, publicKey, pinOf } from "../ed25519.ts";
import type { SigningKey } from "../ed25519.ts";
import { peaksOf, rangeOf, rootOf } from "./merkle.ts";
import type { Range } from "./merkle.ts";

export type Checkpoint = {
  readonly chain: string;
  readonly range: Range;
  /** Base64, as it is written. */
  readonly root: string;
  /** RFC 3339. */
  readonly time: string;
  /** SHA-256, in hex, of the last line. */
  readonly head: string;
  /** Where the last line stands, and where it ends. */
  readonly file: string;
  readonly bytes: number;
  /** How the writer's chain before this one ended, as it was found. */
  readonly previous: Ended | null;
  /** The first line that was not removed for its age. */
  readonly first: number;
};
export type Ended = { readonly chain: string; readonly size: number; readonly root: string };

/** One that was read: `note` is all its bytes. */
export type Signed = { readonly checkpoint: Checkpoint; readonly note: string };

export const ORIGIN = "portcullis/";

export function textOf({ chain, range, root, ...rest }: Checkpoint): string {
  const { previous: before } = rest;
  return [
    `${ORIGIN}${chain}`,
    range.size,
    root,
    `time ${rest.time}`,
    `head ${rest.head}`,
    `file ${rest.file} ${rest.bytes}`,
    `peaks ${peaksOf(range)
      .map((peak) => peak.toString("base64"))
      .join(" ")}`,
    ...(before === null ? [] : [`previous ${before.chain} ${before.size} ${before.root}`]),
    ...(rest.first === 1 ? [] : [`first ${rest.first}`]),
    "",
  ].join("\n");
}

/** The note: text, an empty line, one signature line. */
export function signCheckpoint(checkpoint: Checkpoint, key: SigningKey): string {
  const text = textOf(checkpoint);
  const name = ORIGIN + checkpoint.chain;
  const signature = sign(null, Buffer.from(text), privateKey(key.key));
  return `${text}\n— ${name} ${Buffer.concat([keyHash(name, pinOf(key)), signature]).toString("base64")}\n`;
}

/** The pin of the key that signed it; null where none of these did. */
export function signedBy({ checkpoint, note }: Signed, pins: readonly string[]): string | null {
  const name = ORIGIN + checkpoint.chain;
  const [text = "", signatures = ""] = note.split("\n\n");
  for (const line of signatures.split("\n")) {
    if (!line.startsWith(`— ${name} `)) continue;
    const bytes = Buffer.from(line.slice(`— ${name} `.length), "base64");
    for (const pin of pins) {
      if (!bytes.subarray(0, KEY_HASH_BYTES).equals(keyHash(name, pin))) continue;
      if (verify(null, Buffer.from(`${text}\n`), publicKey(pin), bytes.subarray(KEY_HASH_BYTES))) return pin;
    }
  }
  return null;
}

const KEY_HASH_BYTES = 4;
const SIGNATURE_BYTES = 64;
const ED25519 = 1;

/** As a signed note names a key: by its bytes and under which name it signs. */
function keyHash(name: string, pin: string): Buffer {
  const of = Buffer.concat([Buffer.from(`${name}\n`), Buffer.from([ED25519]), publicBytes(pin)]);
  return hash("sha256", of, "buffer").subarray(0, KEY_HASH_BYTES);
}

/** All that a file of notes holds, in order; `torn`: something in it is no whole note. */
export function parseNotes(content: string): { readonly notes: readonly Signed[]; readonly torn: boolean } {
  const notes: Signed[] = [];
  let torn = false;
  let text = "";
  for (const block of content.split(/\n{2,}/)) {
    // a text may follow the signatures before it without an empty line
    const [signatures, rest] = partsOf(block);
    const checkpoint = isWhole(signatures) ? parseText(`${text}\n`) : null;
    if (checkpoint !== null) notes.push({ checkpoint, note: `${text}\n\n${signatures}` });
    torn ||= text !== "" && checkpoint === null;
    text = rest;
  }
  return { notes, torn: torn || text.trim() !== "" };
}

/** A crash may have cut it short within the signature. */
function isWhole(signatures: string): boolean {
  return signatures
    .split("\n")
    .some((line) => Buffer.from(line.split(" ")[2] ?? "", "base64").length === KEY_HASH_BYTES + SIGNATURE_BYTES);
}

function partsOf(block: string): readonly [signatures: string, rest: string] {
  const lines = block.split("\n").filter((line) => line !== "");
  const end = lines.findIndex((line) => !line.startsWith("— "));
  const signatures = end === -1 ? lines : lines.slice(0, end);
  return [signatures.map((line) => `${line}\n`).join(""), end === -1 ? "" : lines.slice(end).join("\n")];
}

const SIZE = /^(0|[1-9]\d{0,14})$/;
const FILE = /^([\w-]{1,80}\.jsonl) (0|[1-9]\d{0,14})$/;
const PREVIOUS = /^([a-z0-9-]{1,60}) ([1-9]\d{0,14}) ([A-Za-z0-9+/]{43}=)$/;

/** null for what is none of ours, or contradicts itself. */
function parseText(text: string): Checkpoint | null {
  const [origin = "", size = "", root = "", ...extensions] = text.split("\n").slice(0, -1);
  if (!origin.startsWith(ORIGIN) || !SIZE.test(size)) return null;
  const said = new Map(extensions.map((line) => [line.split(" ", 1)[0] ?? "", line.slice(line.indexOf(" ") + 1)]));
  const peaks = (said.get("peaks") ?? "").split(" ").filter((peak) => peak !== "");
  const range = rangeOf(
    Number(size),
    peaks.map((peak) => Buffer.from(peak, "base64")),
  );
  if (range === null || rootOf(range).toString("base64") !== root) return null;
  const [, file = "", bytes = "0"] = FILE.exec(said.get("file") ?? "") ?? [];
  const [, chain, ended, endedRoot] = PREVIOUS.exec(said.get("previous") ?? "") ?? [];
  return {
    chain: origin.slice(ORIGIN.length),
    range,
    root,
    time: said.get("time") ?? "",
    head: said.get("head") ?? "",
    file,
    bytes: Number(bytes),
    previous: chain === undefined ? null : { chain, size: Number(ended), root: endedRoot ?? "" },
    first: Number(said.get("first") ?? 1),
  };
}
