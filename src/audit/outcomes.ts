/** Whether calls that look unfinished at a page's edge were finished after it: a bounded search forwards. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { LINE_BYTES_MAX } from "./segments.ts";
import type { SegmentName } from "./segments.ts";

const CHUNK_BYTES = 1024 * 1024;
const SCAN_BYTES_MAX = 64 * 1024 * 1024;

/** Those of `calls` that have an outcome in the segments, given oldest first, from `offset` of the first on. */
export async function outcomesAfter(
  directory: string,
  segments: readonly SegmentName[],
  offset: number,
  calls: ReadonlySet<string>,
): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  let left = SCAN_BYTES_MAX;
  let from = offset;
  for (const segment of segments) {
    if (found.size === calls.size || left <= 0) break;
    left -= await search(join(directory, segment.file), from, { left, calls, found });
    from = 0;
  }
  return found;
}

type Search = { readonly left: number; readonly calls: ReadonlySet<string>; readonly found: Set<string> };

async function search(path: string, from: number, { left, calls, found }: Search): Promise<number> {
  const file = await open(path, "r");
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    let rest = "";
    let read = 0;
    while (read < left && found.size < calls.size) {
      const { bytesRead } = await file.read(chunk, 0, CHUNK_BYTES, from + read);
      if (bytesRead === 0) break;
      read += bytesRead;
      const text = rest + chunk.toString("latin1", 0, bytesRead);
      for (const [, callId = ""] of text.matchAll(OUTCOME)) if (calls.has(callId)) found.add(callId);
      rest = text.slice(text.lastIndexOf("\n") + 1).slice(-LINE_BYTES_MAX);
    }
    return read;
  } finally {
    await file.close();
  }
}

/** As line.ts writes it: the kind of record, then the call. */
const OUTCOME =
  /"portcullis\.record","value":\{"stringValue":"outcome"\}\},\{"key":"portcullis\.call\.id","value":\{"stringValue":"([0-9a-f-]{36})"/g;
