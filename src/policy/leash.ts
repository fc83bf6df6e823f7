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
  /** @throws Error that says what became of the worker; also where the signal aborts, which ends its work */
  readonly ask: (request: Request, terms?: Terms) => Promise<Reply>;
  /** Whatever it is at: who waits for that is told. */
  readonly close: () => Promise<void>;
};
export type Terms = { readonly timeoutMs?: number; readonly signal?: AbortSignal };

const TIMEOUT_MS = 60_000;
const IDLE_MS = 5_000;

export function createLeash<Request, Reply>(options: LeashOptions<Reply>): Leash<Request, Reply> {
  const { isSpent = () => false } = options;
  let worker: Worker | null = null;
  let last: Promise<unknown> = Promise.resolve();
  let idle: NodeJS.Timeout | undefined;
  let isClosed = false;
  const started = (): Worker => {
    const made = start(options);
    const forget = (): void => {
      if (worker === made) worker = null;
    };
    // also of one that nobody asks: an error that nobody hears ends the process
    return made.on("error", forget).on("exit", forget);
  };
  const stop = async (): Promise<void> => {
    const old = worker;
    worker = null;
    await old?.terminate();
  };
  const exchange = async (request: Request, terms: Terms): Promise<Reply> => {
    if (isClosed || terms.signal?.aborted === true) throw new Error(`${options.name} is not asked any more`);
    try {
      worker ??= started();
      const reply = await exchanged<Reply>(worker, request, { ...terms, name: options.name });
      if (isSpent(reply)) await stop();
      return reply;
    } catch (error) {
      await stop();
      throw error;
    }
  };
  return {
    ask: async (request, terms = {}) => {
      clearTimeout(idle);
      const next = last.then(() => exchange(request, terms));
      const done = next.catch(() => undefined);
      last = done;
      return await next.finally(() => {
        if (last === done) idle = setTimeout(() => void stop(), IDLE_MS).unref();
      });
    },
    close: async () => {
      isClosed = true;
      clearTimeout(idle);
      await stop();
      await last;
    },
  };
}

function start<Reply>({ url, workerData, resourceLimits }: LeashOptions<Reply>): Worker {
  return new Worker(url, { env: threadEnv(), workerData, ...(resourceLimits && { resourceLimits }) });
}

/** An idle worker does not keep the process alive; one at work does. */
async function exchanged<Reply>(worker: Worker, request: unknown, terms: Terms & { name: string }): Promise<Reply> {
  const { name, timeoutMs = TIMEOUT_MS, signal } = terms;
  worker.ref();
  const { promise, resolve, reject } = Promise.withResolvers<Reply>();
  const timer = setTimeout(() => reject(new Error(`${name} gave no answer in ${timeoutMs} ms`)), timeoutMs);
  const onExit = (): void => reject(new Error(`${name}'s thread ended`));
  const onAbort = (): void => reject(new Error(`${name} is not asked any more`));
  signal?.addEventListener("abort", onAbort);
  worker.once("message", resolve).once("error", reject).once("exit", onExit);
  try {
    worker.postMessage(request);
    return await promise;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
    worker.off("message", resolve).off("error", reject).off("exit", onExit);
    worker.unref();
  }
}
