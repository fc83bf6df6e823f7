/** Which policy is in force? Reads the folder, compiles it unless the cache knows it, warms it. One compiler, loaded on first use. */
import { join } from "node:path";
import type { Policy, PolicySource, Shadow } from "../model.ts";
import type { Ports } from "../ports.ts";
import { loadPolicy, warmPolicy } from "./bundle.ts";
import type { Roles } from "./bundle.ts";
import { createCache } from "./cache.ts";
import { failingTests } from "./commands.ts";
import { createCompiler } from "./compiler.ts";
import type { EngineOptions } from "./engine.ts";
import { PolicyRefused } from "./diagnostic.ts";
import { createTallies } from "./shadow-tally.ts";
import type { Tallies } from "./shadow-tally.ts";
import { bundleOf, readBundle } from "./sources.ts";
import type { Bundle } from "./sources.ts";

export type Policies = {
  /** A folder, or what was applied. @throws PolicyRefused with every diagnostic; what is in force stays */
  readonly load: (from: string | Bundle, roles: Roles) => Promise<Policy>;
  /** Runs the bundle's own tests. @throws PolicyRefused naming each that fails */
  readonly prove: (bundle: Bundle, roles: Roles) => Promise<void>;
  /** Compiled before, here or elsewhere. @throws PolicyRefused */
  readonly warm: (source: PolicySource, roles: Roles) => Promise<Policy>;
  /** One that cannot be loaded says so, and keeps nothing else from going on. */
  readonly shadows: (wanted: readonly ShadowWish[], roles: Roles) => Promise<readonly Shadow[]>;
  readonly shadowStates: Tallies["states"];
  readonly close: () => Promise<void>;
};
/** `from`: a folder, what was applied, or what was compiled before. */
export type ShadowWish = {
  readonly name: string;
  readonly from: string | Bundle | PolicySource;
  readonly stepsMax: number;
};
type Options = { readonly compilerDir: string; readonly cacheDir: string; readonly ports: Ports };

export function createPolicies({ compilerDir, cacheDir, ports }: Options): Policies {
  const compiler = createCompiler({ wasmPath: join(compilerDir, "opa.wasm.br") });
  const cache = createCache(ports, cacheDir);
  const tallies = createTallies();
  const load = async (from: string | Bundle, roles: Roles, options: EngineOptions = {}): Promise<Policy> => {
    const bundle = typeof from === "string" ? await readBundle(ports.disk, from) : bundleOf(from);
    return loadPolicy({ compiler, cache }, bundle, roles, options);
  };
  const shadow = async ({ name, from, stepsMax }: ShadowWish, roles: Roles): Promise<Shadow> => {
    const made = { name, stepsMax, tell: tallies.tell };
    try {
      const compiled = typeof from === "object" && "module" in from;
      const policy = compiled ? await warmPolicy(from, roles, { stepsMax }) : await load(from, roles, { stepsMax });
      return { ...made, policy, fault: null };
    } catch (cause) {
      if (!(cause instanceof PolicyRefused)) throw cause;
      return { ...made, policy: null, fault: cause.message.slice(0, FAULT_CHARACTERS_MAX) };
    }
  };
  return {
    load: (from, roles) => load(from, roles),
    shadows: (wanted, roles) => Promise.all(wanted.map((one) => shadow(one, roles))),
    shadowStates: tallies.states,
    prove: async (bundle, roles) => {
      const failed = await failingTests(compiler, bundle, roles);
      if (failed.length > 0) throw new PolicyRefused(failed);
    },
    warm: (source, roles) => warmPolicy(source, roles),
    close: compiler.close,
  };
}

const FAULT_CHARACTERS_MAX = 1_000;
