/** What links one line to the next: the end of every line, as it is written and as it is read back. */
import { hash } from "node:crypto";

/** The newest line of a chain: its number and the SHA-256, in hex, of its bytes without the newline. */
export type Head = { readonly sequence: number; readonly hash: string };

/** What a chain's first line follows. */
export const GENESIS: Head = { sequence: 0, hash: "0".repeat(64) };

/** Closes lines that line.ts left open after an attribute, each chained to the one before; `text` ends in a newline. */
export function linked(from: Head, bodies: readonly string[]): { readonly text: string; readonly head: Head } {
  let { sequence, hash: previous } = from;
  let text = "";
  for (const body of bodies) {
    sequence++;
    const line = `${body}${NUMBER}${sequence}${PREVIOUS}${previous}${END}`;
    previous = digestOf(line);
    text += `${line}\n`;
  }
  return { text, head: { sequence, hash: previous } };
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
