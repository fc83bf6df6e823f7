/** Rows as they are written, for `audit tail --follow`: the directory is looked at four times a second. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { linesFrom } from "./lines.ts";
import { kindOf, rowOf } from "./row.ts";
import type { CallRow } from "./row.ts";
import { listSegments } from "./segments.ts";
import { parseSpan } from "./span.ts";

const POLL_MS = 250;

/** Outcomes and refusals written from now on; an intent shows once it has an outcome. Ends when the signal aborts. */
export async function* follow(directory: string, signal: AbortSignal): AsyncGenerator<CallRow> {
  const offsets = new Map<string, number>();
  for (const { file } of await listSegments(directory)) offsets.set(file, await sizeOf(join(directory, file)));
  const finished = new Set<string>();
  while (!signal.aborted) {
    const segments = await listSegments(directory);
    for (const [index, { file, chain }] of segments.entries()) {
      if (finished.has(file)) continue;
      for await (const line of linesFrom(join(directory, file), offsets.get(file) ?? 0)) {
        offsets.set(file, line.end);
        const span = parseSpan(line.text);
        if (span !== null && kindOf(span) !== "intent") yield rowOf(span, "");
        if (signal.aborted) return;
      }
      // it had a successor before it was read to its end: it cannot grow any more
      if (segments[index + 1]?.chain === chain) finished.add(file);
    }
    await sleep(POLL_MS, undefined, { signal }).catch(() => {});
  }
}

async function sizeOf(path: string): Promise<number> {
  const file = await open(path, "r");
  try {
    return (await file.stat()).size;
  } finally {
    await file.close();
  }
}
