/**
 * How does a compiled policy reach the host? OPA's ABI: it aborts, and it calls the built-ins that are not compiled into
 * it. What surprises: opa-wasm has such a host of its own, whose sprintf, yaml and regex.split are not OPA's and cannot
 * be replaced, and which rounds numbers; so the module is instantiated here, with our imports, and opa-wasm's
 * LoadedPolicy drives the instance (docs/decisions/6-a-host-of-our-own.md).
 */
import type { Json } from "../model.ts";
import { type Builtin, type Builtins, type Context, OUT_OF_STEPS, UNFIT } from "./builtins/operand.ts";
import { bytesOf, parseTerm, printTerm, textOf } from "./builtins/term.ts";
import { parseRfc3339 } from "./builtins/time-parse.ts";
import { FUEL } from "./meter.ts";

export type Host = {
  readonly instance: WebAssembly.Instance;
  readonly memory: WebAssembly.Memory;
  /** Before each evaluation: the text of its input, whose time the built-ins are told. */
  readonly begin: (inputText: string) => void;
  /** Calls of built-ins, ever, whose operands did not fit: undefined, as OPA has it. */
  readonly undefinedCalls: () => number;
};
export type HostOptions = {
  readonly builtins: Builtins;
  readonly memory: WebAssembly.MemoryDescriptor;
  /** What time.now_ns is where the input has no request.time; RFC 3339. */
  readonly now?: string | undefined;
};

type Exports = {
  readonly opa_value_dump: (address: number) => number;
  readonly opa_json_dump: (address: number) => number;
  readonly opa_value_parse: (address: number, length: number) => number;
  readonly opa_malloc: (length: number) => number;
  readonly builtins: () => number;
};

/** Steps of a call, whatever it is called with, and bytes of its operands and its value that cost one. */
const STEPS_PER_CALL = 32;
const BYTES_PER_STEP = 4;

/** @throws Error if the module calls a built-in that is not given */
export function instantiate(module: WebAssembly.Module, options: HostOptions): Host {
  const memory = new WebAssembly.Memory(options.memory);
  const state: State = { memory, byId: new Map(), left: 0, undefinedCalls: 0, input: "", now: undefined, options };
  const instance = new WebAssembly.Instance(module, { env: importsOf(state) });
  state.exports = instance.exports as Exports;
  state.fuel = instance.exports[FUEL] as WebAssembly.Global;
  nameBuiltins(state, state.exports);
  return {
    instance,
    memory,
    begin: (inputText) => {
      state.input = inputText;
      state.now = undefined;
    },
    undefinedCalls: () => state.undefinedCalls,
  };
}

type State = {
  readonly memory: WebAssembly.Memory;
  readonly byId: Map<number, Builtin>;
  readonly options: HostOptions;
  exports?: Exports;
  fuel?: WebAssembly.Global;
  /** Steps, while a built-in runs: the module's own counter is far away. */
  left: number;
  undefinedCalls: number;
  input: string;
  /** Undefined until it is asked for. */
  now: bigint | null | undefined;
};

function importsOf(state: State): Record<string, WebAssembly.ImportValue> {
  const context: Context = { charge: (steps) => charge(state, steps), nowNs: () => (state.now ??= timeIn(state)) };
  const call = (id: number, _: number, ...operands: number[]): number => callBuiltin(state, context, { id, operands });
  return {
    memory: state.memory,
    opa_abort: (address: number): never => {
      throw new Error(textAt(state.memory, address));
    },
    opa_println: () => {},
    opa_builtin0: call,
    opa_builtin1: call,
    opa_builtin2: call,
    opa_builtin3: call,
    opa_builtin4: call,
  };
}

function nameBuiltins(state: State, exports: Exports): void {
  const text = textAt(state.memory, exports.opa_json_dump(exports.builtins()));
  const ids = JSON.parse(text) as { readonly [name: string]: number };
  const unknown = Object.keys(ids).filter((name) => !Object.hasOwn(state.options.builtins, name));
  if (unknown.length > 0) throw new Error(`the policy needs built-ins that the engine has not: ${unknown.join(", ")}`);
  for (const [name, id] of Object.entries(ids)) state.byId.set(id, state.options.builtins[name] as Builtin);
}

type Call = { readonly id: number; readonly operands: readonly number[] };

/** 0 is undefined. What is thrown here ends the evaluation; only an operand that does not fit does not. */
function callBuiltin(state: State, context: Context, call: Call): number {
  const { exports, fuel } = state as { readonly exports: Exports; readonly fuel: WebAssembly.Global };
  state.left = fuel.value;
  try {
    const bytes = answer(state, exports, { context, call });
    if (bytes === null) return 0;
    const address = exports.opa_malloc(bytes.length);
    new Uint8Array(state.memory.buffer).set(bytes, address);
    const parsed = exports.opa_value_parse(address, bytes.length);
    if (parsed === 0) throw new Error("a built-in's value could not be read");
    return parsed;
  } finally {
    // none left: the module stopped while it wrote an operand or read the value, and that is why
    if (fuel.value > 0) fuel.value = state.left;
  }
}

type Asked = { readonly context: Context; readonly call: Call };

/** The text of the value; null is undefined. */
function answer(state: State, exports: Exports, { context, call: { id, operands } }: Asked): Uint8Array | null {
  charge(state, STEPS_PER_CALL);
  const texts = operands.map((operand) => textAt(state.memory, exports.opa_value_dump(operand)));
  charge(state, texts.reduce((sum, text) => sum + text.length, 0) / BYTES_PER_STEP);
  const value = valueOf(state, state.byId.get(id) as Builtin, { texts, context });
  if (value === undefined) {
    state.undefinedCalls++;
    return null;
  }
  const bytes = bytesOf(value);
  charge(state, bytes.length / BYTES_PER_STEP);
  return bytes;
}

type Given = { readonly texts: readonly string[]; readonly context: Context };

function valueOf(state: State, builtin: Builtin, { texts, context }: Given): string | undefined {
  try {
    const value = builtin(texts.map(parseTerm), context);
    let room = state.left * BYTES_PER_STEP;
    const spend = (characters: number): void => {
      room -= characters;
      if (room < 0) charge(state, state.left);
    };
    return value === undefined ? undefined : printTerm(value, spend);
  } catch (thrown) {
    if (thrown === UNFIT) return undefined;
    throw thrown;
  }
}

/** Out of the same budget as the policy's own loops. */
function charge(state: State, steps: number): void {
  state.left -= Math.ceil(Math.max(steps, 0));
  if (state.left > 0) return;
  state.left = 0;
  throw OUT_OF_STEPS;
}

type Timed = { readonly request?: { readonly time?: Json } | null };

function timeIn(state: State): bigint | null {
  const { input, options } = state;
  charge(state, input.length / BYTES_PER_STEP);
  const document = JSON.parse(input) as (Timed & { readonly input?: Timed | null }) | null;
  // what is asked about a decision holds the question
  const time = document?.request?.time ?? document?.input?.request?.time ?? options.now;
  return typeof time === "string" ? parseRfc3339(time) : null;
}

function textAt(memory: WebAssembly.Memory, address: number): string {
  const bytes = new Uint8Array(memory.buffer);
  return textOf(bytes.subarray(address, bytes.indexOf(0, address)));
}
