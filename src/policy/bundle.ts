/**
 * From a folder of Rego to the policy in force: read, compile with the generated wrapper around it (or find it
 * compiled), load the roles, warm. What surprises: what a list says about a principal and a tool is remembered where
 * nothing else can matter, and a use is not asked that again.
 */
import { createHash } from "node:crypto";
import type { Evaluation, Policy, PolicySource, Tool } from "../model.ts";
import type { PolicyCache } from "./cache.ts";
import { BUILTINS, TIMED_BUILTINS } from "./capabilities.ts";
import type { Compiler, Inspection, Sources } from "./compiler.ts";
import { type Roles, textOf } from "./data.ts";
import { fault, type Outcome, PolicyRefused } from "./diagnostic.ts";
import { createEngine, type Engine, type EngineOptions } from "./engine.ts";
import { isError, LINTS, lint } from "./lint.ts";
import { maskSources, policyModules, warmMask, withMask } from "./log-mask.ts";
import { reachable } from "./reachable.ts";
import { readsIn, readsOf, withReads } from "./reads.ts";
import { SCHEMAS } from "./schemas.ts";
import type { Texts } from "./sources.ts";
import { createLister, type Listed } from "./list.ts";
import { listedMemo } from "./listed.ts";
import { DECISION, LIST, OWNER, REQUIRED_RULES, RESERVED_PATHS, USE, WRAPPER } from "./wrapper.ts";

export type LoadPorts = {
  readonly compiler: Pick<Compiler, "digest" | "compile" | "inspect">;
  readonly cache: PolicyCache | null;
  /** Engines may be made elsewhere. */
  readonly create?: typeof createEngine;
};
type Creating = { readonly create?: LoadPorts["create"] | undefined };
/** In shadow, what would be refused in force is only warned of. */
export type Judged = { readonly shadow?: boolean };

const ENTRYPOINTS = [DECISION, USE, LIST] as const;

/** What is kept of a compilation beyond the module itself: another word where that becomes more. */
const ARTIFACT = "with reads";

/** @throws PolicyRefused with every diagnostic; the policy in force stays what it was */
export async function loadPolicy(
  ports: LoadPorts,
  bundle: Texts,
  roles: Roles,
  options: EngineOptions & Judged = {},
): Promise<Policy> {
  const { shadow = false } = options;
  const made = [ARTIFACT, ports.compiler.digest, BUILTINS, ENTRYPOINTS, Object.keys(LINTS), shadow];
  const { named, digest } = bundle.data;
  const all = [sourcesOf(bundle), maskSources(bundle)].map((sources) => ({ ...sources, data: [named, digest] }));
  const key = sha256(...made, ...all);
  const module = (await ports.cache?.read(key)) ?? (await compileInto(ports, bundle, { key, shadow }));
  return warmPolicy({ key, module, data: textOf(bundle.data) }, roles, { ...options, create: ports.create });
}

/** The policy of what was compiled before, here or elsewhere. @throws PolicyRefused */
export async function warmPolicy(
  source: PolicySource,
  roles: Roles,
  { create = createEngine, ...options }: EngineOptions & Creating = {},
): Promise<Policy> {
  const { key, module, data } = source;
  const wasm = module.subarray(1);
  const make = (part: Uint8Array): Promise<Engine> => create(part, data, { ...options, roles });
  const made = [make(wasm), warmMask(wasm, make)] as const;
  const [engine, mask] = await Promise.all(made).catch((error: unknown) => {
    if (error instanceof PolicyRefused) throw error;
    throw new PolicyRefused([fault("policy_not_loaded", error instanceof Error ? error.message : String(error))]);
  });
  const list = createLister(engine);
  return {
    revision: sha256(
      key,
      Object.entries(roles).toSorted(([a], [b]) => (a < b ? -1 : 1)),
    ),
    source,
    reads: readsIn(wasm),
    ...(mask === null ? {} : { logMask: mask.ask }),
    evaluated: () => ({ ...engine.evaluated(), maskFaults: mask?.faults() ?? 0 }),
    decide: (input) => engine.evaluate(DECISION, input),
    list: async (input) => evaluationOf(await list(input)),
    ...(module[0] === LISTING_IS_PURE ? remembering(engine, list) : forgetful(engine, list)),
  };
}

type OfTools = Pick<Policy, "decideUse" | "listTools">;

type Lister = ReturnType<typeof createLister>;

function forgetful(engine: Engine, list: Lister): OfTools {
  return {
    decideUse: (text) => engine.evaluateText(DECISION, text),
    listTools: async (ask, { tools }) => evaluationOf(await list(ask(tools))),
  };
}

/** The indices of those that are listed. */
function evaluationOf({ answers, refused }: Listed): Evaluation {
  return refused ?? { ok: true, value: [...answers.keys()].filter((at) => answers[at] === true) };
}

/**
 * A use asks the policy twice: the use itself, and whether a list would show the tool. The second answer is remembered,
 * and a list asks for it where it is not: it can be nothing but the same, computed from this principal and this tool
 * alone.
 */
function remembering(engine: Engine, list: Lister): OfTools {
  const memo = listedMemo();
  const decideUse: OfTools["decideUse"] = (text, { principal, tool }) => {
    const listed = memo.get(principal, tool);
    if (listed !== undefined) {
      const { ok, ...answer } = engine.evaluateText(USE, text) as Evaluation & { value?: unknown };
      return ok ? { ok, value: { decision: answer.value, listed } } : ({ ok, ...answer } as Evaluation);
    }
    const both = engine.evaluateText(DECISION, text);
    if (both.ok) memo.set(principal, tool, (both.value as { listed?: unknown }).listed === true);
    return both;
  };
  const listTools: OfTools["listTools"] = async (ask, { principal, tools }) => {
    const known = tools.map((tool) => memo.get(principal, tool));
    const unknown = tools.filter((_, at) => known[at] === undefined);
    const { answers, refused } = unknown.length === 0 ? NOTHING_ASKED : await list(ask(unknown));
    // what is missing because a rule faulted, or the steps ran out, may not be missing next time
    for (const [at, answer] of answers.entries()) if (answer !== null) memo.set(principal, unknown[at] as Tool, answer);
    let asked = 0;
    return evaluationOf({ answers: known.map((one) => one ?? answers[asked++] ?? null), refused });
  };
  return { decideUse, listTools };
}

const NOTHING_ASKED: Listed = { answers: [], refused: null };

/** What is compiled and checked: the bundle as its author wrote it, and the wrapper around it. */
export function sourcesOf(bundle: Texts): Sources {
  return {
    modules: { ...policyModules(bundle.modules), [OWNER]: WRAPPER },
    data: textOf(bundle.data),
    schemas: SCHEMAS,
    reserved: { owner: OWNER, paths: RESERVED_PATHS },
    required: REQUIRED_RULES,
  };
}

/** First byte of what is kept and sent; the rest is the module. */
const LISTING_IS_PURE = 1;

/** To wasm, with the wrapper, and the mask of its log at its end; all that is wrong with it as diagnostics. */
export async function compileBundle(
  compiler: Pick<Compiler, "compile" | "inspect">,
  bundle: Texts,
): Promise<Outcome<Uint8Array>> {
  const policy = await compiler.compile(sourcesOf(bundle), ENTRYPOINTS);
  return policy.ok ? await withMask(compiler, policy.value, bundle) : policy;
}

/** @throws PolicyRefused also for what compiles and is too dangerous to enforce */
async function compileInto(
  { compiler, cache }: LoadPorts,
  bundle: Texts,
  { key, ...judged }: Judged & { readonly key: string },
): Promise<Uint8Array> {
  const inspected = await compiler.inspect(sourcesOf(bundle));
  if (!inspected.ok) throw new PolicyRefused(inspected.diagnostics);
  const refused = lint(inspected.value, judged).filter(isError);
  if (refused.length > 0) throw new PolicyRefused(refused);
  const compiled = await compileBundle(compiler, bundle);
  if (!compiled.ok) throw new PolicyRefused(compiled.diagnostics);
  const module = withReads(compiled.value, readsOf(inspected.value));
  const artifact = new Uint8Array(1 + module.length);
  artifact[0] = isListingPure(inspected.value) ? LISTING_IS_PURE : 0;
  artifact.set(module, 1);
  await cache?.write(key, artifact);
  return artifact;
}

/** What a question of a list holds for one principal and one tool, whoever asks and whenever. */
const SAME_IN_EVERY_LIST = /^input\.(request\.operation|(principal|tool|target|arguments)(?![^.[]).*)$/;

/** Whether no rule that the decision reaches reads anything else: the time, the address, the input as a whole. */
function isListingPure({ rules }: Inspection): boolean {
  return reachable(rules, REQUIRED_RULES).every(
    ({ inputs, builtins }) =>
      inputs.every((path) => SAME_IN_EVERY_LIST.test(path)) && !builtins.some((name) => TIMED_BUILTINS.includes(name)),
  );
}

function sha256(...parts: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
