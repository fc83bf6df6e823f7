/**
 * Who keeps the compiler's worker? Starts it at the first request, asks one thing at a time (it is single-threaded,
 * and a timeout must count its own work only), and throws it away after any fault, after a timeout, when it has grown
 * past `memoryBytesMax`, because wasm memory never shrinks, and when nobody has asked for a while: a gateway that has
 * its policy does without the compiler's 300 MB.
 */
import { Worker } from "node:worker_threads";
import { threadEnv } from "../threads.ts";
import type { WorkerReply } from "./compiler-worker.ts";
import { type Diagnostic, fault, type Outcome } from "./diagnostic.ts";

export type ThreadOptions = {
  /** The brotli-compressed binary. */
  readonly wasmPath: string;
  /** `sha256:` of what it decompresses to: the worker runs nothing else. */
  readonly digest: string;
  readonly memoryBytesMax?: number;
};
export type Answered<T> = { readonly result: T; readonly wasm: Uint8Array<ArrayBuffer> };
export type Thread = {
  readonly ask: <T>(request: string, timeoutMs?: number) => Promise<Outcome<Answered<T>>>;
  readonly close: () => Promise<void>;
};

const TIMEOUT_MS = 60_000;
const IDLE_MS = 5_000;

export function createThread(options: ThreadOptions): Thread {
  const { memoryBytesMax = 200 * 2 ** 20 } = options;
  let worker: Worker | null = null;
  let last: Promise<unknown> = Promise.resolve();
  let idle: NodeJS.Timeout | undefined;
  const stop = async (): Promise<void> => {
    const old = worker;
    worker = null;
    await old?.terminate();
  };
  const ask = async <T>(request: string, timeoutMs: number): Promise<Outcome<Answered<T>>> => {
    try {
      worker ??= start(options);
      const reply = await exchange(worker, request, timeoutMs);
      if (reply.memoryBytes > memoryBytesMax) await stop();
      return read<T>(reply);
    } catch (error) {
      await stop();
      return {
        ok: false,
        diagnostics: [fault("compiler_fault", error instanceof Error ? error.message : String(error))],
      };
    }
  };
  return {
    ask: async <T>(request: string, timeoutMs = TIMEOUT_MS) => {
      clearTimeout(idle);
      const next = last.then(() => ask<T>(request, timeoutMs));
      last = next;
      const outcome = await next;
      if (last === next) idle = setTimeout(() => void stop(), IDLE_MS).unref();
      return outcome;
    },
    close: async () => {
      clearTimeout(idle);
      await last;
      await stop();
    },
  };
}

function start({ wasmPath, digest }: ThreadOptions): Worker {
  // published as JavaScript, the sources run as they are
  const file = import.meta.url.endsWith(".ts") ? "./compiler-worker.ts" : "./compiler-worker.js";
  const limits = { maxOldGenerationSizeMb: 256, stackSizeMb: 8 };
  return new Worker(new URL(file, import.meta.url), {
    workerData: { wasmPath, digest },
    env: threadEnv(),
    resourceLimits: limits,
  });
}

/** An idle worker does not keep the process alive; one at work does. */
async function exchange(worker: Worker, request: string, timeoutMs: number): Promise<WorkerReply> {
  worker.ref();
  const { promise, resolve, reject } = Promise.withResolvers<WorkerReply>();
  const timer = setTimeout(() => reject(new Error(`the compiler gave no answer in ${timeoutMs} ms`)), timeoutMs);
  const onExit = (): void => reject(new Error("the compiler's thread ended"));
  worker.once("message", resolve).once("error", reject).once("exit", onExit);
  try {
    worker.postMessage(request);
    return await promise;
  } finally {
    clearTimeout(timer);
    worker.off("message", resolve).off("error", reject).off("exit", onExit);
    worker.unref();
  }
}

function read<T>({ answer, wasm }: WorkerReply): Outcome<Answered<T>> {
  const { ok, errors, result } = JSON.parse(answer) as { ok: boolean; errors?: readonly Diagnostic[]; result: T };
  return ok ? { ok: true, value: { result, wasm } } : { ok: false, diagnostics: errors ?? [] };
}
