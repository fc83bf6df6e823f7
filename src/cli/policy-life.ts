/** `policy diff · impact · rollback`: what would a policy change, and the way back. */
import { ask } from "./client.ts";
import { CommandFault, flag, printable, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";
import { lineDiff } from "./line-diff.ts";
import { bundleNamed, DEADLINE_MS, tellChanged } from "./managed.ts";

/** The texts, line by line, and how many recorded decisions would turn. */
export async function diffPolicy(invocation: Invocation): Promise<number> {
  const told = await impactOf(invocation);
  if (invocation.json) printJson(invocation, told);
  else {
    tellTexts(invocation, told.diff);
    tellImpact(invocation, told.impact);
  }
  return 0;
}

/** The recorded decisions that would turn. */
export async function showImpact(invocation: Invocation): Promise<number> {
  const { impact } = await impactOf(invocation);
  if (invocation.json) printJson(invocation, impact);
  else tellImpact(invocation, impact);
  return 0;
}

export async function rollBackPolicy(invocation: Invocation): Promise<number> {
  const [text = ""] = invocation.operands;
  const dryRun = invocation.flags["dry-run"] === true;
  const changed = await ask(invocation, (client) => client.policies.rollback.mutate({ to: revisionOf(text), dryRun }), {
    deadlineMs: DEADLINE_MS,
  });
  return tellChanged(invocation, changed, "In force");
}

/** Short numbers are changes; eight digits or more, a policy. */
function revisionOf(text: string): number | string {
  if (/^\d{1,7}$/.test(text)) return Number(text);
  if (/^[0-9a-f]{8,64}$/.test(text)) return text;
  throw new CommandFault("name a change, such as 3, or a policy's revision as records have it", 2);
}

type Told = Awaited<ReturnType<typeof impactOf>>;

async function impactOf(invocation: Invocation) {
  const since = sinceOf(invocation);
  const value = await bundleNamed(invocation);
  return await ask(invocation, (client) => client.policies.impact.query({ value, since }), { deadlineMs: DEADLINE_MS });
}

const UNITS: { readonly [unit: string]: number } = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function sinceOf(invocation: Invocation): number | null {
  const text = flag(invocation, "since");
  if (text === null) return null;
  const [, count, unit = ""] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (count !== undefined) return invocation.io.ports.clock.nowMs() - Number(count) * (UNITS[unit] ?? 0);
  const at = /^\d{4}-\d{2}-\d{2}T/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(at)) throw new CommandFault("--since takes 7d, 12h, 30m, or a time such as 2026-08-01T12:00:00Z", 2);
  return at;
}

function tellTexts({ io }: Invocation, diff: Told["diff"]): void {
  if (diff === null) io.stderr("The text of the policy in force is not here: it came compiled.\n");
  for (const { path, before, after } of diff ?? []) {
    io.stdout(printable(`--- ${before === null ? "(none)" : path}\n+++ ${after === null ? "(none)" : path}\n`));
    for (const line of lineDiff(textOf(before), textOf(after))) io.stdout(printable(`${line}\n`));
  }
}

function textOf(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}

function tellImpact({ io }: Invocation, impact: Told["impact"]): void {
  const { recorded, complete, decided, flips, faults, moved, lost, examples } = impact;
  for (const { callId, time, principal, operation, tool, flip, reasons } of examples) {
    const what = `${principal} ${operation} ${tool ?? ""}`.trimEnd();
    io.stdout(printable(`${flip.replaceAll("_", " ")}: ${what} (${reasons.join("; ")})\n    ${time} ${callId}\n`));
  }
  const missing = Object.entries(lost)
    .filter(([, count]) => count > 0)
    .map(([what, count]) => `${count} for want of ${what === "principal" ? "their principal" : `their ${what}`}`);
  io.stdout(
    `${decided} of ${recorded} recorded decisions were made again${missing.length === 0 ? "" : `, ${missing.join(", ")} not`}: ` +
      `${flips.allow_to_deny} would be refused, ${flips.deny_to_allow} allowed, ${flips.terms} allowed on other terms; ${faults} faults.\n`,
  );
  if (moved > 0) io.stdout(`${moved} are decided otherwise today than they were recorded.\n`);
  if (!complete) io.stdout("There are more records since then than were read.\n");
}
