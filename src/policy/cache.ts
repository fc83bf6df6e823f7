/**
 * Has this very bundle been compiled before? Compiled policies on disk, named by the digest of all that made them,
 * so that a start with unchanged policies never loads the compiler. Each file begins with the SHA-256 of the rest:
 * one that is cut short or changed is as good as absent. A failure to write costs time, nothing else.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Disk, Random } from "../ports.ts";

export type PolicyCache = {
  readonly read: (key: string) => Promise<Uint8Array<ArrayBuffer> | null>;
  readonly write: (key: string, wasm: Uint8Array) => Promise<void>;
};
type CacheDisk = Pick<Disk, "mkdir" | "readdir" | "readFile" | "writeFile" | "rename" | "unlink" | "stat">;

const DIGEST_BYTES = 32;
const FILES_MAX = 16;

export function createCache(
  ports: { readonly disk: CacheDisk; readonly random: Pick<Random, "hex"> },
  dir: string,
): PolicyCache {
  const { disk, random } = ports;
  return {
    read: async (key) => {
      const file = await disk.readFile(join(dir, `${key}.policy`)).catch(() => null);
      if (file === null) return null;
      const wasm = new Uint8Array(file.subarray(DIGEST_BYTES));
      return digest(wasm).equals(file.subarray(0, DIGEST_BYTES)) ? wasm : null;
    },
    write: async (key, wasm) => {
      const draft = join(dir, `${random.hex(8)}.tmp`);
      try {
        await disk.mkdir(dir, { recursive: true, mode: 0o700 });
        await disk.writeFile(draft, Buffer.concat([digest(wasm), wasm]), { mode: 0o600 });
        await disk.rename(draft, join(dir, `${key}.policy`));
        await prune(disk, dir);
      } catch {
        await disk.unlink(draft).catch(() => {});
      }
    },
  };
}

function digest(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

/** Keeps the newest files; leftover drafts count and go the same way. */
async function prune(disk: CacheDisk, dir: string): Promise<void> {
  const names = (await disk.readdir(dir)).filter((name) => name.endsWith(".policy") || name.endsWith(".tmp"));
  if (names.length <= FILES_MAX) return;
  const files = await Promise.all(
    names.map(async (name) => ({ name, at: (await disk.stat(join(dir, name))).mtimeMs })),
  );
  for (const { name } of files.toSorted((a, b) => b.at - a.at).slice(FILES_MAX)) await disk.unlink(join(dir, name));
}
