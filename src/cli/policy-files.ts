/** What do the commands on policy files share? The folder, the compiler, and how what is wrong is told. */
import { join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { PolicyTools } from "../policy/commands.ts";
import { createCompiler } from "../policy/compiler.ts";
import { formatDiagnostic } from "../policy/diagnostic.ts";
import type { Diagnostic } from "../policy/diagnostic.ts";
import { folderOf } from "./folder.ts";
import { printable, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";

type Work = (tools: PolicyTools, folder: string) => Promise<number>;

/** In the folder that is named, or else in the configuration's. */
export async function withCompiler(invocation: Invocation, work: Work): Promise<number> {
  const [path] = invocation.operands;
  const folder = path === undefined ? await folderOf(invocation, "policies") : resolve(invocation.io.cwd, path);
  const wasmPath = fileURLToPath(new URL("../../policies/compiler/opa.wasm.br", import.meta.url));
  const compiler = createCompiler({ wasmPath });
  try {
    return await work({ disk: invocation.io.ports.disk, compiler }, folder);
  } finally {
    await compiler.close();
  }
}

/** Tells them, and the exit code. */
export function tellFaults(invocation: Invocation, folder: string, found: readonly Diagnostic[]): number {
  if (invocation.json) printJson(invocation, { ok: false, diagnostics: placed(invocation, folder, found) });
  else tell(invocation, folder, found);
  return isUnreadable(found) ? 2 : 1;
}

/** `file:row:col: code: message`, which editors jump to. */
export function tell(invocation: Invocation, folder: string, found: readonly Diagnostic[]): void {
  for (const diagnostic of placed(invocation, folder, found))
    invocation.io.stderr(`${printable(formatDiagnostic(diagnostic))}\n`);
}

/** With the paths of the files as they are from here. */
export function placed(invocation: Invocation, folder: string, found: readonly Diagnostic[]): readonly Diagnostic[] {
  return found.map((one) => (one.file === "" ? one : { ...one, file: join(shown(invocation, folder), one.file) }));
}

export function isUnreadable(found: readonly Diagnostic[]): boolean {
  return found.some(({ code }) => code === "bundle_unreadable");
}

export function shown({ io }: Invocation, folder: string): string {
  const short = relative(io.cwd, folder);
  return short.startsWith("..") ? folder : short === "" ? "." : short;
}
