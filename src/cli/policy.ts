/** `policy check · fmt`: on files, without a gateway or any other binary. */
import { join } from "node:path";
import { checkPolicies, formatPolicies } from "../policy/commands.ts";
import type { Diagnostic } from "../policy/diagnostic.ts";
import { isError } from "../policy/lint.ts";
import { printJson } from "./io.ts";
import type { Invocation } from "./io.ts";
import { isUnreadable, placed, shown, tell, tellFaults, withCompiler } from "./policy-files.ts";

export async function checkPolicy(invocation: Invocation): Promise<number> {
  const { shadow, strict } = invocation.flags;
  return withCompiler(invocation, async (tools, folder) => {
    const found = await checkPolicies(tools, folder, { shadow: shadow === true });
    const ok = !found.some(isError) && !(strict === true && found.length > 0);
    if (invocation.json) printJson(invocation, { ok, diagnostics: placed(invocation, folder, found) });
    else tellChecked(invocation, folder, found);
    return ok ? 0 : isUnreadable(found) ? 2 : 1;
  });
}

export async function formatPolicy(invocation: Invocation): Promise<number> {
  const check = invocation.flags["check"] === true;
  return withCompiler(invocation, async (tools, folder) => {
    const outcome = await formatPolicies(tools, folder, { write: !check });
    if (!outcome.ok) return tellFaults(invocation, folder, outcome.diagnostics);
    const files = outcome.value.map((file) => join(shown(invocation, folder), file));
    if (invocation.json) printJson(invocation, { files });
    else for (const file of files) invocation.io.stdout(`${file}\n`);
    return check && files.length > 0 ? 1 : 0;
  });
}

function tellChecked(invocation: Invocation, folder: string, found: readonly Diagnostic[]): void {
  tell(invocation, folder, found);
  const warnings = found.filter((one) => !isError(one)).length;
  const { stderr } = invocation.io;
  if (warnings < found.length) return;
  const but = warnings === 0 ? "" : `, with ${warnings} warning${warnings === 1 ? "" : "s"}`;
  stderr(`The policies in ${shown(invocation, folder)} compile${but}.\n`);
}
