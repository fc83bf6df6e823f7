/**
 * Is this Rego sound, and what is it as wasm? OPA's own compiler, itself as wasm, in one worker thread that starts
 * at the first request and stays warm. Every answer is data: what is wrong comes as diagnostics with file, row and
 * column. What surprises: the worker is thrown away after any fault, after a timeout, and when it has grown past
 * `memoryBytesMax`, because wasm memory never shrinks.
 */
import { readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";
import type { JsonObject } from "../model.ts";
import { BUILTINS, TEST_BUILTINS } from "./capabilities.ts";
import type { WorkerReply } from "./compiler-worker.ts";
import { type Diagnostic, fault } from "./diagnostic.ts";
import { scanSources } from "./scan.ts";

export type Sources = {
  /** Rego text by path, as it is to appear in diagnostics. */
  readonly modules: { readonly [path: string]: string };
  /** Base documents: a rule at a path that they occupy is an error. */
  readonly data: JsonObject;
  /** JSON Schemas by the name that `# METADATA schemas` uses, e.g. `schema.input`. */
  readonly schemas?: JsonObject;
  /** Paths below which only the file `owner` may define rules. */
  readonly reserved?: { readonly owner: string; readonly paths: readonly string[] };
  /** Rules that must exist, e.g. `portcullis.decision`. */
  readonly required?: readonly string[];
};
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly diagnostics: readonly Diagnostic[] };

export type TestResult = {
  readonly package: string;
  readonly name: string;
  readonly file: string;
  readonly row: number;
  readonly status: "pass" | "fail" | "error" | "skip";
  /** Where and why it failed. */
  readonly at?: Diagnostic;
  /** What print() wrote. */
  readonly output?: string;
  readonly trace?: string;
  readonly steps: number;
};
export type Coverage = {
  readonly [file: string]: { readonly covered: readonly number[]; readonly uncovered: readonly number[] };
};
export type TestReport = { readonly tests: readonly TestResult[]; readonly coverage?: Coverage };
export type TestOptions = { readonly filter?: string; readonly coverage?: boolean; readonly stepsMax?: number };
export type RuleInfo = {
  readonly path: string;
  readonly kind: "complete" | "function" | "partial_set" | "partial_object";
  readonly default: boolean;
  readonly file: string;
  readonly row: number;
  readonly inputs: readonly string[];
  readonly data: readonly string[];
  readonly builtins: readonly string[];
};
export type Inspection = {
  readonly packages: readonly string[];
  readonly rules: readonly RuleInfo[];
  readonly inputs: readonly string[];
  readonly annotations: readonly JsonObject[];
};

export type Compiler = {
  /** `sha256:` of the compiler's binary, part of the key of all that it made. Does not load it. */
  readonly digest: string;
  /** Every error of every file. Tests may call more built-ins than what is enforced. */
  readonly check: (sources: Sources, builtins?: readonly string[]) => Promise<readonly Diagnostic[]>;
  /** To OPA's policy.wasm; entrypoints are `package/rule`. Never optimises: that folds absent data to undefined. */
  readonly compile: (sources: Sources, entrypoints: readonly string[]) => Promise<Outcome<Uint8Array<ArrayBuffer>>>;
  /** The files whose text would change, formatted. */
  readonly format: (modules: Sources["modules"]) => Promise<Outcome<{ readonly [path: string]: string }>>;
  readonly test: (sources: Sources, options?: TestOptions) => Promise<Outcome<TestReport>>;
  readonly inspect: (sources: Sources) => Promise<Outcome<Inspection>>;
  /** What OPA's own built-in answers; operands and value are Rego term text. Undefined is null. */
  readonly builtin: (name: string, operands: readonly string[]) => Promise<Outcome<string | null>>;
  readonly close: () => Promise<void>;
};
export type CompilerOptions = {
  /** The brotli-compressed binary; its digest is read from beside it (`opa.wasm.sha256`). */
  readonly wasmPath: string;
  readonly timeoutMs?: number;
  readonly memoryBytesMax?: number;
};

const TEST_STEPS_MAX = 5_000_000;

export function createCompiler(options: CompilerOptions): Compiler {
  const thread = createThread(options);
  const ask = async <T>(op: string, request: object, modules: Sources["modules"]): Promise<Outcome<Answered<T>>> => {
    const refused = scanSources(modules);
    return refused.length > 0
      ? { ok: false, diagnostics: refused }
      : thread.ask<T>(JSON.stringify({ op, strict: true, ...request }));
  };
  return {
    digest: readDigest(options.wasmPath),
    check: async (sources, builtins = BUILTINS) => {
      const answer = await ask("check", { ...sources, builtins }, sources.modules);
      return answer.ok ? [] : answer.diagnostics;
    },
    compile: async (sources, entrypoints) =>
      map(
        await ask("compile", { ...sources, builtins: BUILTINS, entrypoints }, sources.modules),
        (answer) => answer.wasm,
      ),
    format: async (modules) =>
      map(
        await ask<{ changed: { [path: string]: string } }>("format", { modules }, modules),
        ({ result }) => result.changed,
      ),
    test: async (sources, { filter = "", coverage = false, stepsMax = TEST_STEPS_MAX } = {}) => {
      const request = { ...sources, builtins: TEST_BUILTINS, strict: false, filter, coverage, steps_max: stepsMax };
      return map(await ask<TestReport>("test", request, sources.modules), ({ result }) => result);
    },
    inspect: async (sources) =>
      map(
        await ask<Inspection>("inspect", { ...sources, builtins: BUILTINS }, sources.modules),
        ({ result }) => result,
      ),
    builtin: async (name, operands) => {
      const answer = await ask<{ defined: boolean; value: string }>("builtin", { name, args: operands }, {});
      return map(answer, ({ result }) => (result.defined ? result.value : null));
    },
    close: thread.close,
  };
}

function readDigest(wasmPath: string): string {
  return `sha256:${readFileSync(wasmPath.replace(/\.br$/u, ".sha256"), "utf8").slice(0, 64)}`;
}

function map<T, U>(outcome: Outcome<T>, to: (value: T) => U): Outcome<U> {
  return outcome.ok ? { ok: true, value: to(outcome.value) } : outcome;
}

type Answered<T> = { readonly result: T; readonly wasm: Uint8Array<ArrayBuffer> };
type Thread = {
  readonly ask: <T>(request: string) => Promise<Outcome<Answered<T>>>;
  readonly close: () => Promise<void>;
};

/** One request at a time: the compiler is single-threaded, and a timeout must count its own work only. */
function createThread({ wasmPath, timeoutMs = 60_000, memoryBytesMax = 200 * 2 ** 20 }: CompilerOptions): Thread {
  let worker: Worker | null = null;
  let last: Promise<unknown> = Promise.resolve();
  const stop = async (): Promise<void> => {
    const old = worker;
    worker = null;
    await old?.terminate();
  };
  const ask = async <T>(request: string): Promise<Outcome<Answered<T>>> => {
    try {
      worker ??= start(wasmPath);
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
    ask: async <T>(request: string) => {
      const next = last.then(() => ask<T>(request));
      last = next;
      return next;
    },
    close: async () => {
      await last;
      await stop();
    },
  };
}

function start(wasmPath: string): Worker {
  // published as JavaScript, the sources run as they are
  const file = import.meta.url.endsWith(".ts") ? "./compiler-worker.ts" : "./compiler-worker.js";
  const limits = { maxOldGenerationSizeMb: 256, stackSizeMb: 8 };
  return new Worker(new URL(file, import.meta.url), { workerData: { wasmPath }, env: {}, resourceLimits: limits });
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
