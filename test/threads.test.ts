/** The promise: a thread of ours gets the place of compiled code from the environment, and nothing else. */
import { mkdtempSync, rmSync } from "node:fs";
import { enableCompileCache, getCompileCacheDir } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { expect, test } from "vitest";
import { threadEnv } from "../src/threads.ts";

test("a thread keeps compiled code where the process does, and sees no other variable", async () => {
  const folder = mkdtempSync(join(tmpdir(), "portcullis-compiled-"));
  try {
    enableCompileCache(folder);
    const { promise, resolve } = Promise.withResolvers<unknown>();
    const said =
      'const { getCompileCacheDir } = require("node:module"); require("node:worker_threads").parentPort.postMessage([getCompileCacheDir(), Object.keys(process.env)])';
    const worker = new Worker(said, { eval: true, env: threadEnv() });
    worker.once("message", resolve);
    expect(await promise).toEqual([getCompileCacheDir(), ["NODE_COMPILE_CACHE"]]);
    await worker.terminate();
  } finally {
    rmSync(folder, { recursive: true });
  }
});
