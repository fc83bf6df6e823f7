/** How far a target has been served: one small file per target beside the spool, replaced whole. */
import { hash } from "node:crypto";
import { join } from "node:path";
import type { Disk } from "../ports.ts";
import { linesBackwards } from "./lines.ts";
import { isAfter, listSegments, parseSegment } from "./segments.ts";
import type { SegmentName } from "./segments.ts";
import { parseSpan } from "./span.ts";

/** The next byte to read, and the number of the line before it in its chain. */
export type Position = { readonly file: string; readonly offset: number; readonly sequence: number };
export type CursorFile = {
  /** null where nothing was exported yet, or the file cannot be read: then all is sent again, which loses nothing. */
  readonly read: () => Promise<Position | null>;
  readonly write: (position: Position) => Promise<void>;
};

export function cursorFile(directory: string, target: string, disk: Disk): CursorFile {
  const path = join(directory, `export-${hash("sha256", target, "hex").slice(0, 16)}.json`);
  return {
    read: async () => {
      try {
        return positionOf(JSON.parse(await disk.readFile(path, "utf8")));
      } catch {
        return null;
      }
    },
    write: async (position) => {
      await disk.writeFile(`${path}.new`, JSON.stringify({ v: 1, ...position }), { mode: 0o600 });
      await disk.rename(`${path}.new`, path);
    },
  };
}

function positionOf(data: unknown): Position | null {
  if (typeof data !== "object" || data === null || !("file" in data && "offset" in data && "sequence" in data))
    return null;
  const { file, offset, sequence } = data;
  if (typeof file !== "string" || parseSegment(file) === null) return null;
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(sequence)) return null;
  return { file, offset: Number(offset), sequence: Number(sequence) };
}

/** The segments from a position on, its own first if it is still there. */
export async function segmentsFrom(directory: string, position: Position | null): Promise<readonly SegmentName[]> {
  const segments = await listSegments(directory);
  const at = position === null ? null : parseSegment(position.file);
  return at === null ? segments : segments.filter((segment) => segment.file === at.file || isAfter(segment, at));
}

/** Records that the spool holds beyond the position. */
export async function recordsAfter(directory: string, position: Position | null): Promise<number> {
  let records = 0;
  const chains = Map.groupBy(await segmentsFrom(directory, position), ({ chain }) => chain);
  const own = position === null ? null : parseSegment(position.file)?.chain;
  for (const [chain, segments] of chains) {
    const newest = await lastSequence(directory, segments);
    if (newest !== null) records += newest - (chain === own ? (position?.sequence ?? 0) : 0);
  }
  return Math.max(records, 0);
}

async function lastSequence(directory: string, segments: readonly SegmentName[]): Promise<number | null> {
  for (const { file } of segments.toReversed()) {
    for await (const lines of linesBackwards(join(directory, file), Number.MAX_SAFE_INTEGER)) {
      const newest = lines[0] === undefined ? null : parseSpan(lines[0].text);
      const sequence = newest?.attributes.get("audit.sequence.number");
      if (typeof sequence === "number") return sequence;
    }
  }
  return null;
}
