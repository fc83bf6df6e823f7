/**
 * What does each field of a tool and of a server say? All of it is of tools that policy listed for this
 * principal, and, for those who may inspect servers, of every server.
 */
import { findVersion } from "../../registry/resolve.ts";
import type { LimitState, Tool } from "../../model.ts";
import { Refusal } from "../../refusal.ts";
import type { ToolChange } from "../../registry/tool-diff.ts";
import { limitUse, serverHealth } from "../../view.ts";
import type { VersionHealth } from "../../view.ts";
import { sortedConnection } from "./connection.ts";
import type { Connection, PageArguments } from "./connection.ts";
import { definitionFor, inputSchemaOf, outputSchemaOf, textOf } from "./definition.ts";
import type { ToolFormat } from "./definition.ts";
import { valueOf } from "./errors.ts";
import type { Context, Graph, ListFilter } from "./graph.ts";

export type ServerShown = { readonly name: string };

/** The widest Int that GraphQL knows. */
const INT_MAX = 2 ** 31 - 1;

export const toolFields = {
  server: (tool: Tool): ServerShown => ({ name: tool.server }),
  title: (tool: Tool) => textOf(tool, "title"),
  description: (tool: Tool) => textOf(tool, "description"),
  inputSchema: inputSchemaOf,
  outputSchema: outputSchemaOf,
  limits: async (tool: Tool, _: unknown, { graph }: Context): Promise<readonly LimitState[]> => {
    const { principal, snapshot } = graph;
    return limitUse(graph.gateway, { principal, snapshot, tools: [tool], urls: null }, tool);
  },
  definition: (tool: Tool, { format }: { format: ToolFormat }) => definitionFor(tool, format),
};

export const limitFields = {
  limit: ({ limit }: LimitState) => Math.min(limit, INT_MAX),
  remaining: ({ remaining }: LimitState) => Math.min(remaining, INT_MAX),
};

export const serverFields = {
  defaultVersion: async ({ name }: ServerShown, _: unknown, { graph }: Context): Promise<string | null> => {
    const whole = await graph.whole();
    if (whole !== null)
      return findVersion(whole.snapshot, { server: name, version: null }, whole.principal)?.version ?? null;
    const { tools } = await graph.list({ server: name });
    return tools[0]?.version ?? null;
  },
  versions: async ({ name }: ServerShown, _: unknown, { graph }: Context): Promise<readonly object[]> => {
    const whole = await graph.whole();
    const { tools, snapshot } = await graph.list({ server: name, version: "*" });
    const shown = new Set(tools.map(({ version }) => version));
    return [...(snapshot.servers.get(name)?.versions.values() ?? [])]
      .filter(({ version }) => whole !== null || shown.has(version))
      .map(({ version, isDefault, state, discoveredAt }) => ({ version, isDefault, state, discoveredAt }));
  },
  changes: async (
    { name }: ServerShown,
    { from = null, to = null }: { readonly from?: string | null; readonly to?: string | null },
    { graph }: Context,
  ): Promise<readonly ToolChange[]> => {
    if ((from === null) !== (to === null)) throw new Refusal("invalid_request", "Name both versions, or none.");
    const between = from === null || to === null ? null : ([from, to] as const);
    return await graph.changes(name, between);
  },
  health: async ({ name }: ServerShown, _: unknown, { graph }: Context): Promise<readonly VersionHealth[] | null> =>
    valueOf(await serverHealth(graph.gateway, graph.asked, name)),
  tools: async (
    { name }: ServerShown,
    asked: PageArguments & { filter?: ListFilter | null },
    { graph }: Context,
  ): Promise<Connection<Tool>> => {
    const { tools } = await graph.list(asked.filter ?? {});
    return sortedConnection(tools.filter(({ server }) => server === name).toSorted(byKey), toolKey, asked);
  },
};

/** Those with at least one visible tool, of any version; for those who may inspect servers all. Sorted by name. */
export async function visibleServers(graph: Graph): Promise<readonly ServerShown[]> {
  const { tools } = await graph.list({ version: "*" });
  const whole = await graph.whole();
  const names = new Set([...tools.map(({ server }) => server), ...(whole?.snapshot.servers.keys() ?? [])]);
  return [...names].toSorted().map((name) => ({ name }));
}

/** By name, then version: a space sorts before all that a name may hold. */
export function toolKey(tool: Tool): string {
  return `${tool.name} ${tool.version} ${tool.id}`;
}

export function byKey(a: Tool, b: Tool): number {
  return toolKey(a) < toolKey(b) ? -1 : 1;
}
