/** How did the last start of this writer end? What it left unsigned is signed now, as it is found. */
import { join } from "node:path";
import { pinOf } from "../ed25519.ts";
import type { Ports } from "../ports.ts";
import { signedBy } from "./checkpoint.ts";
import type { Checkpoint, Ended } from "./checkpoint.ts";
import type { CheckpointOptions } from "./checkpoints.ts";
import { rootOf } from "./merkle.ts";
import { appendNote, signTree } from "./notes.ts";
import { NOTES } from "./segments.ts";
import { growTree, lastNote, listChains } from "./tree.ts";
import type { ChainFiles, Tree } from "./tree.ts";

/** Signs what earlier starts left unsigned, and says how the last of them ended. */
export async function resume(options: CheckpointOptions, ports: Ports, since: number): Promise<Ended | null> {
  const { directory, disk, writer } = options;
  const pins = options.keys.map(pinOf);
  const own = (await listChains(directory).catch(noneYet)).filter(({ chain }) => isBefore(chain, writer, since));
  const open: { readonly tree: Tree; readonly last: Checkpoint | null }[] = [];
  for (const files of own.toReversed()) {
    const last = await lastNote(
      directory,
      files.chain,
      (one) => one.checkpoint.chain === files.chain && signedBy(one, pins) !== null,
    );
    const tree = await growTree(directory, files, last);
    if (tree === null || tree.range.size === 0) continue;
    open.unshift({ tree, last });
    // before it every one was signed to its end, by a start like this one, or none was
    if (last === null ? open.length > 1 : last.range.size === tree.range.size) break;
  }
  let before: Ended | null = null;
  for (const { tree, last } of open) {
    if (last?.range.size !== tree.range.size) {
      const said = { previous: last?.previous ?? before, first: last?.first ?? 1 };
      const signed = signTree(tree, said, options.keys[0], ports.clock);
      const fd = disk.open(join(directory, tree.chain + NOTES));
      try {
        appendNote(options, fd, signed.note);
      } finally {
        disk.close(fd);
      }
      options.publish(signed);
    }
    before = { chain: tree.chain, size: tree.range.size, root: rootOf(tree.range).toString("base64") };
  }
  return before;
}

/** A first start makes the folder meanwhile. */
function noneYet(cause: NodeJS.ErrnoException): readonly ChainFiles[] {
  if (cause.code === "ENOENT") return [];
  throw cause;
}

/** Of this writer, and begun before. */
function isBefore(chain: string, writer: string, since: number): boolean {
  const boot = chain.startsWith(`${writer}-`) ? chain.slice(writer.length + 1) : "";
  return /^[0-9a-f]{20}$/.test(boot) && Number.parseInt(boot.slice(0, 12), 16) < since;
}
