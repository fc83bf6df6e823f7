/** What links one line to the next: the end of every line, as it is written and as it is read back. */
import { hash } from "node:crypto";

/** The newest line of a chain: its number and the SHA-256, in hex, of its bytes without the newline. */
export type Head = { readonly sequence: number; readonly hash: string };

/** What a chain's first line follows. */
export const GENESIS: Head = { sequence: 0, hash: "0".repeat(64) };

/**
 * Closes lines that line.ts left open after an attribute, each chained to the one before; the bytes end in a newline,
 * and are good until the next call. What surprises: one buffer for all lines there ever are. A line is put together of
 * a hundred strings, and every use of the whole as a string would copy it twice.
 */
export function linked(from: Head, bodies: readonly string[]): Linked {
  let { sequence, hash: previous } = from;
  const hashes: string[] = [];
  let end = 0;
  for (const body of bodies) {
    sequence++;
    const line = `${body}${NUMBER}${sequence}${PREVIOUS}${previous}${END}`;
    if (end + line.length >= scratch.length) scratch = grown(end + line.length);
    const start = end;
    // lines are pure ASCII: a character is a byte
    end += scratch.write(line, start, "latin1");
    previous = digestOf(scratch.subarray(start, end));
    hashes.push(previous);
    scratch[end++] = NEWLINE;
  }
  return { bytes: scratch.subarray(0, end), head: { sequence, hash: previous }, hashes };
}

/** `hashes`: the SHA-256 of each line, in hex. */
type Linked = { readonly bytes: Buffer; readonly head: Head; readonly hashes: readonly string[] };

const NEWLINE = 0x0a;
let scratch = Buffer.alloc(64 * 1024);

function grown(bytes: number): Buffer<ArrayBuffer> {
  const larger = Buffer.alloc(2 * bytes + 1);
  scratch.copy(larger);
  return larger;
}

/** The number a line carries and the hash it says the line before has; null for what is no line of ours. */
export function linkOf(line: Buffer): { readonly sequence: number; readonly previous: string } | null {
  const end = line.toString("latin1", Math.max(line.length - LINK_BYTES_MAX, 0));
  const [, sequence, previous] = LINK.exec(end) ?? [];
  return sequence === undefined || previous === undefined ? null : { sequence: Number(sequence), previous };
}

export function digestOf(line: string | Buffer): string {
  return hash("sha256", line, "hex");
}

const NUMBER = '{"key":"audit.sequence.number","value":{"intValue":"';
const PREVIOUS = '"}},{"key":"audit.sequence.prev_hash","value":{"stringValue":"';
const END = '"}}]}]}]}]}';
const LINK = new RegExp(
  `${RegExp.escape(NUMBER)}(\\d{1,16})${RegExp.escape(PREVIOUS)}([0-9a-f]{64})${RegExp.escape(END)}$`,
);
const LINK_BYTES_MAX = NUMBER.length + 16 + PREVIOUS.length + 64 + END.length;
