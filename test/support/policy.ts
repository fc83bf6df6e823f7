/**
 * Folders of Rego, and the policy document's parts, for the tests of the policy room. What a file makes here is gone
 * when its tests end, and so is its compiler.
 */
import * as disk from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll } from "vitest";
import type { Evaluation, JsonObject, Policy } from "../../src/model.ts";
import { loadPolicy } from "../../src/policy/bundle.ts";
import { type Compiler, createCompiler } from "../../src/policy/compiler.ts";
import { readBundle, textsOf } from "../../src/policy/sources.ts";

export const WASM_PATH = "policies/compiler/opa.wasm.br";
export const ROLES = { analyst: ["files:read"] };
export type Files = { readonly [path: string]: string };
export type PolicyBench = {
  readonly compiler: Compiler;
  /** A fresh path that nothing stands at. */
  readonly path: () => string;
  readonly folder: (files: Files) => Promise<string>;
  readonly load: (files: Files) => Promise<Policy>;
};

export function policyBench(): PolicyBench {
  const compiler = createCompiler({ wasmPath: WASM_PATH });
  let root = "";
  let made = 0;
  beforeAll(async () => {
    root = await disk.mkdtemp(join(tmpdir(), "portcullis-policy-"));
  });
  afterAll(async () => {
    await compiler.close();
    await disk.rm(root, { recursive: true });
  });
  const path = (): string => join(root, String(made++));
  const folder = async (files: Files): Promise<string> => {
    const dir = path();
    for (const [name, text] of Object.entries(files)) {
      await disk.mkdir(dirname(join(dir, name)), { recursive: true });
      await disk.writeFile(join(dir, name), text);
    }
    return dir;
  };
  const load = async (files: Files): Promise<Policy> =>
    loadPolicy({ compiler, cache: null }, textsOf(await readBundle(disk, await folder(files))), ROLES);
  return { compiler, path, folder, load };
}

export const request = {
  id: "1",
  time: "2026-11-22T11:00:00Z",
  interface: "mcp",
  operation: "tools/call",
  ip: "127.0.0.1",
  protocol: "",
};
export const principal = {
  id: "alice",
  kind: "user",
  roles: ["analyst"],
  permissions: ["files:read"],
  tenant: "default",
  onBehalfOf: null,
  claims: {},
};
export const item = (name: string, permissions: readonly string[]): JsonObject => ({
  target: { kind: "tool", name },
  tool: { server: "notes", version: "1", permissions, tags: [], annotations: {}, digest: "sha256:0" },
});
export const use = (one: JsonObject, args: JsonObject = {}): JsonObject => ({
  request,
  principal,
  ...one,
  arguments: args,
});
export const listOf = (...items: readonly JsonObject[]): JsonObject => ({
  request: { ...request, operation: "tools/list" },
  principal,
  tools: items,
});
export const valueOf = (evaluation: Evaluation): JsonObject => {
  if (!evaluation.ok) throw new Error(evaluation.detail);
  return evaluation.value as JsonObject;
};
