/** Whether calls that look unfinished at a page's edge were finished after it: a bounded search forwards. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { LINE_BYTES_MAX } from "./segments.ts";
import type { SegmentName } from "./segments.ts";

const CHUNK_BYTES = 1024 * 1024;
const NEAR_BYTES = 1024 * 1024;
const SCAN_BYTES_MAX = 64 * 1024 * 1024;

export type Place = {
  readonly directory: string;
  /** Oldest first. */
  readonly segments: readonly SegmentName[];
  /** In the first of them. */
  readonly offset: number;
};

/** Every call with an outcome shortly after the place: nearly all that an intent before it can be waiting for. */
export function outcomesNear(place: Place): Promise<ReadonlySet<string>> {
  return search(place, NEAR_BYTES, null);
}

/** Those of `calls` that have an outcome anywhere after the place, within 64 MiB. */
export function outcomesOf(calls: ReadonlySet<string>, place: Place): Promise<ReadonlySet<string>> {
  return search(place, SCAN_BYTES_MAX, calls);
}

async function search(
  { directory, segments, offset }: Place,
  bytesMax: number,
  calls: ReadonlySet<string> | null,
): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  let left = bytesMax;
  for (const [index, { file }] of segments.entries()) {
    if (left <= 0) break;
    for await (const { text, bytes } of chunks(join(directory, file), index === 0 ? offset : 0)) {
      for (const [, callId = ""] of text.matchAll(OUTCOME)) if (calls?.has(callId) ?? true) found.add(callId);
      if (found.size === calls?.size) return found;
      left -= bytes;
      if (left <= 0) break;
    }
  }
  return found;
}

/** Each chunk with the unfinished line of the one before. */
async function* chunks(path: string, from: number): AsyncGenerator<{ readonly text: string; readonly bytes: number }> {
  const file = await open(path, "r");
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    let rest = "";
    for (let at = from; ;) {
      const { bytesRead } = await file.read(chunk, 0, CHUNK_BYTES, at);
      if (bytesRead === 0) return;
      at += bytesRead;
      const text = rest + chunk.toString("latin1", 0, bytesRead);
      yield { text, bytes: bytesRead };
      rest = text.slice(text.lastIndexOf("\n") + 1).slice(-LINE_BYTES_MAX);
    }
  } finally {
    await file.close();
  }
}

/** As line.ts writes it: the kind of record, then the call. */
const OUTCOME =
  /"portcullis\.record","value":\{"stringValue":"outcome"\}\},\{"key":"portcullis\.call\.id","value":\{"stringValue":"([0-9a-f-]{36})"/g;
