/** `policy apply · show`: the policy of a gateway whose configuration says `policies: managed`. */
import { ENFORCED } from "../config-bundle.ts";
import { bundleFrom } from "../policy/commands.ts";
import { formatDiagnostic, PolicyRefused } from "../policy/diagnostic.ts";
import type { Bundle } from "../policy/sources.ts";
import { ask } from "./client.ts";
import { CommandFault, flag, printable, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";
import { exitOf, placed } from "./policy-files.ts";
import { placeOf } from "./policy-place.ts";

/** It is compiled, and its tests run: each may take a minute. */
export const DEADLINE_MS = 150_000;

export async function applyPolicy(invocation: Invocation): Promise<number> {
  const { flags } = invocation;
  const terms = { dryRun: flags["dry-run"] === true, expect: numberOf(invocation, "expect") };
  const value = await bundleNamed(invocation);
  const name = flag(invocation, "shadow") ?? ENFORCED;
  const coverage = percentOf(invocation);
  const changed = await ask(invocation, (client) => client.policies.put.mutate({ name, value, coverage, ...terms }), {
    deadlineMs: DEADLINE_MS,
  });
  return tellChanged(invocation, changed, name === ENFORCED ? "In force" : `In shadow as ${name}`);
}

type Changed = {
  readonly revision: number;
  readonly dryRun: boolean;
  readonly diff: readonly { readonly path: string; readonly before: unknown; readonly after: unknown }[];
};

/** What a change of policies moved, file by file, or would move. */
export function tellChanged(invocation: Invocation, changed: Changed, done: string): number {
  const { io, json } = invocation;
  if (json) {
    printJson(invocation, changed);
    return 0;
  }
  for (const { path, before, after } of changed.diff) {
    const what = before === null ? "added" : after === null ? "removed" : "changed";
    io.stdout(printable(`${what.padEnd(7)} ${path.replace(`policies/${ENFORCED}/`, "")}\n`));
  }
  io.stderr(
    changed.dryRun ? "It can be put in force; nothing was done.\n" : `${done}, as revision ${changed.revision}.\n`,
  );
  return 0;
}

/** The texts as they were applied, each under its path. */
export async function showPolicy(invocation: Invocation): Promise<number> {
  const { io, json } = invocation;
  const named = flag(invocation, "revision");
  // eight digits or more are a policy, as records name it
  if (named !== null && /^[0-9a-f]{8,64}$/.test(named)) return await showArchived(invocation, named);
  const revision = numberOf(invocation, "revision");
  const { entries } = await ask(invocation, (client) => client.policies.list.query({ revision }));
  const shadow = flag(invocation, "shadow");
  const entry = entries.find(({ name }) => name === (shadow ?? ENFORCED));
  if (shadow !== null && entry === undefined) throw new CommandFault(`no policy was applied in shadow as ${shadow}`, 1);
  if (entry?.origin === "file")
    throw new CommandFault("the policy stands in the folder that the configuration file names", 1);
  const bundle = (entry?.value ?? null) as Bundle | null;
  if (bundle !== null) tellTexts(invocation, bundle);
  else if (json) printJson(invocation, null);
  else io.stderr("Nothing was applied: the policy is the one that ships with Portcullis.\n");
  return 0;
}

async function showArchived(invocation: Invocation, revision: string): Promise<number> {
  const { revision: whole, at, bundle } = await ask(invocation, (client) => client.policies.text.query({ revision }));
  if (!invocation.json) invocation.io.stderr(`Revision ${whole}, first in force ${at}.\n`);
  tellTexts(invocation, bundle);
  return 0;
}

function tellTexts(invocation: Invocation, bundle: Bundle): void {
  if (invocation.json) printJson(invocation, bundle);
  else
    for (const [path, text] of textsOf(bundle))
      invocation.io.stdout(printable(`# ${path}\n${text.replace(/\n?$/, "\n")}\n`));
}

function textsOf({ modules, tests, data }: Bundle): readonly (readonly [string, string])[] {
  const files = Object.entries({ ...modules, ...tests });
  return Object.keys(data).length === 0 ? files : [...files, ["data.json", JSON.stringify(data, null, 2)]];
}

/** What the operand names: a folder, a bundle's file or its URL. @throws CommandFault with every diagnostic */
export async function bundleNamed(invocation: Invocation): Promise<Bundle> {
  const place = await placeOf(invocation);
  try {
    return await bundleFrom(invocation.io.ports.disk, place.from);
  } catch (cause) {
    if (!(cause instanceof PolicyRefused)) throw cause;
    const found = placed(place, cause.diagnostics);
    throw new CommandFault(found.map(formatDiagnostic).join("\n"), exitOf(found));
  }
}

function percentOf(invocation: Invocation): number | null {
  const text = flag(invocation, "coverage");
  if (text === null) return null;
  if (!/^\d{1,3}(\.\d+)?$/.test(text) || Number(text) > 100) throw new CommandFault("--coverage takes 0 to 100", 2);
  return Number(text);
}

function numberOf(invocation: Invocation, name: string): number | null {
  const text = flag(invocation, name);
  if (text === null) return null;
  if (!/^\d{1,15}$/.test(text)) throw new CommandFault(`--${name} takes a revision, such as 3`, 2);
  return Number(text);
}
