/** Which policy is in force? Reads the folder, compiles it unless the cache knows it, warms it. One compiler, loaded on first use. */
import { join } from "node:path";
import type { Policy, PolicySource } from "../model.ts";
import type { Ports } from "../ports.ts";
import { loadPolicy, warmPolicy } from "./bundle.ts";
import type { Roles } from "./bundle.ts";
import { createCache } from "./cache.ts";
import { failingTests } from "./commands.ts";
import { createCompiler } from "./compiler.ts";
import { PolicyRefused } from "./diagnostic.ts";
import { bundleOf, readBundle } from "./sources.ts";
import type { Bundle } from "./sources.ts";

export type Policies = {
  /** A folder, or what was applied. @throws PolicyRefused with every diagnostic; what is in force stays */
  readonly load: (from: string | Bundle, roles: Roles) => Promise<Policy>;
  /** Runs the bundle's own tests. @throws PolicyRefused naming each that fails */
  readonly prove: (bundle: Bundle, roles: Roles) => Promise<void>;
  /** Compiled before, here or elsewhere. @throws PolicyRefused */
  readonly warm: (source: PolicySource, roles: Roles) => Promise<Policy>;
  readonly close: () => Promise<void>;
};
type Options = { readonly compilerDir: string; readonly cacheDir: string; readonly ports: Ports };

export function createPolicies({ compilerDir, cacheDir, ports }: Options): Policies {
  const compiler = createCompiler({ wasmPath: join(compilerDir, "opa.wasm.br") });
  const cache = createCache(ports, cacheDir);
  return {
    load: async (from, roles) => {
      const bundle = typeof from === "string" ? await readBundle(ports.disk, from) : bundleOf(from);
      return loadPolicy({ compiler, cache }, bundle, roles);
    },
    prove: async (bundle, roles) => {
      const failed = await failingTests(compiler, bundle, roles);
      if (failed.length > 0) throw new PolicyRefused(failed);
    },
    warm: warmPolicy,
    close: compiler.close,
  };
}
