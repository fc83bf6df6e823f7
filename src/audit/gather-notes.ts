/**
 * Checkpoints of what is gathered, beside each writer's chain, signed by whoever gathers: so many lines of that writer were
 * here at that time. What surprises: the writer's name is signed too, since a sidecar may call its chain what it likes, and
 * none may pass for a chain of the gateway's own; and no tree is kept: the lines since the last checkpoint are read again.
 */
import { open, stat } from "node:fs/promises";
import { join } from "node:path";
import { pinOf } from "../ed25519.ts";
import type { SigningKey } from "../ed25519.ts";
import type { Ports } from "../ports.ts";
import { ORIGIN, parseNotes, signedBy } from "./checkpoint.ts";
import type { Signed } from "./checkpoint.ts";
import { realDisk } from "./disk.ts";
import type { Gather } from "./gather.ts";
import { appendNote, signTree } from "./notes.ts";
import { NOTES, signedName } from "./segments.ts";
import { growTree, lastNote, listChains } from "./tree.ts";
import type { ChainFiles } from "./tree.ts";

export type GatheredNotes = {
  /** Something of this chain was gathered. */
  readonly add: (writer: string, chain: string) => void;
  /** Signs what is not yet signed. */
  readonly close: () => Promise<void>;
};
type Options = {
  /** The first signs; what one of them signed is gone on from. */
  readonly keys: readonly [SigningKey, ...SigningKey[]];
  readonly intervalMs: number;
  readonly publish: (signed: Signed) => void;
};
type Due = { readonly writer: string; readonly chain: string };

const CLOSE_MAX_MS = 1_000;
/** A note is shorter: it has one peak for each bit of its size. */
const NOTE_BYTES_MAX = 8 * 1024;

export function openGatheredNotes(options: Options, gather: Pick<Gather, "folders" | "alone">, ports: Ports) {
  const due = new Map<string, Due>();
  const add = (writer: string, chain: string): void => void due.set(signedName(chain, writer), { writer, chain });
  const failed = (cause: unknown, some: readonly Due[]): void => {
    const [{ writer } = { writer: "" }] = some;
    ports.log.warn({ err: cause, writer }, "a checkpoint of gathered records could not be written");
    some.forEach((one) => add(one.writer, one.chain));
  };
  const signAll = async (folder: string, some: readonly Due[]): Promise<void> => {
    // listed once: a sidecar may have thousands of chains
    const chains = new Map((await listChains(folder)).map((files) => [files.chain, files]));
    for (const one of some) {
      const files = chains.get(one.chain);
      if (files === undefined) continue;
      // no line may be signed that is still on its way to the disk
      await gather
        .alone(() => signChain({ folder, files, name: signedName(one.chain, one.writer) }, options, ports))
        .catch((cause: unknown) => failed(cause, [one]));
    }
  };
  const round = async (): Promise<void> => {
    const now = Map.groupBy(due.values(), ({ writer }) => writer);
    due.clear();
    const folders = await gather.folders();
    for (const [writer, some] of now) {
      const folder = folders.get(writer);
      // what was taken away is not signed, today or later
      if (folder !== undefined) await signAll(folder, some).catch((cause: unknown) => failed(cause, some));
    }
  };
  let last = unsigned(options, gather)
    .then((found) => found.forEach(({ writer, chain }) => add(writer, chain)))
    .catch((cause: unknown) => ports.log.warn({ err: cause }, "what was gathered before cannot be read"));
  const next = (): Promise<void> => (last = last.then(round));
  const timer = setInterval(() => due.size > 0 && void next(), options.intervalMs).unref();
  return {
    add,
    close: async () => {
      clearInterval(timer);
      await Promise.race([next(), new Promise((late) => setTimeout(late, CLOSE_MAX_MS).unref())]);
    },
  } satisfies GatheredNotes;
}

/** Where lines came after the last checkpoint: a process that was killed had not signed them. */
async function unsigned({ keys }: Options, { folders }: Pick<Gather, "folders">): Promise<readonly Due[]> {
  const pins = keys.map(pinOf);
  const found: Due[] = [];
  for (const [writer, folder] of await folders())
    for (const { chain, segments } of await listChains(folder)) {
      const newest = segments.at(-1);
      if (newest === undefined) continue;
      const { size } = await stat(join(folder, newest.file));
      // not by the times of the files: a note that was torn is new, and a copy has other times
      const [last] = parseNotes(await endOf(join(folder, chain + NOTES)).catch(() => "")).notes;
      const { file = "", bytes = 0, chain: name = "" } = last?.checkpoint ?? {};
      const isSigned = file === newest.file && bytes === size && name === signedName(chain, writer);
      if (last === undefined || !isSigned || signedBy(last, pins) === null) found.push({ writer, chain });
    }
  return found;
}

/** The last note, without all that was signed before it. */
async function endOf(path: string): Promise<string> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    const { buffer, bytesRead } = await file.read(Buffer.alloc(NOTE_BYTES_MAX), {
      position: Math.max(0, size - NOTE_BYTES_MAX),
    });
    const text = buffer.toString("utf8", 0, bytesRead);
    return text.slice(Math.max(0, text.lastIndexOf(`\n${ORIGIN}`)));
  } finally {
    await file.close();
  }
}

/** As far as its lines are here without a gap. */
async function signChain(
  { folder, files, name }: { readonly folder: string; readonly files: ChainFiles; readonly name: string },
  { keys, publish }: Options,
  { clock }: Ports,
): Promise<void> {
  const { chain } = files;
  const pins = keys.map(pinOf);
  const last = await lastNote(folder, chain, (one) => one.checkpoint.chain === name && signedBy(one, pins) !== null);
  const tree = await growTree(folder, files, last);
  if (tree === null || tree.range.size === (last?.range.size ?? 0)) return;
  const signed = signTree({ ...tree, chain: name }, { previous: null, first: 1 }, keys[0], clock);
  const fd = realDisk.open(join(folder, chain + NOTES));
  try {
    appendNote({ directory: folder, disk: realDisk, sync: false }, fd, signed.note);
  } finally {
    realDisk.close(fd);
  }
  publish(signed);
}
