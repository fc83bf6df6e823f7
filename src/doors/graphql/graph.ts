/** What does every resolver get? Who asks, and what they may see: each list is decided by policy once per request. */
import type { Gateway } from "../../gateway.ts";
import type { Asked, Call, Principal, Snapshot, Tool } from "../../model.ts";
import { diffServer, listTools, wholeCatalogue } from "../../view.ts";
import type { ShownChange, ToolFilter, VisibleTools } from "../../view.ts";
import { valueOf } from "./errors.ts";

export type Graph = {
  readonly gateway: Gateway;
  readonly asked: Asked;
  /** As of the request's start: shown as `me`, never decided on. */
  readonly principal: Principal;
  readonly snapshot: Snapshot;
  /** @throws GraphQLError carrying the refusal */
  readonly list: (filter: ListFilter) => Promise<VisibleTools>;
  /** Compared once, however many tools of the server are asked for it. @throws as `list` */
  readonly changes: (server: string, between: Between) => Promise<readonly ShownChange[]>;
  /** Whatever tools may be seen of it; asked for once. @see wholeCatalogue @throws as `list` */
  readonly whole: () => ReturnType<typeof wholeOf>;
  /** The calls made so far, for the answer's headers. */
  readonly calls: Call[];
};
export type Between = Parameters<typeof diffServer>[2]["between"];
/** What graphql hands to a resolver. */
export type Context = { readonly graph: Graph };

/** As the schema has it. */
export type ListFilter = {
  readonly server?: string | null;
  readonly version?: string | null;
  readonly permission?: string | null;
  readonly tag?: string | null;
  readonly readOnly?: boolean | null;
};

export function createGraph(gateway: Gateway, asked: Asked, who: { principal: Principal; snapshot: Snapshot }): Graph {
  const lists = new Map<string, Promise<VisibleTools>>();
  const list = (filter: ListFilter): Promise<VisibleTools> => {
    const { version = null, permission = null, tag = null } = filter;
    const key = JSON.stringify([version, permission, tag]);
    let found = lists.get(key);
    if (found === undefined) lists.set(key, (found = look(gateway, asked, { version, permission, tag })));
    return found.then((visible) => ({ ...visible, tools: visible.tools.filter((tool) => matches(tool, filter)) }));
  };
  const compared = new Map<string, ReturnType<Graph["changes"]>>();
  const changes: Graph["changes"] = (server, between) => {
    const key = JSON.stringify([server, between]);
    const known =
      compared.get(key) ?? diffServer(gateway, asked, { server, between }).then((one) => valueOf(one).changes);
    compared.set(key, known);
    return known;
  };
  let known: ReturnType<Graph["whole"]> | null = null;
  const whole: Graph["whole"] = () => (known ??= wholeOf(gateway, asked));
  return { gateway, asked, principal: who.principal, snapshot: who.snapshot, list, changes, whole, calls: [] };
}

async function wholeOf(gateway: Gateway, asked: Asked) {
  return valueOf(await wholeCatalogue(gateway, asked));
}

/** Authenticates and asks policy anew. @throws GraphQLError carrying the refusal */
export async function look(gateway: Gateway, asked: Asked, filter: ToolFilter): Promise<VisibleTools> {
  return valueOf(await listTools(gateway, asked, filter));
}

/** What narrows a decided list needs no decision of its own: the tools of a hundred servers are one evaluation. */
export function matches(tool: Tool, { server = null, readOnly = null }: ListFilter): boolean {
  if (server !== null && tool.server !== server) return false;
  return readOnly === null || (tool.annotations["readOnlyHint"] === true) === readOnly;
}
