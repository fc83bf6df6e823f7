/** `tools diff`: what changed in a server's tools, and does it break whoever calls them? */
import type { ToolChange } from "../registry/tool-diff.ts";
import { ask } from "./client.ts";
import { CommandFault, printable, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";
import { assertServer } from "./servers.ts";

type Awaiting = { readonly server: string; readonly upstreamName: string; readonly version: string };

/** 1 if something breaks or is suspicious. */
export async function diffVersions(invocation: Invocation): Promise<number> {
  const [from = "", to] = invocation.operands.map(parsed);
  const { server, version } = from as Named;
  if (to === undefined && version !== null)
    throw new CommandFault(`name two versions, ${server}@${version} and another, or the server alone`, 2);
  if (to !== undefined && (to.server !== server || version === null || to.version === null))
    throw new CommandFault("name two versions of one server: files@1.0.0 files@2.0.0", 2);
  await assertServer(invocation, server);
  const between = to === undefined ? null : ([version, to.version] as [string, string]);
  const { changes } = await ask(invocation, (client) => client.tools.diff.query({ server, between }));
  if (invocation.json) printJson(invocation, { changes });
  else if (changes.length === 0) invocation.io.stderr("Nothing changed.\n");
  else for (const change of changes) invocation.io.stdout(textOf(change));
  return changes.some(({ verdict }) => verdict !== "compatible") ? 1 : 0;
}

/** On stderr, of the tool that is to be approved: what its server changed. */
export async function showAwaiting(invocation: Invocation, { server, upstreamName, version }: Awaiting): Promise<void> {
  const { changes } = await ask(invocation, (client) => client.tools.diff.query({ server, between: null }));
  for (const change of changes)
    if (change.tool === upstreamName && change.from === version) invocation.io.stderr(textOf(change));
}

export function textOf(change: ToolChange): string {
  const lines = change.findings.map(
    ({ verdict, path, message }) => `  ${verdict}: ${path === "" ? "" : `${path}: `}${message}`,
  );
  return printable(`${[`${change.tool}: ${change.kind}, ${change.verdict}`, ...lines].join("\n")}\n`);
}

type Named = { readonly server: string; readonly version: string | null };

function parsed(text: string): Named {
  const at = text.indexOf("@");
  return at === -1 ? { server: text, version: null } : { server: text.slice(0, at), version: text.slice(at + 1) };
}
