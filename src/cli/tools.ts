/** `tools list · describe · approve`. Without a key the owner of the machine sees all tools; with one, what its principal may see. */
import { hint } from "../nearest.ts";
import { showAwaiting } from "./tool-diff.ts";
import { ask, hasKey } from "./client.ts";
import { CommandFault, flag, printable, printJson, printTable } from "./io.ts";
import type { Invocation } from "./io.ts";
import { assertServer } from "./servers.ts";

type Filter = {
  readonly server?: string;
  readonly version?: string;
  readonly permission?: string;
  readonly tag?: string;
};

export async function listTools(invocation: Invocation): Promise<number> {
  const filter = filterOf(invocation);
  const tools = await toolsOf(invocation, filter);
  if (tools.length === 0) await assertServer(invocation, filter.server ?? null, filter.version);
  if (invocation.json) printJson(invocation, tools);
  else {
    const rows = tools.map((tool) => [
      tool.name,
      tool.version,
      tool.permissions.join(" "),
      stateOf(tool),
      summary(tool.definition),
    ]);
    printTable(invocation, [["TOOL", "VERSION", "PERMISSIONS", "STATE", "DESCRIPTION"], ...rows]);
  }
  return 0;
}

export async function describeTool(invocation: Invocation): Promise<number> {
  const [name = ""] = invocation.operands;
  const version = flag(invocation, "version");
  const tools = await toolsOf(invocation, version === null ? {} : { version });
  const tool = tools.find((one) => one.name === name);
  if (tool === undefined) {
    if (tools.length === 0) await assertServer(invocation, null, version);
    const names = tools.map((one) => one.name);
    throw new CommandFault(`no tool ${name}${hint(name, names)}`, 1);
  }
  if (invocation.json) {
    printJson(invocation, tool);
    return 0;
  }
  printTable(invocation, [
    ["tool", tool.name],
    ["server", `${tool.server}@${tool.version}`],
    ["permissions", tool.permissions.join(" ") || "none: nobody may call it"],
    ["tags", tool.tags.join(" ") || "-"],
    ["limits", tool.limits.map(limitText).join(", ") || "-"],
    ["timeout", `${tool.timeoutMs / 1000} s`],
    ["idempotent", tool.idempotent ? "yes" : "no"],
    ["state", stateOf(tool)],
    ["digest", tool.digest],
  ]);
  invocation.io.stdout(`\n${printable(JSON.stringify(tool.definition, null, 2))}\n`);
  return 0;
}

export async function approveTool(invocation: Invocation): Promise<number> {
  const [tool = ""] = invocation.operands;
  const version = flag(invocation, "version");
  const digest = flag(invocation, "digest");
  // who may approve need not be somebody who may see it
  const waiting = await toolsOf(invocation, { version: version ?? "*" }).catch(() => []);
  for (const one of waiting) if (one.name === tool && one.quarantined) await showAwaiting(invocation, one);
  const approved = await ask(invocation, (client) => client.tools.approve.mutate({ tool, version, digest }));
  if (invocation.json) printJson(invocation, approved);
  else invocation.io.stderr(`Accepted ${approved.tool} as ${approved.digest}.\n`);
  return 0;
}

export async function toolsOf(invocation: Invocation, filter: Filter) {
  const { tools } = await ask(invocation, (client) =>
    hasKey(invocation) ? client.tools.list.query(filter) : client.tools.inspect.query(filter),
  );
  return tools;
}

function filterOf(invocation: Invocation): Filter {
  const named = ["server", "version", "permission", "tag"].map((name) => [name, flag(invocation, name)] as const);
  return Object.fromEntries(named.filter(([, value]) => value !== null));
}

type LimitShown = { readonly name: string; readonly limit: number; readonly windowMs: number };

function limitText({ name, limit, windowMs }: LimitShown): string {
  return `${name}: ${limit} ${windowMs === 0 ? "at once" : `per ${windowMs / 1000} s`}`;
}

function stateOf(tool: { readonly quarantined: boolean; readonly stale: boolean }): string {
  return tool.quarantined ? "quarantined" : tool.stale ? "stale" : "ok";
}

function summary(definition: object): string {
  const description =
    "description" in definition && typeof definition.description === "string" ? definition.description : "";
  const line = description.split("\n", 1)[0] ?? "";
  return line.length > 60 ? `${line.slice(0, 59)}…` : line;
}
