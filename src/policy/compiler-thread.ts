/**
 * How is the compiler asked? In a worker of its own, which ends when nobody has asked for a while: a gateway that has its
 * policy does without the compiler's 300 MB.
 */
import type { WorkerReply } from "./compiler-worker.ts";
import { type Diagnostic, fault, type Outcome } from "./diagnostic.ts";
import { createLeash } from "./leash.ts";

export type ThreadOptions = {
  /** The brotli-compressed binary. */
  readonly wasmPath: string;
  /** `sha256:` of what it decompresses to: the worker runs nothing else. */
  readonly digest: string;
  readonly memoryBytesMax?: number;
};
export type Request = {
  readonly op: string;
  readonly modules: { readonly [path: string]: string };
  /** JSON of an object; it may be megabytes. */
  readonly data?: string;
  readonly [field: string]: unknown;
};
export type Answered<T> = { readonly result: T; readonly wasm: Uint8Array<ArrayBuffer> };
export type Thread = {
  readonly ask: <T>(request: Request, timeoutMs?: number) => Promise<Outcome<Answered<T>>>;
  readonly close: () => Promise<void>;
};

export function createThread({ memoryBytesMax = 200 * 2 ** 20, ...binary }: ThreadOptions): Thread {
  const leash = createLeash<Request, WorkerReply>({
    url: new URL("compiler-worker.ts", import.meta.url),
    name: "the compiler",
    workerData: binary,
    resourceLimits: { maxOldGenerationSizeMb: 256, stackSizeMb: 8 },
    isSpent: ({ memoryBytes }) => memoryBytes > memoryBytesMax,
  });
  return {
    ask: async <T>(request: Request, timeoutMs?: number) => {
      try {
        return read<T>(await leash.ask(request, { ...(timeoutMs !== undefined && { timeoutMs }) }));
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        return { ok: false, diagnostics: [fault("compiler_fault", message)] };
      }
    },
    close: leash.close,
  };
}

function read<T>({ answer, wasm }: WorkerReply): Outcome<Answered<T>> {
  const { ok, errors, result } = JSON.parse(answer) as { ok: boolean; errors?: readonly Diagnostic[]; result: T };
  return ok ? { ok: true, value: { result, wasm } } : { ok: false, diagnostics: errors ?? [] };
}
