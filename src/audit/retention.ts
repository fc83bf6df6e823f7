/**
 * How long is the trail kept? Whole files go, oldest first, and before they go it is signed that they do: from the checkpoint at their end
 * the rest can still be verified, and whoever takes away more is found out. What surprises: a file stays while somebody is to be
 * sent what it holds, however old it is; and so does one without a checkpoint at its end.
 */
import { join } from "node:path";
import type { SigningKey } from "../ed25519.ts";
import type { Ports } from "../ports.ts";
import type { Signed } from "./checkpoint.ts";
import { cursorFile } from "./export-cursor.ts";
import { signTree } from "./notes.ts";
import { NOTES, isAfter, parseSegment } from "./segments.ts";
import type { SegmentName } from "./segments.ts";
import { listChains, readNotes, treeAt } from "./tree.ts";
import type { ChainFiles } from "./tree.ts";

export type Keep = {
  readonly ageMs?: number | undefined;
  readonly bytes?: number | undefined;
  /** To whom the records are sent, as their cursors are named. */
  readonly targets: readonly string[];
};
export type RetentionOptions = {
  readonly directory: string;
  readonly key: SigningKey;
  readonly keep: Keep;
  /** The file that is written to. */
  readonly open: () => string;
  /** Signs the open chain, of which no line before this one is kept. */
  readonly forget: (first: number) => void;
  readonly publish: (signed: Signed) => void;
};
export type Retention = {
  /** One round; resolves to the files that were removed. */
  readonly run: () => Promise<readonly string[]>;
  readonly close: () => void;
};

const ROUND_MS = 60_000;

export function startRetention(options: RetentionOptions, ports: Ports): Retention {
  let last: Promise<readonly string[]> = Promise.resolve([]);
  const run = (): Promise<readonly string[]> => (last = last.catch(() => []).then(() => round(options, ports)));
  const timer = setInterval(() => {
    run().catch((cause: unknown) =>
      ports.log.warn({ err: cause }, "old files of the audit trail could not be removed"),
    );
  }, ROUND_MS).unref();
  return { run, close: () => clearInterval(timer) };
}

async function round(options: RetentionOptions, ports: Ports): Promise<readonly string[]> {
  const due = await dueSegments(options, ports);
  const removed: string[] = [];
  for (const files of await listChains(options.directory)) {
    const some = files.segments.filter(({ file }) => due.has(file));
    if (some.length > 0) removed.push(...(await removeFrom(files, some, options, ports)));
  }
  if (removed.length > 0) ports.log.info({ files: removed.length }, "old files of the audit trail were removed");
  return removed;
}

/** Too old or too much, oldest first, and sent to everybody. */
async function dueSegments({ directory, keep, open }: RetentionOptions, { disk, clock }: Ports): Promise<Set<string>> {
  const all = (await listChains(directory)).flatMap(({ segments }) => segments);
  const sized = await Promise.all(
    all.map(async (segment) => {
      const { size, mtimeMs } = await disk.stat(join(directory, segment.file));
      return { segment, size, mtimeMs };
    }),
  );
  const sent = await sentBefore(directory, keep.targets, disk);
  const due = new Set<string>();
  let bytes = sized.reduce((sum, { size }) => sum + size, 0);
  for (const { segment, size, mtimeMs } of sized) {
    const old = keep.ageMs !== undefined && mtimeMs < clock.nowMs() - keep.ageMs;
    const much = keep.bytes !== undefined && bytes > keep.bytes;
    if ((!old && !much) || segment.file === open() || !sent(segment)) break;
    due.add(segment.file);
    bytes -= size;
  }
  return due;
}

async function sentBefore(
  directory: string,
  targets: readonly string[],
  disk: Ports["disk"],
): Promise<(segment: SegmentName) => boolean> {
  const cursors = await Promise.all(targets.map((target) => cursorFile(directory, target, disk).read()));
  const places = cursors.map((cursor) => parseSegment(cursor?.file ?? ""));
  return (segment) => places.every((place) => place !== null && isAfter(place, segment));
}

async function removeFrom(
  files: ChainFiles,
  due: readonly SegmentName[],
  options: RetentionOptions,
  ports: Ports,
): Promise<readonly string[]> {
  const { directory } = options;
  const notes = await readNotes(directory, files.chain, new Set(due.map(({ file }) => file)));
  const removed: string[] = [];
  // as far as what follows can be checked without it
  for (const segment of due.toReversed()) {
    const { size } = await ports.disk.stat(join(directory, segment.file));
    const end = notes.findLast(({ checkpoint: { file, bytes } }) => file === segment.file && bytes === size);
    if (end === undefined) continue;
    await sayRemoved({ chain: files.chain, size: end.checkpoint.range.size }, options, ports);
    for (const one of due.slice(0, due.indexOf(segment) + 1)) {
      await ports.disk.unlink(join(directory, one.file));
      removed.push(one.file);
    }
    break;
  }
  if (removed.length === 0)
    ports.log.warn({ chain: files.chain }, "old files of the audit trail stay: no checkpoint stands at the end of one");
  return removed;
}

/** Of a chain that has ended, only the checkpoints of what is left stay. */
async function sayRemoved(
  { chain, size }: { readonly chain: string; readonly size: number },
  { directory, key, open, forget, publish }: RetentionOptions,
  { disk, clock }: Ports,
): Promise<void> {
  if (parseSegment(open())?.chain === chain) return forget(size + 1);
  const notes = await readNotes(directory, chain);
  const last = notes.reduce((a, b) => (b.checkpoint.range.size >= a.checkpoint.range.size ? b : a)).checkpoint;
  const signed = signTree(treeAt(last), { previous: last.previous, first: size + 1 }, key, clock);
  const left = [...notes.filter(({ checkpoint }) => checkpoint.range.size >= size), signed];
  const path = join(directory, `${chain}${NOTES}`);
  await disk.writeFile(`${path}.new`, left.map(({ note }) => note).join("\n\n"), { mode: 0o600, flush: true });
  await disk.rename(`${path}.new`, path);
  publish(signed);
}
