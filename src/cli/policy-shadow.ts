/** `policy shadow · promote · drop`: policies that decide beside the enforced one. */
import { ENFORCED } from "../config-bundle.ts";
import type { Bundle } from "../policy/sources.ts";
import { ask } from "./client.ts";
import type { Client } from "./client.ts";
import { CommandFault, printable, printJson, printTable } from "./io.ts";
import type { Invocation } from "./io.ts";
import { DEADLINE_MS, tellChanged } from "./managed.ts";

export async function showShadows(invocation: Invocation): Promise<number> {
  const { io, json } = invocation;
  const { shadows } = await ask(invocation, (client) => client.policies.shadow.query());
  if (json) {
    printJson(invocation, { shadows });
    return 0;
  }
  if (shadows.length === 0) {
    io.stderr("No policy is in shadow.\n");
    return 0;
  }
  printTable(invocation, [
    ["BUNDLE", "REVISION", "DECISIONS", "WOULD REFUSE", "WOULD ALLOW", "OTHER TERMS", "FAULTS"],
    ...shadows.map(({ bundle, revision, decisions, flips, faults }) => [
      bundle,
      revision?.slice(0, 12) ?? "-",
      ...[decisions, flips.allow_to_deny, flips.deny_to_allow, flips.terms, faults].map(String),
    ]),
  ]);
  for (const { bundle, fault, latest } of shadows) {
    if (fault !== null) io.stdout(printable(`\n${bundle} is not run: ${fault}\n`));
    for (const { time, callId, principal, operation, tool, flip, reasons } of latest) {
      const what = `${principal ?? "-"} ${operation} ${tool ?? ""}`.trimEnd();
      io.stdout(printable(`\n${bundle} ${flip.replaceAll("_", " ")}: ${what} (${reasons.join("; ")})\n`));
      io.stdout(printable(`    ${time} ${callId}\n`));
    }
  }
  return 0;
}

export async function promoteShadow(invocation: Invocation): Promise<number> {
  const [name = ""] = invocation.operands;
  const dryRun = invocation.flags["dry-run"] === true;
  const changed = await ask(
    invocation,
    async (client) => {
      const { revision, value } = await applied(client, name);
      const put = await client.policies.put.mutate({ value, dryRun, expect: revision });
      if (!dryRun) await client.policies.remove.mutate({ name, expect: put.revision });
      return put;
    },
    { deadlineMs: DEADLINE_MS },
  );
  return tellChanged(invocation, changed, "In force");
}

export async function dropShadow(invocation: Invocation): Promise<number> {
  const [name = ""] = invocation.operands;
  const dryRun = invocation.flags["dry-run"] === true;
  const changed = await ask(invocation, (client) => client.policies.remove.mutate({ name, dryRun }));
  return tellChanged(invocation, changed, "Out of shadow");
}

async function applied(client: Client, name: string): Promise<{ readonly revision: number; readonly value: Bundle }> {
  const { revision, entries } = await client.policies.list.query();
  const entry = entries.find((one) => one.name === name && name !== ENFORCED);
  if (entry === undefined) throw new CommandFault(`no policy is in shadow as ${name}`, 1);
  if (entry.origin === "file")
    throw new CommandFault(`${name} is the configuration file's: name its folder in \`policies\` instead`, 1);
  return { revision, value: entry.value as unknown as Bundle };
}
