/** What a change moves, entry by entry, as the commands that make one say it. */
import type { Client } from "./client.ts";
import { printable, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";

export type Changed = Awaited<ReturnType<Client["routes"]["put"]["mutate"]>>;

export function tellChange(invocation: Invocation, changed: Changed): number {
  const { io, json } = invocation;
  if (json) {
    printJson(invocation, changed);
    return 0;
  }
  for (const { path, before, after } of changed.diff) {
    if (before !== null) io.stdout(printable(`- ${path} ${JSON.stringify(before)}\n`));
    if (after !== null) io.stdout(printable(`+ ${path} ${JSON.stringify(after)}\n`));
  }
  io.stderr(changed.dryRun ? "It can be done; nothing was.\n" : `In force, as revision ${changed.revision}.\n`);
  return 0;
}
