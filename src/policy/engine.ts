/**
 * What does the compiled policy answer? opa-wasm on a metered module in an instance of our own, on the calling
 * thread, hardened: after any throw the shadow stack is put back, so that hostile input cannot wear the instance out;
 * steps, memory, input size and depth are bounded; no result but exactly one `{result}` counts. What surprises: OPA
 * parses its input as a Rego value and never reports a bad one, so the text is always our own JSON.stringify of an
 * object, passed as an ArrayBuffer (which also spares opa-wasm's second stringify); and strings are thrown.
 */
import type { Evaluated, Evaluation, Fault, Json, JsonObject } from "../model.ts";
import { copyInstance, imageOf, loadInstance } from "./instance.ts";
import type { Copying, Image, Instance, InstanceOptions } from "./instance.ts";
import { meter } from "./meter.ts";

export type EngineOptions = InstanceOptions & {
  /** Loop iterations inside the policy per evaluation, and what built-ins cost of them. */
  readonly stepsMax?: number;
  readonly inputCharsMax?: number;
  /** Memory never shrinks: one that an evaluation made grow by more than this is given back with its instance. */
  readonly growthBytesMax?: number;
};
export type Engine = {
  readonly evaluate: (entrypoint: string, input: JsonObject, stepsMax?: number) => Evaluation;
  /** For text that is known to be JSON.stringify's, of an object that was parsed strictly: its depth is not checked again. */
  readonly evaluateText: (entrypoint: string, text: string, stepsMax?: number) => Evaluation;
  readonly stepsMax: number;
  /** Steps that the last evaluation took: the same for the same input. */
  readonly steps: () => number;
  readonly memoryBytes: () => number;
  readonly evaluated: () => Pick<Evaluated, "faults" | "undefinedCalls">;
};

type Failure = Extract<Evaluation, { readonly ok: false }>;

/** Some 25 ms: an endless policy is no longer a stall than that. */
const STEPS_MAX = 500_000;
const DEPTH_MAX = 64;
const DETAIL_CHARS_MAX = 300;
const encoder = new TextEncoder();

type Question = { readonly entrypoint: string; readonly text: string; readonly steps: number };

/** So that nobody can have instances made all day: each costs the time to copy the data. */
const EVALUATIONS_PER_INSTANCE = 1000;

/**
 * Compiles off the calling thread, loads the data, an object or its JSON, and warms every entrypoint.
 * @throws Error if the module is no OPA policy, needs a built-in that the engine has not, or the data does not fit
 */
export async function createEngine(
  wasm: Uint8Array,
  data: JsonObject | string,
  options: EngineOptions = {},
): Promise<Engine> {
  const module = await WebAssembly.compile(meter(wasm));
  return engineIn(warmInstance(module, typeof data === "string" ? data : JSON.stringify(data), options), options);
}

/** The same of what was loaded and warmed elsewhere; other work goes on meanwhile. */
export async function restoreEngine(image: Image, options: EngineOptions): Promise<Engine> {
  const { instance, step } = copyInstance(() => image, options);
  while (!step()) await new Promise(setImmediate);
  return engineIn(instance, options);
}

/** @throws as createEngine, whose data and options these are */
export function warmInstance(module: WebAssembly.Module, data: string, options: EngineOptions): Instance {
  const { stepsMax = STEPS_MAX } = options;
  const instance = loadInstance(module, data, options);
  // the first evaluation takes a few steps more than all later ones
  for (const entrypoint of instance.entrypoints.keys()) evaluate(instance, { entrypoint, text: "{}", steps: stepsMax });
  return instance;
}

function engineIn(first: Instance, options: EngineOptions): Engine {
  const { stepsMax = STEPS_MAX, inputCharsMax = 2 ** 20, growthBytesMax = 2 ** 26 } = options;
  let instance = first;
  const startBytes = bytesOf(first);
  let next: Copying | null = null;
  let evaluations = 0;
  let undefinedCalls = 0;
  const faults: { [fault in Fault]?: number } = {};
  let taken = 0;
  /** A piece with each evaluation, so that none waits for all of it. */
  const recycle = (): void => {
    const isDue = ++evaluations >= EVALUATIONS_PER_INSTANCE && bytesOf(instance) - startBytes > growthBytesMax;
    if (!isDue && next === null) return;
    next ??= copyInstance(() => imageOf(instance, startBytes), options);
    if (!next.step()) return;
    instance = next.instance;
    next = null;
    evaluations = 0;
  };
  const counted = (evaluation: Evaluation): Evaluation => {
    if (!evaluation.ok) faults[evaluation.fault] = (faults[evaluation.fault] ?? 0) + 1;
    return evaluation;
  };
  const ask = (entrypoint: string, text: string, steps: number): Evaluation => {
    taken = 0;
    if (text.length > inputCharsMax)
      return failed("policy_error", `the input is larger than ${inputCharsMax} characters`);
    if (hasLoneSurrogate(text)) return failed("policy_error", "the input holds a lone surrogate");
    recycle();
    const before = instance.host.undefinedCalls();
    const evaluation = evaluate(instance, { entrypoint, text, steps });
    taken = steps - instance.fuel.value;
    undefinedCalls += instance.host.undefinedCalls() - before;
    return evaluation;
  };
  const run: Engine["evaluateText"] = (entrypoint, text, steps = stepsMax) => counted(ask(entrypoint, text, steps));
  return {
    evaluate: (entrypoint, input, steps) => {
      taken = 0;
      if (isDeeperThan(DEPTH_MAX, input))
        return counted(failed("policy_error", `the input is nested more than ${DEPTH_MAX} deep`));
      return run(entrypoint, JSON.stringify(input), steps);
    },
    evaluateText: run,
    stepsMax,
    steps: () => taken,
    memoryBytes: () => bytesOf(instance),
    evaluated: () => ({ faults, undefinedCalls }),
  };
}

function bytesOf({ host }: Instance): number {
  return host.memory.buffer.byteLength;
}

function evaluate(instance: Instance, { entrypoint, text, steps }: Question): Evaluation {
  const id = instance.entrypoints.get(entrypoint);
  if (id === undefined) return failed("policy_undefined", `the policy has no entrypoint ${entrypoint}`);
  instance.fuel.value = steps;
  instance.host.begin(text);
  let results: unknown;
  try {
    results = instance.policy.evaluate(encoder.encode(text).buffer, id);
  } catch (thrown) {
    const spent = instance.fuel.value === 0;
    instance.stackPointer.value = instance.stackTop;
    return explain(thrown, spent);
  }
  return only(results);
}

/** Anything but one result is no decision. */
function only(results: unknown): Evaluation {
  const first: unknown = Array.isArray(results) && results.length === 1 ? results[0] : undefined;
  if (typeof first !== "object" || first === null || !("result" in first))
    return failed("policy_undefined", "the decision is undefined");
  return { ok: true, value: first.result };
}

function explain(thrown: unknown, spent: boolean): Failure {
  if (spent) return failed("policy_budget", "the evaluation ran out of steps");
  if (typeof thrown === "string") return failed("policy_error", thrown);
  if (thrown instanceof WebAssembly.RuntimeError || thrown instanceof RangeError)
    return failed("policy_trap", thrown.message);
  const hasMessage = typeof thrown === "object" && thrown !== null && "message" in thrown;
  return failed("policy_error", hasMessage ? String(thrown.message) : "the evaluation failed");
}

function failed(fault: Fault, detail: string): Failure {
  return { ok: false, fault, detail: detail.slice(0, DETAIL_CHARS_MAX) };
}

function isDeeperThan(levels: number, value: Json): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (levels === 0) return true;
  if (Array.isArray(value)) {
    for (const item of value as readonly Json[]) if (isDeeperThan(levels - 1, item)) return true;
    return false;
  }
  const object = value as JsonObject;
  for (const key in object) if (isDeeperThan(levels - 1, object[key] as Json)) return true;
  return false;
}

/** JSON.stringify writes one as an escape, and nothing else as an escape that starts so, save an escaped backslash. */
const LONE_SURROGATE = /(?<!\\)(?:\\\\)*\\ud[89a-f]/u;

function hasLoneSurrogate(text: string): boolean {
  return text.includes("\\ud") && LONE_SURROGATE.test(text);
}
