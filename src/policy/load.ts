/** Which policy is in force? Reads the folder, compiles it unless the cache knows it, warms it. One compiler, loaded on first use. */
import { join } from "node:path";
import type { Policy, PolicySource, Shadow, Snapshot } from "../model.ts";
import type { Ports } from "../ports.ts";
import { createArchive } from "./archive.ts";
import type { Archive } from "./archive.ts";
import { loadPolicy, warmPolicy } from "./bundle.ts";
import type { Judged } from "./bundle.ts";
import type { Roles } from "./data.ts";
import { createBulk } from "./bulk.ts";
import type { Bulk } from "./bulk.ts";
import { createCache } from "./cache.ts";
import { failingTests } from "./commands.ts";
import { createCompiler } from "./compiler.ts";
import { thinCoverage } from "./coverage.ts";
import { PolicyRefused } from "./diagnostic.ts";
import type { EngineOptions } from "./engine.ts";
import { rulesIn } from "./rules.ts";
import { createTallies } from "./shadow-tally.ts";
import type { Tallies } from "./shadow-tally.ts";
import { textsOf } from "./sources.ts";
import type { Bundle, Texts } from "./sources.ts";
import { createTracer } from "./trace.ts";
import type { Tracer } from "./trace.ts";

export type Policies = {
  /** A folder, or what was read. @throws PolicyRefused with every diagnostic; what is in force stays */
  readonly load: (from: string | Texts, roles: Roles, judged?: Judged) => Promise<Policy>;
  readonly readFile: Bulk["readFile"];
  /**
   * Runs the bundle's own tests, which reach at least so many percent of its lines.
   * @throws PolicyRefused naming each that fails, or the lines that none reaches
   */
  readonly prove: (bundle: Texts, roles: Roles, coverage: number | null) => Promise<void>;
  /** Compiled before, here or elsewhere. @throws PolicyRefused */
  readonly warm: (source: PolicySource, roles: Roles) => Promise<Policy>;
  /** One that cannot be loaded says so, and keeps nothing else from going on. */
  readonly shadows: (wanted: readonly ShadowWish[], roles: Roles) => Promise<readonly Shadow[]>;
  readonly shadowStates: Tallies["states"];
  /** What was loaded here, by the key of its source; null for what came compiled. */
  readonly textOf: (key: string) => Texts | null;
  /** The texts of what is in force, and of what is in shadow. */
  readonly keep: (snapshot: Pick<Snapshot, "policy" | "roles">) => Promise<void>;
  readonly archived: Archive["read"];
  /** @throws Refusal overloaded */
  readonly trace: Tracer;
  /** Its author's rules, and what they read. */
  readonly rules: (bundle: Texts) => ReturnType<typeof rulesIn>;
  readonly close: () => Promise<void>;
};
/** `from`: a folder, what was applied, or what was compiled before. */
export type ShadowWish = {
  readonly name: string;
  readonly from: string | Bundle | PolicySource;
  readonly stepsMax: number;
};
type Options = {
  readonly compilerDir: string;
  readonly cacheDir: string;
  readonly archiveDir: string;
  readonly ports: Ports;
};

const FAULT_CHARACTERS_MAX = 1_000;
/** Of those that were only tried, the oldest are forgotten. */
const TEXTS_MAX = 32;

export function createPolicies({ compilerDir, cacheDir, archiveDir, ports }: Options): Policies {
  const compiler = createCompiler({ wasmPath: join(compilerDir, "opa.wasm.br") });
  const cache = createCache(ports, cacheDir);
  const archive = createArchive(ports, archiveDir);
  const tallies = createTallies();
  const bulk = createBulk(ports.disk);
  const create = bulk.createEngine;
  const texts = new Map<string, Texts>();
  /** Those in force, which no number of others may crowd out. */
  let held: ReadonlySet<string> = new Set();
  const textOf = (key: string): Texts | null => texts.get(key) ?? null;
  const load: Loading["load"] = async (from, roles, options = {}) => {
    const bundle = typeof from === "string" ? await bulk.readFolder(from) : from;
    const policy = await loadPolicy({ compiler, cache, create }, bundle, roles, options);
    texts.delete(policy.source.key);
    texts.set(policy.source.key, bundle);
    const oldest = [...texts.keys()].find((key) => !held.has(key));
    if (texts.size > TEXTS_MAX + held.size && oldest !== undefined) texts.delete(oldest);
    return policy;
  };
  const keepOne = async (policy: Policy, roles: Roles): Promise<void> => {
    const bundle = textOf(policy.source.key);
    const at = new Date(ports.clock.nowMs()).toISOString();
    if (bundle !== null) await archive.keep({ revision: policy.revision, at, bundle, roles });
  };
  const warm: Loading["warm"] = (source, roles, options = {}) => warmPolicy(source, roles, { ...options, create });
  return {
    load,
    readFile: bulk.readFile,
    shadows: (wanted, roles) =>
      Promise.all(wanted.map((one) => shadowOf(one, roles, { load, warm, tell: tallies.tell }))),
    shadowStates: tallies.states,
    prove: async (bundle, roles, coverage) => {
      const failed = await failingTests(compiler, bundle, roles);
      const thin =
        failed.length > 0 || coverage === null ? [] : await thinCoverage(compiler, bundle, { roles, coverage });
      if (failed.length + thin.length > 0) throw new PolicyRefused([...failed, ...thin]);
    },
    warm,
    textOf,
    keep: async ({ policy, roles }) => {
      const all = [policy, ...(policy?.shadows ?? []).map((one) => one.policy)];
      held = new Set(all.flatMap((one) => one?.source.key ?? []));
      for (const one of all) if (one !== null) await keepOne(one, roles);
    },
    archived: archive.read,
    trace: createTracer(compiler),
    rules: (bundle) => rulesIn(compiler, bundle),
    close: async () => {
      await Promise.all([compiler.close(), bulk.close()]);
    },
  };
}

type Loading = {
  readonly load: (from: string | Texts, roles: Roles, options?: EngineOptions & Judged) => Promise<Policy>;
  readonly warm: (source: PolicySource, roles: Roles, options?: EngineOptions) => Promise<Policy>;
  readonly tell: Tallies["tell"];
};

async function shadowOf(
  { name, from, stepsMax }: ShadowWish,
  roles: Roles,
  { load, warm, tell }: Loading,
): Promise<Shadow> {
  const made = { name, stepsMax, tell };
  try {
    const compiled = typeof from === "object" && "module" in from;
    const policy = compiled
      ? await warm(from, roles, { stepsMax })
      : await load(typeof from === "string" ? from : textsOf(from), roles, { stepsMax, shadow: true });
    return { ...made, policy, fault: null };
  } catch (cause) {
    if (!(cause instanceof PolicyRefused)) throw cause;
    return { ...made, policy: null, fault: cause.message.slice(0, FAULT_CHARACTERS_MAX) };
  }
}
