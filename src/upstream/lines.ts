/**
 * Cuts a stream of bytes into lines, for stdio and for SSE. What surprises: chunks are kept in a list and joined once
 * per line (joining at each chunk makes ten megabytes cost a second), and a line over the cap is not kept at all: only
 * its first and last bytes are, so that the reader can still tell whose answer it was.
 */
export type LineOptions = {
  readonly lineBytesMax: number;
  /** SSE ends lines with CR, LF or CRLF; stdio with LF. */
  readonly carriageReturn: boolean;
  readonly onLine: (line: Buffer) => void;
  /** A line over the cap: what is left of it, at most 2 KiB from either end. */
  readonly onLong: (head: Buffer, tail: Buffer) => void;
};
export type Lines = { readonly push: (chunk: Buffer) => void };

const LF = 0x0a;
const CR = 0x0d;
const KEPT = 2048;

export function readLines(options: LineOptions): Lines {
  let parts: Buffer[] = [];
  let length = 0;
  let head: Buffer | null = null;
  let tail: Buffer = Buffer.alloc(0);
  let afterReturn = false;

  const keep = (part: Buffer): void => {
    if (part.length === 0) return;
    length += part.length;
    if (head === null && length <= options.lineBytesMax) return void parts.push(part);
    if (head === null) {
      head = Buffer.concat(parts).subarray(0, KEPT);
      parts = [];
    }
    tail = Buffer.from(Buffer.concat([tail, part.subarray(-KEPT)]).subarray(-KEPT));
  };
  const flush = (): void => {
    const kept = parts;
    const long = head;
    parts = [];
    head = null;
    length = 0;
    if (long !== null) {
      const end = tail;
      tail = Buffer.alloc(0);
      options.onLong(long, end);
    } else options.onLine(kept.length === 1 ? (kept[0] as Buffer) : Buffer.concat(kept));
  };
  const push = (chunk: Buffer): void => {
    let from = 0;
    // the LF of a CRLF whose CR ended the last chunk
    if (afterReturn && chunk[0] === LF) from = 1;
    if (chunk.length > 0) afterReturn = false;
    const returns = options.carriageReturn && chunk.includes(CR);
    for (;;) {
      const at = returns ? nextEnd(chunk, from) : chunk.indexOf(LF, from);
      if (at === -1) break;
      keep(chunk.subarray(from, at));
      flush();
      from = at + 1;
      if (returns && chunk[at] === CR) {
        if (from === chunk.length) afterReturn = true;
        else if (chunk[from] === LF) from++;
      }
    }
    keep(chunk.subarray(from));
  };
  return { push };
}

function nextEnd(chunk: Buffer, from: number): number {
  for (let at = from; at < chunk.length; at++) if (chunk[at] === LF || chunk[at] === CR) return at;
  return -1;
}
