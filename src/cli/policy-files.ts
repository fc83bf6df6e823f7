/** What do the commands on policy files share? The compiler, and how what is wrong is told. */
import { fileURLToPath } from "node:url";
import type { PolicyTools } from "../policy/commands.ts";
import { createCompiler } from "../policy/compiler.ts";
import { formatDiagnostic } from "../policy/diagnostic.ts";
import type { Diagnostic } from "../policy/diagnostic.ts";
import { printable, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";
import { within } from "./policy-place.ts";
import type { Place } from "./policy-place.ts";

export async function withCompiler({ io }: Invocation, work: (tools: PolicyTools) => Promise<number>): Promise<number> {
  const wasmPath = fileURLToPath(new URL("../../policies/compiler/opa.wasm.br", import.meta.url));
  const compiler = createCompiler({ wasmPath });
  try {
    return await work({ disk: io.ports.disk, compiler });
  } finally {
    await compiler.close();
  }
}

/** Tells them, and the exit code. */
export function tellFaults(invocation: Invocation, place: Place, found: readonly Diagnostic[]): number {
  if (invocation.json) printJson(invocation, { ok: false, diagnostics: placed(place, found) });
  else tell(invocation, place, found);
  return exitOf(found);
}

/** `file:row:col: code: message`, which editors jump to. */
export function tell(invocation: Invocation, place: Place, found: readonly Diagnostic[]): void {
  for (const diagnostic of placed(place, found)) invocation.io.stderr(`${printable(formatDiagnostic(diagnostic))}\n`);
}

/** With the paths of the files as they are from here. */
export function placed(place: Place, found: readonly Diagnostic[]): readonly Diagnostic[] {
  return found.map((one) => ({ ...one, file: within(place, one.file) }));
}

/** 2 where there was nothing to judge. */
export function exitOf(found: readonly Diagnostic[]): 1 | 2 {
  return found.some(({ code }) => UNREAD.has(code)) ? 2 : 1;
}
const UNREAD = new Set(["bundle_unreadable", "bundle_unreachable"]);
