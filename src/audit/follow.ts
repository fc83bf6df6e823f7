/** Rows as they are written, for `audit tail --follow`: the directory is looked at four times a second. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { linesFrom } from "./lines.ts";
import { kindOf, rowOf } from "./row.ts";
import type { CallRow } from "./row.ts";
import { listSegments } from "./segments.ts";
import type { SegmentName } from "./segments.ts";
import { parseSpan } from "./span.ts";

const POLL_MS = 250;

/** Outcomes and refusals written from now on; an intent shows once it has an outcome. Ends when the signal aborts. */
export async function* follow(directory: string, signal: AbortSignal): AsyncGenerator<CallRow> {
  const offsets = new Map<string, number>();
  for (const { file } of await listSegments(directory)) offsets.set(file, await sizeOf(join(directory, file)));
  while (!signal.aborted) {
    for (const { file } of live(await listSegments(directory))) {
      for await (const line of linesFrom(join(directory, file), offsets.get(file) ?? 0)) {
        offsets.set(file, line.end);
        const span = parseSpan(line.text);
        if (span !== null && kindOf(span) !== "intent") yield rowOf(span, "");
        if (signal.aborted) return;
      }
    }
    await sleep(POLL_MS, undefined, { signal }).catch(() => {});
  }
}

/** Only the last two files of a chain can grow: the newest, and the one before while it is still being read. */
function live(segments: readonly SegmentName[]): readonly SegmentName[] {
  return segments.filter((segment, index) => segments[index + 2]?.chain !== segment.chain);
}

async function sizeOf(path: string): Promise<number> {
  const file = await open(path, "r");
  try {
    return (await file.stat()).size;
  } finally {
    await file.close();
  }
}
