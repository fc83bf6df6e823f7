/** The lines of one segment, forwards or backwards from a position, in chunks; what is not yet a whole line is left out. */
import { open } from "node:fs/promises";
import { LINE_BYTES_MAX } from "./segments.ts";

export type Line = { readonly text: string; readonly offset: number };

const CHUNK_BYTES = 256 * 1024;
const NEWLINE = 0x0a;

/** Whole lines from a position on; `end` is where the next one begins. */
export async function* linesFrom(
  path: string,
  from: number,
): AsyncGenerator<{ readonly text: string; readonly end: number }> {
  const file = await open(path, "r");
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    for (let at = from; ;) {
      const { bytesRead } = await file.read(chunk, 0, CHUNK_BYTES, at);
      const last = chunk.subarray(0, bytesRead).lastIndexOf(0x0a);
      if (last === -1) return;
      let end = at;
      for (const text of chunk.toString("latin1", 0, last).split("\n")) {
        end += text.length + 1;
        yield { text, end };
      }
      at = end;
    }
  } finally {
    await file.close();
  }
}

/** `end` is where a line begins or the file ends. Each yielded group is one chunk's lines, newest first. */
export async function* linesBackwards(path: string, end: number): AsyncGenerator<readonly Line[]> {
  const file = await open(path, "r");
  try {
    let position = Math.min(end, (await file.stat()).size);
    let rest: Buffer = Buffer.alloc(0);
    let newest = true;
    while (position > 0) {
      const length = Math.min(CHUNK_BYTES, position);
      position -= length;
      const chunk = Buffer.alloc(length);
      await file.read(chunk, 0, length, position);
      let bytes = Buffer.concat([chunk, rest]);
      // after the last newline stands only what a crash tore, or what is being written
      if (newest) bytes = bytes.subarray(0, bytes.lastIndexOf(NEWLINE) + 1);
      newest &&= bytes.length === 0;
      const whole = position === 0 ? 0 : bytes.indexOf(NEWLINE) + 1;
      yield split(bytes.subarray(whole), position + whole);
      rest = bytes.subarray(0, whole);
      if (rest.length > LINE_BYTES_MAX) return;
    }
  } finally {
    await file.close();
  }
}

/** `bytes` begins at a line's beginning and ends with a newline. */
function split(bytes: Buffer, offset: number): readonly Line[] {
  const lines: Line[] = [];
  for (let from = 0; from < bytes.length;) {
    const to = bytes.indexOf(NEWLINE, from);
    if (to === -1) break;
    lines.push({ text: bytes.toString("latin1", from, to), offset: offset + from });
    from = to + 1;
  }
  return lines.toReversed();
}
