/**
 * Reads server-sent events from bytes, as they come. Only `data` matters to MCP here; `event`, `id` and comments are
 * read over. Bounds: one line and one event at most `eventBytesMax`; UTF-8 is checked by whoever parses the data.
 */
import { tooLarge } from "./connection.ts";
import { readLines } from "./lines.ts";

export type SseReader = {
  /** @throws Refusal upstream_error when an event is over its bound */
  readonly push: (chunk: Buffer) => void;
};

export function readSse(eventBytesMax: number, onData: (data: Buffer) => void): SseReader {
  let data: Buffer[] = [];
  let bytes = 0;
  let first = true;
  const onLine = (raw: Buffer): void => {
    const line = first && raw[0] === 0xef && raw[1] === 0xbb && raw[2] === 0xbf ? raw.subarray(3) : raw;
    first = false;
    if (line.length === 0) {
      const whole = data.length === 1 ? (data[0] as Buffer) : joined(data);
      data = [];
      bytes = 0;
      // bare ids, and MCP's priming events, whose data is there and empty
      if (whole.length > 0) onData(whole);
      return;
    }
    const value = dataOf(line);
    if (value === null) return;
    // 64 for the empty line's own weight: a flood of `data:` lines is a list that grows without bytes
    bytes += value.length + 64;
    if (bytes > eventBytesMax + 64) throw tooLarge();
    data.push(value);
  };
  const lines = readLines({ lineBytesMax: eventBytesMax, carriageReturn: true, onLine, onLong: refuse });
  // an unfinished last event is dropped, as the standard says
  return { push: lines.push };
}

/** The value of a `data` field, or null for any other line. */
function dataOf(line: Buffer): Buffer | null {
  if (line[0] !== 0x64 || line[1] !== 0x61 || line[2] !== 0x74 || line[3] !== 0x61) return null;
  if (line.length === 4) return line.subarray(4);
  if (line[4] !== 0x3a) return null;
  return line.subarray(line[5] === 0x20 ? 6 : 5);
}

const NEWLINE = Buffer.from("\n");

function joined(parts: readonly Buffer[]): Buffer {
  return Buffer.concat(parts.flatMap((part, at) => (at === 0 ? [part] : [NEWLINE, part])));
}

function refuse(): never {
  throw tooLarge();
}
