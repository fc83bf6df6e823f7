/** Which policy is in force? Reads the folder, compiles it unless the cache knows it, warms it. One compiler, loaded on first use. */
import { join } from "node:path";
import type { Policy, PolicySource } from "../model.ts";
import type { Ports } from "../ports.ts";
import { loadPolicy, warmPolicy } from "./bundle.ts";
import type { Roles } from "./bundle.ts";
import { createCache } from "./cache.ts";
import { createCompiler } from "./compiler.ts";
import { readBundle } from "./sources.ts";
import type { Bundle } from "./sources.ts";

export type Policies = {
  /** @throws PolicyRefused with every diagnostic; what is in force stays */
  readonly load: (directory: string, roles: Roles) => Promise<Policy>;
  /** The policy that was loaded last, with other roles: what its folder holds by now is not read. @throws PolicyRefused */
  readonly withRoles: (roles: Roles) => Promise<Policy>;
  /** Compiled elsewhere. @throws PolicyRefused */
  readonly warm: (source: PolicySource, roles: Roles) => Promise<Policy>;
  readonly close: () => Promise<void>;
};
type Options = { readonly compilerDir: string; readonly cacheDir: string; readonly ports: Ports };

export function createPolicies({ compilerDir, cacheDir, ports }: Options): Policies {
  const compiler = createCompiler({ wasmPath: join(compilerDir, "opa.wasm.br") });
  const cache = createCache(ports, cacheDir);
  let last: Bundle | null = null;
  const load = async (bundle: Bundle, roles: Roles): Promise<Policy> => {
    const policy = await loadPolicy({ compiler, cache }, bundle, roles);
    last = bundle;
    return policy;
  };
  return {
    load: async (directory, roles) => load(await readBundle(ports.disk, directory), roles),
    withRoles: async (roles) => {
      if (last === null) throw new Error("No policy was loaded before.");
      return load(last, roles);
    },
    warm: warmPolicy,
    close: compiler.close,
  };
}
