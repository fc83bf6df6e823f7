/**
 * From a folder of Rego to the policy in force: read, compile with the generated wrapper around it (or find it
 * compiled), load the roles, warm. What surprises: one tool whose rules fault does not empty a list. Then the tools
 * are asked about one by one, and the faulty one alone is missing; all of it within one budget of steps.
 */
import { createHash } from "node:crypto";
import type { Evaluation, Json, JsonObject, Policy } from "../model.ts";
import type { PolicyCache } from "./cache.ts";
import { BUILTINS } from "./capabilities.ts";
import type { Compiler, Sources } from "./compiler.ts";
import { fault, type Outcome, PolicyRefused } from "./diagnostic.ts";
import { createEngine, type Engine, type EngineOptions } from "./engine.ts";
import type { Bundle } from "./sources.ts";
import { listedMemo } from "./listed.ts";
import { DECISION, LIST, OWNER, REQUIRED_RULES, RESERVED_PATHS, USE, WRAPPER } from "./wrapper.ts";

export type LoadPorts = {
  readonly compiler: Pick<Compiler, "digest" | "compile" | "inspect">;
  readonly cache: PolicyCache | null;
};
export type Roles = { readonly [role: string]: readonly string[] };

const ENTRYPOINTS = [DECISION, USE, LIST] as const;
/** Tools asked about in one evaluation, which bounds its input and its memory. */
const LIST_TOOLS_MAX = 500;
/** So many tools add the steps of one evaluation to what a list may take. */
const TOOLS_PER_BUDGET = 50;

/** @throws PolicyRefused with every diagnostic; the policy in force stays what it was */
export async function loadPolicy(
  ports: LoadPorts,
  bundle: Bundle,
  roles: Roles,
  options: EngineOptions = {},
): Promise<Policy> {
  const key = sha256(ports.compiler.digest, BUILTINS, ENTRYPOINTS, sourcesOf(bundle));
  const artifact = (await ports.cache?.read(key)) ?? (await compileInto(ports, bundle, key));
  const engine = await createEngine(artifact.subarray(1), withRoles(bundle.data, roles), options).catch(
    (error: unknown) => {
      throw new PolicyRefused([fault("policy_not_loaded", error instanceof Error ? error.message : String(error))]);
    },
  );
  return {
    revision: sha256(
      key,
      Object.entries(roles).toSorted(([a], [b]) => (a < b ? -1 : 1)),
    ),
    decide: (input) => engine.evaluate(DECISION, input),
    decideUse: useOf(engine, artifact[0] === LISTING_IS_PURE),
    list: (input) => listAll(engine, input),
  };
}

/**
 * A use asks the policy twice: the use itself, and whether a list would show the tool. The second answer is remembered
 * where it can be nothing but the same: it was computed from this principal and this tool alone.
 */
function useOf(engine: Engine, isPure: boolean): Policy["decideUse"] {
  if (!isPure) return (text) => engine.evaluateText(DECISION, text);
  const memo = listedMemo();
  return (text, { principal, tool }) => {
    const listed = memo.get(principal, tool);
    if (listed !== undefined) {
      const { ok, ...answer } = engine.evaluateText(USE, text) as Evaluation & { value?: unknown };
      return ok ? { ok, value: { decision: answer.value, listed } } : ({ ok, ...answer } as Evaluation);
    }
    const both = engine.evaluateText(DECISION, text);
    if (both.ok) memo.set(principal, tool, (both.value as { listed?: unknown }).listed === true);
    return both;
  };
}

/** What is compiled and checked: the bundle as its author wrote it, and the wrapper around it. */
export function sourcesOf(bundle: Bundle): Sources {
  return {
    modules: { ...bundle.modules, [OWNER]: WRAPPER },
    data: bundle.data,
    reserved: { owner: OWNER, paths: RESERVED_PATHS },
    required: REQUIRED_RULES,
  };
}

/** The author's data, and the roles where policies find them: `data.portcullis.roles`. */
export function withRoles(data: JsonObject, roles: Roles): JsonObject {
  return { ...data, portcullis: { ...(data["portcullis"] as JsonObject | undefined), roles } };
}

/** First byte of what is kept on disk; the rest is the module. */
const LISTING_IS_PURE = 1;

/** To wasm, with the wrapper; all that is wrong with it as diagnostics. */
export async function compileBundle(compiler: Pick<Compiler, "compile">, bundle: Bundle): Promise<Outcome<Uint8Array>> {
  return compiler.compile(sourcesOf(bundle), ENTRYPOINTS);
}

async function compileInto({ compiler, cache }: LoadPorts, bundle: Bundle, key: string): Promise<Uint8Array> {
  const compiled = await compileBundle(compiler, bundle);
  if (!compiled.ok) throw new PolicyRefused(compiled.diagnostics);
  const artifact = new Uint8Array(1 + compiled.value.length);
  artifact[0] = (await isListingPure(compiler, bundle)) ? LISTING_IS_PURE : 0;
  artifact.set(compiled.value, 1);
  await cache?.write(key, artifact);
  return artifact;
}

/** What a question of a list holds for one principal and one tool, whoever asks and whenever. */
const SAME_IN_EVERY_LIST = /^input\.(request\.operation|(principal|tool|target|arguments)(?![^.[]).*)$/;

/** Whether no rule of the author's reads anything else: the time, the address, the input as a whole. */
async function isListingPure(compiler: LoadPorts["compiler"], bundle: Bundle): Promise<boolean> {
  const inspected = await compiler.inspect(sourcesOf(bundle));
  if (!inspected.ok) return false;
  const rules = inspected.value.rules.filter(({ file }) => file !== OWNER);
  return rules.every(({ inputs }) => inputs.every((path) => SAME_IN_EVERY_LIST.test(path)));
}

function sha256(...parts: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

function listAll(engine: Engine, input: JsonObject): Evaluation {
  const tools = input["tools"];
  if (!Array.isArray(tools)) return { ok: false, fault: "policy_error", detail: "the input has no list of tools" };
  const allowed: number[] = [];
  for (let from = 0; from < tools.length; from += LIST_TOOLS_MAX) {
    const some = listSome(engine, input, tools.slice(from, from + LIST_TOOLS_MAX) as readonly Json[]);
    for (const index of some) allowed.push(from + index);
  }
  return { ok: true, value: allowed };
}

function listSome(engine: Engine, input: JsonObject, tools: readonly Json[]): readonly number[] {
  const budget = engine.stepsMax * (1 + Math.ceil(tools.length / TOOLS_PER_BUDGET));
  const whole = engine.evaluate(LIST, { ...input, tools }, budget);
  if (whole.ok) return whole.value as readonly number[];
  let left = budget;
  return [...tools.keys()].filter((index) => {
    if (left <= 0) return false;
    const one = engine.evaluate(LIST, { ...input, tools: [tools[index] ?? null] }, Math.min(left, engine.stepsMax));
    left -= engine.steps();
    return one.ok && (one.value as readonly number[]).length === 1;
  });
}
