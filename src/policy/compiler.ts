/**
 * Is this Rego sound, and what is it as wasm? OPA's own compiler, itself as wasm, in one worker thread that starts
 * at the first request and stays warm. Every answer is data: what is wrong comes as diagnostics with file, row and
 * column.
 */
import { readFileSync } from "node:fs";
import type { Json, JsonObject } from "../model.ts";
import { BUILTINS, TEST_BUILTINS } from "./capabilities.ts";
import { type Answered, createThread, type ThreadOptions } from "./compiler-thread.ts";
import type { Diagnostic, Outcome } from "./diagnostic.ts";

export type Sources = {
  /** Rego text by path, as it is to appear in diagnostics. */
  readonly modules: { readonly [path: string]: string };
  /** Base documents, or their JSON: a rule at a path that they occupy is an error. */
  readonly data: JsonObject | string;
  /** JSON Schemas by the name that `# METADATA schemas` uses, e.g. `schema.input`; `input` is the type of every rule's. */
  readonly schemas?: JsonObject;
  /** Paths below which only the file `owner` may define rules. */
  readonly reserved?: { readonly owner: string; readonly paths: readonly string[] };
  /** Rules that must exist, e.g. `portcullis.decision`. */
  readonly required?: readonly string[];
};

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
/** A place that `lint.ts` has words for. */
export type Finding = {
  readonly lint: string;
  readonly rule: string;
  /** The expression, as its author wrote it. */
  readonly text: string;
  /** The built-in that may fail, or what may be missing, and where. */
  readonly cause?: string;
  readonly causeAt?: string;
  readonly file: string;
  readonly row: number;
  readonly col: number;
  /** Of the annotation that switches the lint off here. */
  readonly reason?: string;
  /** Of an obligation; absent where it varies. */
  readonly value?: Json;
};
/** One that a decision gives, `cause`, as far as it is written out; of a list each member by itself. */
export type WrittenObligation = Finding & { readonly cause: string };
export type Annotated = {
  readonly path: string;
  readonly file: string;
  readonly row: number;
  readonly annotations: {
    readonly scope: string;
    readonly title?: string;
    readonly description?: string;
    readonly entrypoint?: boolean;
    readonly custom?: JsonObject;
  };
};
export type Inspection = {
  readonly packages: readonly string[];
  readonly rules: readonly RuleInfo[];
  readonly inputs: readonly string[];
  readonly annotations: readonly Annotated[];
  /** Of what `required` leads to; empty without it. */
  readonly lint: readonly Finding[];
  readonly obligations: readonly WrittenObligation[];
};

export type Compiler = {
  /** `sha256:` of the compiler's binary, part of the key of all that it made. Does not load it. */
  readonly digest: string;
  /** The errors of all files, stage by stage: what does not parse hides what is unsafe. Tests may call more built-ins than what is enforced. */
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

const TEST_STEPS_MAX = 5_000_000;

/** The binary's digest is read from beside it, `opa.wasm.sha256`. */
export function createCompiler(options: Omit<ThreadOptions, "digest">): Compiler {
  const digest = readDigest(options.wasmPath);
  const thread = createThread({ ...options, digest });
  const ask = <T>(
    op: string,
    { data = {}, ...request }: Partial<Sources>,
    more: object = {},
  ): Promise<Outcome<Answered<T>>> => {
    const text = typeof data === "string" ? data : JSON.stringify(data);
    return thread.ask<T>({ op, strict: true, modules: {}, ...request, ...more, data: text });
  };
  return {
    digest,
    check: async (sources, builtins = BUILTINS) => {
      const answer = await ask("check", sources, { builtins });
      return answer.ok ? [] : answer.diagnostics;
    },
    compile: async (sources, entrypoints) =>
      map(await ask("compile", sources, { builtins: BUILTINS, entrypoints }), (answer) => answer.wasm),
    format: async (modules) =>
      map(await ask<{ changed: { [path: string]: string } }>("format", { modules }), ({ result }) => result.changed),
    test: async (sources, { filter = "", coverage = false, stepsMax = TEST_STEPS_MAX } = {}) => {
      const more = { builtins: TEST_BUILTINS, strict: false, filter, coverage, steps_max: stepsMax };
      return map(await ask<TestReport>("test", sources, more), ({ result }) => result);
    },
    inspect: async (sources) =>
      map(await ask<Inspection>("inspect", sources, { builtins: BUILTINS }), ({ result }) => result),
    builtin: async (name, operands) => {
      const answer = await ask<{ defined: boolean; value: string }>("builtin", {}, { name, args: operands });
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
