/**
 * What of a gathered chain stands with another gatherer: where the job passed on, Redis had given the lines before to somebody else.
 * What surprises: such a copy has a gap, and says so beside its files; the line after the gap vouches for the last one within.
 */
import { appendFile, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { realDisk } from "./disk.ts";
import type { Head } from "./link.ts";

/** Lines up to its sequence, and by whom the last of them was gathered: the chain of that gateway's own trail. */
export type Elsewhere = Head & { readonly keeper: string };
/** From the line after `after` on. */
export type Gap = Elsewhere & { readonly after: number };

/** Resolves once it is on disk: it stands before the lines that follow it. */
export async function noteGap(folder: string, chain: string, gap: Gap): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await appendFile(fileOf(folder, chain), `${JSON.stringify({ v: 1, ...gap })}\n`, { mode: 0o600, flush: true });
  await realDisk.syncDirectory(folder);
}

/** Each that was noted, also where no line came to follow it. */
export async function readGaps(folder: string, chain: string): Promise<readonly Gap[]> {
  const text = await readFile(fileOf(folder, chain), "utf8").catch(() => "");
  return text.split("\n").flatMap((line) => gapOf(line) ?? []);
}

function fileOf(folder: string, chain: string): string {
  return join(folder, `${chain}.gaps`);
}

function gapOf(line: string): Gap | null {
  try {
    const { v, after, sequence, hash, keeper } = JSON.parse(line) as Partial<Record<keyof Gap | "v", unknown>>;
    const numbers = typeof after === "number" && typeof sequence === "number";
    if (v !== 1 || !numbers || typeof hash !== "string" || typeof keeper !== "string") return null;
    return { after, sequence, hash, keeper };
  } catch {
    // torn by a crash: then no line follows it either
    return null;
  }
}
