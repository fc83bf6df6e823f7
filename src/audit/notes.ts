/** How a signed checkpoint comes to stand beside the segments of its chain. */
import type { SigningKey } from "../ed25519.ts";
import type { Clock } from "../ports.ts";
import { signCheckpoint } from "./checkpoint.ts";
import type { Checkpoint, Signed } from "./checkpoint.ts";
import type { SpoolDisk } from "./disk.ts";
import { rootOf } from "./merkle.ts";
import type { Tree } from "./tree.ts";

export function signTree(
  { chain, range, head, file, bytes }: Tree,
  { previous, first }: Pick<Checkpoint, "previous" | "first">,
  key: SigningKey,
  clock: Clock,
): Signed {
  const time = new Date(clock.nowMs()).toISOString();
  const kept = { size: range.size, peaks: [...range.peaks] };
  const root = rootOf(range).toString("base64");
  const checkpoint = { chain, range: kept, root, time, head: head.hash, file, bytes, previous, first };
  return { checkpoint, note: signCheckpoint(checkpoint, key) };
}

type Place = { readonly directory: string; readonly disk: SpoolDisk; readonly sync: boolean };

/** An empty line first: a note that a crash tore must not spoil the next one. @throws Error of the disk */
export function appendNote({ disk, sync, directory }: Place, fd: number, note: string): void {
  const fresh = disk.size(fd) === 0;
  const bytes = Buffer.from(fresh ? note : `\n\n${note}`);
  for (let done = 0; done < bytes.length;) {
    const wrote = disk.write(fd, bytes.subarray(done));
    if (wrote <= 0) throw new Error("The disk took nothing.");
    done += wrote;
  }
  if (!sync) return;
  // a checkpoint that is lost with the power is missed by nobody: the next start signs again
  void disk.sync(fd).catch(() => {});
  if (fresh) void disk.syncDirectory(directory).catch(() => {});
}
