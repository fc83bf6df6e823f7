/** `servers list · show`: what the gateway knows of its servers. */
import { hint } from "../nearest.ts";
import { fits } from "../version-range.ts";
import { ask } from "./client.ts";
import { CommandFault, printJson, printTable } from "./io.ts";
import type { Invocation } from "./io.ts";

export async function listServers(invocation: Invocation): Promise<number> {
  const { servers } = await ask(invocation, (client) => client.servers.list.query());
  if (invocation.json) printJson(invocation, servers);
  else {
    const rows = servers.map((one) => [
      one.server,
      one.version + (one.isDefault ? " (default)" : ""),
      one.state,
      String(one.tools),
      String(one.quarantined.length),
      String(one.instances.length),
    ]);
    printTable(invocation, [["SERVER", "VERSION", "STATE", "TOOLS", "QUARANTINED", "INSTANCES"], ...rows]);
  }
  return 0;
}

export async function showServer(invocation: Invocation): Promise<number> {
  const [name = ""] = invocation.operands;
  const { servers } = await ask(invocation, (client) => client.servers.list.query());
  const versions = servers.filter((one) => one.server === name || `${one.server}@${one.version}` === name);
  if (versions.length === 0) throw noServer(name, servers);
  if (invocation.json) printJson(invocation, versions);
  else versions.forEach((version) => tell(invocation, version));
  return 0;
}

/**
 * A misspelt one has no tools, and of no tools there is nothing to say.
 * @throws CommandFault where nobody sees such a server, or such a version of one
 */
export async function assertServer(
  invocation: Invocation,
  name: string | null,
  version: string | null = null,
): Promise<void> {
  // who sees tools need not be somebody who may inspect servers, and what has no tools yet is there too
  const inspected = await allowed(ask(invocation, (client) => client.servers.list.query()));
  const { tools } = await ask(invocation, (client) => client.tools.list.query({ version: "*" }));
  const known = [...(inspected?.servers ?? []), ...tools];
  const named = known.filter(({ server }) => name === null || server === name);
  if (name !== null && named.length === 0) throw noServer(name, known, inspected === null);
  if (version === null || version === "*" || named.some((one) => fits(one.version, version))) return;
  if (name === null) throw new CommandFault(`no server has a version ${version}`, 1);
  const versions = new Set(named.map((one) => one.version));
  throw new CommandFault(`server ${name} has no version ${version}; it has ${[...versions].join(", ")}`, 1);
}

/** Null where the gateway says that it is not for who asks. */
export async function allowed<Value>(asked: Promise<Value>): Promise<Value | null> {
  return await asked.catch((fault: unknown) => {
    const told = fault instanceof CommandFault ? fault.detail : null;
    if (told !== null && "code" in told && told.code === "forbidden") return null;
    throw fault;
  });
}

/** `isPart`: others may be there, which who asks does not see. */
export function noServer(name: string, known: readonly { readonly server: string }[], isPart = false): CommandFault {
  const meant = hint(name, new Set(known.map(({ server }) => server)));
  return new CommandFault(`no server ${name}${meant === "" && isPart ? `; ${PART}` : meant}`, 1);
}

const PART = "this key lacks servers:read, and sees only servers of tools that it may see";

type Shown = {
  readonly server: string;
  readonly version: string;
  readonly isDefault: boolean;
  readonly state: string;
  readonly discoveredAt: string | null;
  readonly tools: number;
  readonly quarantined: readonly { readonly tool: string }[];
  readonly traffic: object | null;
  readonly instances: readonly object[];
  readonly limits: readonly (object & { readonly windowMs: number; readonly held: number | null })[];
};

function tell(invocation: Invocation, version: Shown): void {
  invocation.io.stdout(`${version.server}@${version.version}${version.isDefault ? " (default)" : ""}\n`);
  printTable(invocation, [
    ["", "state", version.state],
    ["", "discovered", version.discoveredAt ?? "never"],
    ["", "tools", String(version.tools)],
    ["", "quarantined", version.quarantined.map(({ tool }) => tool).join(", ") || "none"],
    ["", "calls", version.traffic === null ? "none here" : fields(version.traffic)],
    ...version.instances.map((instance) => ["", "instance", fields(instance)]),
    ...version.limits.map((limit) => ["", "limit", limitFields(limit)]),
  ]);
}

function limitFields({ windowMs, held, ...limit }: Shown["limits"][number]): string {
  return fields({ ...limit, ...(held === null ? { windowMs } : { held }) });
}

function fields(instance: object): string {
  return Object.entries(instance)
    .map(([name, value]) =>
      name === "id" || name === "name"
        ? String(value)
        : `${name} ${typeof value === "string" ? value : JSON.stringify(value)}`,
    )
    .join(", ");
}
