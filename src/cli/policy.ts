/** `policy check · fmt`: without a gateway or any other binary. */
import { checkPolicies, formatPolicies } from "../policy/commands.ts";
import type { Diagnostic } from "../policy/diagnostic.ts";
import { isError } from "../policy/lint.ts";
import { printJson } from "./io.ts";
import type { Invocation } from "./io.ts";
import { exitOf, placed, tell, tellFaults, withCompiler } from "./policy-files.ts";
import { folderIn, placeOf, within } from "./policy-place.ts";
import type { Place } from "./policy-place.ts";

export async function checkPolicy(invocation: Invocation): Promise<number> {
  const { shadow, strict } = invocation.flags;
  const place = await placeOf(invocation);
  return withCompiler(invocation, async (tools) => {
    const found = await checkPolicies(tools, place.from, { shadow: shadow === true });
    const ok = !found.some(isError) && !(strict === true && found.length > 0);
    if (invocation.json) printJson(invocation, { ok, diagnostics: placed(place, found) });
    else tellChecked(invocation, place, found);
    return ok ? 0 : exitOf(found);
  });
}

export async function formatPolicy(invocation: Invocation): Promise<number> {
  const check = invocation.flags["check"] === true;
  const place = await folderIn(invocation);
  return withCompiler(invocation, async (tools) => {
    const outcome = await formatPolicies(tools, place.from, { write: !check });
    if (!outcome.ok) return tellFaults(invocation, place, outcome.diagnostics);
    const files = outcome.value.map((file) => within(place, file));
    if (invocation.json) printJson(invocation, { files });
    else for (const file of files) invocation.io.stdout(`${file}\n`);
    return check && files.length > 0 ? 1 : 0;
  });
}

function tellChecked(invocation: Invocation, place: Place, found: readonly Diagnostic[]): void {
  tell(invocation, place, found);
  const warnings = found.filter((one) => !isError(one)).length;
  const { stderr } = invocation.io;
  if (warnings < found.length) return;
  const but = warnings === 0 ? "" : `, with ${warnings} warning${warnings === 1 ? "" : "s"}`;
  stderr(`The policies in ${place.shown} compile${but}.\n`);
}
