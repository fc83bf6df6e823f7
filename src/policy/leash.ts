/**
 * Who keeps a worker of policies? Starts it at the first request, asks one thing at a time (it is single-threaded, and a
 * timeout must count its own work only), and throws it away after any fault, after a timeout, when it has grown too
 * large, because wasm memory never shrinks, and when nobody has asked for a while.
 */
import { Worker } from "node:worker_threads";
import type { WorkerOptions } from "node:worker_threads";
import { threadEnv } from "../threads.ts";

export type LeashOptions<Reply> = Pick<WorkerOptions, "workerData" | "resourceLimits"> & {
  /** The worker's file. */
  readonly url: URL;
  /** In what goes wrong: `the compiler`. */
  readonly name: string;
  /** After this answer it is thrown away. */
  readonly isSpent?: (reply: Reply) => boolean;
};
export type Leash<Request, Reply> = {
  /** @throws Error that says what became of the worker */
  readonly ask: (request: Request, timeoutMs?: number) => Promise<Reply>;
  readonly close: () => Promise<void>;
};

const TIMEOUT_MS = 60_000;
const IDLE_MS = 5_000;

export function createLeash<Request, Reply>(options: LeashOptions<Reply>): Leash<Request, Reply> {
  const { isSpent = () => false } = options;
  let worker: Worker | null = null;
  let last: Promise<unknown> = Promise.resolve();
  let idle: NodeJS.Timeout | undefined;
  const stop = async (): Promise<void> => {
    const old = worker;
    worker = null;
    await old?.terminate();
  };
  const exchange = async (request: Request, timeoutMs: number): Promise<Reply> => {
    try {
      worker ??= start(options);
      const reply = await exchanged<Reply>(worker, request, { name: options.name, timeoutMs });
      if (isSpent(reply)) await stop();
      return reply;
    } catch (error) {
      await stop();
      throw error;
    }
  };
  return {
    ask: async (request, timeoutMs = TIMEOUT_MS) => {
      clearTimeout(idle);
      const next = last.then(() => exchange(request, timeoutMs));
      const done = next.catch(() => undefined);
      last = done;
      return await next.finally(() => {
        if (last === done) idle = setTimeout(() => void stop(), IDLE_MS).unref();
      });
    },
    close: async () => {
      clearTimeout(idle);
      await last;
      await stop();
    },
  };
}

function start<Reply>({ url, workerData, resourceLimits }: LeashOptions<Reply>): Worker {
  return new Worker(url, { env: threadEnv(), workerData, ...(resourceLimits && { resourceLimits }) });
}

type Terms = { readonly name: string; readonly timeoutMs: number };

/** An idle worker does not keep the process alive; one at work does. */
async function exchanged<Reply>(worker: Worker, request: unknown, { name, timeoutMs }: Terms): Promise<Reply> {
  worker.ref();
  const { promise, resolve, reject } = Promise.withResolvers<Reply>();
  const timer = setTimeout(() => reject(new Error(`${name} gave no answer in ${timeoutMs} ms`)), timeoutMs);
  const onExit = (): void => reject(new Error(`${name}'s thread ended`));
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
