/** Which policy is in force? Reads the folder, compiles it unless the cache knows it, warms it. One compiler, loaded on first use. */
import { join } from "node:path";
import type { Policy } from "../model.ts";
import type { Ports } from "../ports.ts";
import { loadPolicy } from "./bundle.ts";
import type { Roles } from "./bundle.ts";
import { createCache } from "./cache.ts";
import { createCompiler } from "./compiler.ts";
import { readBundle } from "./sources.ts";

export type Policies = {
  /** @throws PolicyRefused with every diagnostic; what is in force stays */
  readonly load: (directory: string, roles: Roles) => Promise<Policy>;
  readonly close: () => Promise<void>;
};
type Options = { readonly compilerDir: string; readonly cacheDir: string; readonly ports: Ports };

export function createPolicies({ compilerDir, cacheDir, ports }: Options): Policies {
  const compiler = createCompiler({ wasmPath: join(compilerDir, "opa.wasm.br") });
  const cache = createCache(ports, cacheDir);
  return {
    load: async (directory, roles) => loadPolicy({ compiler, cache }, await readBundle(ports.disk, directory), roles),
    close: compiler.close,
  };
}
