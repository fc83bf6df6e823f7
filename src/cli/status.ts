/** `doctor · status`: does each part work, and what is running? */
import { ask } from "./client.ts";
import { printable, printJson, printTable } from "./io.ts";
import type { Invocation } from "./io.ts";

/** One line each; 1 if a part does not work. */
export async function doctor(invocation: Invocation): Promise<number> {
  const { checks } = await ask(invocation, (client) => client.health.check.query());
  const well = checks.every(({ ok }) => ok);
  if (invocation.json) printJson(invocation, { ok: well, checks });
  else
    for (const { name, ok, detail } of checks)
      invocation.io.stdout(printable(`${ok ? "ok  " : "FAIL"} ${name}: ${detail}\n`));
  return well ? 0 : 1;
}

/** 1 if no gateway is running. */
export async function status(invocation: Invocation): Promise<number> {
  const { servers } = await ask(invocation, (client) => client.servers.list.query());
  const rows = servers.map(({ server, version, state, tools }) => ({ server: `${server}@${version}`, state, tools }));
  if (invocation.json) printJson(invocation, { running: true, servers: rows });
  else {
    invocation.io.stderr("The gateway is running.\n");
    printTable(invocation, [
      ["SERVER", "STATE", "TOOLS"],
      ...rows.map((row) => [row.server, row.state, String(row.tools)]),
    ]);
  }
  return 0;
}
