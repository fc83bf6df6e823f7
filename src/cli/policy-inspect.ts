/** `policy inspect`: what does a bundle define, what does it read of a question, and what does it say about itself? */
import { inspectPolicies } from "../policy/commands.ts";
import type { Inspected } from "../policy/commands.ts";
import type { Annotated } from "../policy/compiler.ts";
import { reachable } from "../policy/reachable.ts";
import { REQUIRED_RULES } from "../policy/wrapper.ts";
import { printable, printJson, printTable } from "./io.ts";
import type { Invocation } from "./io.ts";
import { tellFaults, withCompiler } from "./policy-files.ts";
import { placeOf, within } from "./policy-place.ts";
import type { Place } from "./policy-place.ts";

const TITLE_CHARS_MAX = 60;

export async function inspectPolicy(invocation: Invocation): Promise<number> {
  const place = await placeOf(invocation);
  return withCompiler(invocation, async (tools) => {
    const outcome = await inspectPolicies(tools, place.from);
    if (!outcome.ok) return tellFaults(invocation, place, outcome.diagnostics);
    const entrypoints = entrypointsOf(outcome.value);
    if (invocation.json) printJson(invocation, { entrypoints, ...outcome.value });
    else tellBundle(invocation, place, { ...outcome.value, entrypoints });
    return 0;
  });
}

/** Ours, and those that an annotation names for whoever else loads the bundle. */
function entrypointsOf({ annotations }: Inspected): readonly string[] {
  const annotated = annotations.filter((one) => one.annotations.entrypoint === true).map(({ path }) => path);
  return [...new Set([...REQUIRED_RULES.map((path) => `data.${path}`), ...annotated])];
}

function tellBundle(
  invocation: Invocation,
  place: Place,
  bundle: Inspected & { readonly entrypoints: readonly string[] },
): void {
  const { io } = invocation;
  const titles = new Map(bundle.annotations.map((one) => [`${one.path} ${one.annotations.scope}`, titleOf(one)]));
  const used = new Set(reachable(bundle.rules, REQUIRED_RULES).map(({ path }) => path));
  io.stdout(`entrypoints  ${bundle.entrypoints.join("  ")}\n\n`);
  printTable(invocation, [
    ["PACKAGE", "ABOUT"],
    ...bundle.packages.map((path) => [path, titles.get(`${path} package`) ?? ""]),
  ]);
  io.stdout("\n");
  const rules = bundle.rules.map(({ path, kind, default: isDefault, file, row, inputs }) => [
    path,
    isDefault ? "default" : kind.replace("partial_", ""),
    used.has(path) ? "yes" : "no",
    `${within(place, file)}:${row}`,
    inputs.join(" "),
  ]);
  printTable(invocation, [["RULE", "KIND", "USED", "PLACE", "READS"], ...rules]);
  io.stdout(`\ninput read  ${bundle.inputs.length === 0 ? "nothing" : bundle.inputs.join("  ")}\n`);
  const obligations = [...new Set(bundle.obligations.map(({ name }) => name))].toSorted();
  if (obligations.length > 0) io.stdout(`obligations  ${obligations.map((name) => printable(name)).join("  ")}\n`);
}

function titleOf({ annotations: { title, description } }: Annotated): string {
  return (title ?? description ?? "").split("\n")[0]?.slice(0, TITLE_CHARS_MAX) ?? "";
}
