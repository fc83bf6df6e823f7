/** The thread that large bundles are read, verified and loaded in, as bulk.ts asks; one after another. */
import { parentPort } from "node:worker_threads";
import { bundleInTar } from "./bundle-file.ts";
import { type Diagnostic, PolicyRefused } from "./diagnostic.ts";
import { type EngineOptions, warmInstance } from "./engine.ts";
import { type Image, imageOf } from "./instance.ts";
import { meter } from "./meter.ts";
import type { VerifyKey } from "./signed-bundle.ts";
import { bundleIn, type FolderFiles, type Texts, textsOf } from "./sources.ts";

export type BulkRequest =
  | { readonly op: "folder"; readonly files: FolderFiles; readonly dir: string }
  | { readonly op: "file"; readonly tar: Uint8Array; readonly key: VerifyKey | null }
  | { readonly op: "image"; readonly wasm: Uint8Array; readonly data: string; readonly options: EngineOptions };
export type BulkReply =
  | { readonly ok: true; readonly value: Texts | Image }
  | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] }
  | { readonly ok: false; readonly message: string };

parentPort?.on("message", (request: BulkRequest) => {
  void answered(request).then((reply) => parentPort?.postMessage(reply, memoryOf(reply)));
});

async function answered(request: BulkRequest): Promise<BulkReply> {
  try {
    return { ok: true, value: await made(request) };
  } catch (error) {
    if (error instanceof PolicyRefused) return { ok: false, diagnostics: error.diagnostics };
    return { ok: false, message: error instanceof Error ? error.message : String(error) };
  }
}

async function made(request: BulkRequest): Promise<Texts | Image> {
  if (request.op === "folder") return textsOf(bundleIn(request.files, request.dir));
  if (request.op === "file") {
    const { buffer, byteOffset, byteLength } = request.tar;
    return textsOf(await bundleInTar(Buffer.from(buffer, byteOffset, byteLength), request.key));
  }
  const { wasm, data, options } = request;
  const module = new WebAssembly.Module(meter(wasm));
  const image = imageOf(warmInstance(module, data, options));
  // the memory itself cannot be handed over
  return { ...image, data: image.data.slice() };
}

/** Handed over, not copied. */
function memoryOf(reply: BulkReply): readonly ArrayBuffer[] {
  return reply.ok && "module" in reply.value ? [reply.value.data.buffer] : [];
}
