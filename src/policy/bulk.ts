/**
 * Where is a bundle taken apart that is large? In a thread of its own: to read, verify and load megabytes takes a second,
 * for which no call waits. It ends when nobody has asked for a while; a small bundle is read at once, where it is asked for.
 */
import type { Disk } from "../ports.ts";
import { bundleInTar } from "./bundle-file.ts";
import type { BulkReply, BulkRequest } from "./bulk-worker.ts";
import { fault, PolicyRefused, THREAD_FAULT } from "./diagnostic.ts";
import { createEngine, restoreEngine } from "./engine.ts";
import type { Image } from "./instance.ts";
import { createLeash } from "./leash.ts";
import type { VerifyKey } from "./signed-bundle.ts";
import { bundleIn, readFolder, textsOf } from "./sources.ts";
import type { Texts } from "./sources.ts";
import { expand } from "./tar.ts";

export type Bulk = {
  /** @throws PolicyRefused if it cannot be read, is empty, or its data is not sound */
  readonly readFolder: (dir: string) => Promise<Texts>;
  /** A bundle as one file; without a key none that is signed is taken. @throws PolicyRefused */
  readonly readFile: (bytes: Buffer, key: VerifyKey | null) => Promise<Texts>;
  readonly createEngine: typeof createEngine;
  readonly close: () => Promise<void>;
};

/** Of JSON, or of an archive: some ten milliseconds. */
const HERE_MAX = 128 * 1024;
/** Of 16 MiB of numbers, each a value of its own. */
const HEAP_MIB_MAX = 1024;

export function createBulk(disk: Pick<Disk, "readdir" | "readFile" | "stat">): Bulk {
  const leash = createLeash<BulkRequest, BulkReply>({
    url: new URL("bulk-worker.ts", import.meta.url),
    name: "the reader of large bundles",
    resourceLimits: { maxOldGenerationSizeMb: HEAP_MIB_MAX },
  });
  /** @throws Error, PolicyRefused */
  const ask = async (request: BulkRequest): Promise<unknown> => {
    const reply = await leash.ask(request).catch((cause: unknown) => {
      throw new PolicyRefused([fault(THREAD_FAULT, cause instanceof Error ? cause.message : String(cause))]);
    });
    if (reply.ok) return reply.value;
    throw "diagnostics" in reply ? new PolicyRefused(reply.diagnostics) : new Error(reply.message);
  };
  const read = async (request: BulkRequest): Promise<Texts> => {
    try {
      return (await ask(request)) as Texts;
    } catch (cause) {
      if (cause instanceof PolicyRefused) throw cause;
      throw new PolicyRefused([fault("bundle_unreadable", cause instanceof Error ? cause.message : String(cause))]);
    }
  };
  return {
    readFolder: async (dir) => {
      const files = await readFolder(disk, dir);
      const size = [...files.values()].reduce((sum, { length }) => sum + length, 0);
      return size <= HERE_MAX ? textsOf(bundleIn(files, dir)) : await read({ op: "folder", files, dir });
    },
    readFile: async (bytes, key) => {
      const tar = await expand(bytes);
      return tar.length <= HERE_MAX ? textsOf(await bundleInTar(tar, key)) : await read({ op: "file", tar, key });
    },
    createEngine: async (wasm, data, options) => {
      if (typeof data !== "string" || data.length <= HERE_MAX) return await createEngine(wasm, data, options);
      const image = (await ask({ op: "image", wasm, data, options: options ?? {} })) as Image;
      return await restoreEngine(image, options ?? {});
    },
    close: leash.close,
  };
}
