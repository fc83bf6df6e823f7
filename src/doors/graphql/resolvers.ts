/** What does each field of the root say? One call to one verb each; the schema is schema/gateway.graphql. */
import { callTool, refuse } from "../../call.ts";
import { isObject } from "../../json.ts";
import type { CallRequest, Json, JsonObject, Outcome, Tool, ToolRef } from "../../model.ts";
import { Refusal } from "../../refusal.ts";
import { find } from "../../registry/resolve.ts";
import { searchTools } from "../../registry/search.ts";
import { explainCall } from "../../view-why.ts";
import { mayCall } from "../../view.ts";
import { withoutUpstreamError } from "../render.ts";
import { auditFields, callRecorded, calls, callStats } from "./audit.ts";
import { createChanges } from "./changes.ts";
import type { ToolsChanged } from "./changes.ts";
import { rankedConnection, sortedConnection } from "./connection.ts";
import type { Connection, PageArguments } from "./connection.ts";
import { valueOf } from "./errors.ts";
import type { Context, Graph, ListFilter } from "./graph.ts";
import { DATE_TIME, JSON_SCALAR } from "./scalars.ts";
import { createStreams } from "./streams.ts";
import { byKey, limitFields, serverFields, toolFields, toolKey, visibleServers } from "./tools.ts";
import type { ServerShown } from "./tools.ts";

type Asking = { readonly tool: string; readonly version?: string | null };
type ToolsArguments = PageArguments & { readonly filter?: ListFilter | null; readonly search?: string | null };

/** By type and field, as the schema names them. */
export function createResolvers() {
  const streams = createStreams();
  const changes = createChanges(streams);
  return {
    JSON: JSON_SCALAR,
    DateTime: DATE_TIME,
    PrincipalKind: { USER: "user", AGENT: "agent" },
    ToolChangeKind: { ADDED: "added", REMOVED: "removed", CHANGED: "changed" },
    ChangeVerdict: { COMPATIBLE: "compatible", BREAKING: "breaking", SUSPICIOUS: "suspicious" },
    TurnKind: {
      PERMISSION: "permission",
      ROLE: "role",
      WITHOUT_PERMISSION: "without_permission",
      WITHOUT_ROLE: "without_role",
      WITHOUT_ARGUMENT: "without_argument",
    },
    InstanceState: { IDLE: "idle", READY: "ready", SET_ASIDE: "set_aside" },
    BreakerState: { CLOSED: "closed", OPEN: "open", HALF_OPEN: "half_open" },
    ServerState: { PENDING: "pending", FRESH: "fresh", STALE: "stale" },
    Query: {
      me: (_: unknown, __: unknown, { graph }: Context) => graph.principal,
      servers,
      server,
      tools,
      tool,
      mayCall: explain,
      calls,
      callStats,
    },
    Mutation: { callTool: call },
    Subscription: {
      toolsChanged: {
        subscribe: (_: unknown, { filter }: { filter?: ListFilter | null }, { graph }: Context) =>
          changes(graph, filter ?? {}),
        resolve: (event: ToolsChanged) => event,
      },
      callRecorded: { subscribe: callRecorded(streams), resolve: (event: object) => event },
    },
    Tool: toolFields,
    Server: serverFields,
    LimitUse: limitFields,
    ...auditFields,
  };
}

async function servers(_: unknown, asked: PageArguments, { graph }: Context): Promise<Connection<ServerShown>> {
  return sortedConnection(await visibleServers(graph), ({ name }) => name, asked);
}

async function server(_: unknown, { name }: { name: string }, { graph }: Context): Promise<ServerShown | null> {
  return (await visibleServers(graph)).find((each) => each.name === name) ?? null;
}

async function tools(_: unknown, asked: ToolsArguments, { graph }: Context): Promise<Connection<Tool>> {
  const { tools: visible, snapshot } = await graph.list(asked.filter ?? {});
  const search = asked.search?.trim() ?? "";
  if (search === "") return sortedConnection(visible.toSorted(byKey), toolKey, asked);
  // what may be seen is decided first: the index knows every tool, the answer and its count only these
  const byId = new Map(visible.map((each) => [each.id, each]));
  const ranked = (await searchTools(snapshot, search)).map((id) => byId.get(id));
  return rankedConnection(
    ranked.filter((each) => each !== undefined),
    toolKey,
    asked,
  );
}

async function tool(
  _: unknown,
  asking: { name: string; version?: string | null },
  { graph }: Context,
): Promise<Tool | null> {
  const { name, version = null } = asking;
  const { tools: visible, snapshot, principal } = await graph.list({ version });
  const found = find(snapshot, { kind: "name", name, version }, principal);
  return visible.find(({ id }) => id === found?.id) ?? null;
}

async function explain(_: unknown, asking: Asking & { arguments?: Json }, { graph }: Context): Promise<object> {
  const args = asking.arguments ?? null;
  if (args !== null && !isObject(args)) throw new Refusal("invalid_request", "arguments must be a JSON object.");
  const { allowed, decision, limits, errors } = valueOf(
    await mayCall(graph.gateway, graph.asked, { tool: refOf(asking), arguments: args }),
  );
  return { allowed, reasons: decision.reasons, limits, errors, explanation: () => explanationOf(graph, asking, args) };
}

/** Asked for only where the field is; null for whom it is not. */
async function explanationOf(
  { gateway, asked }: Graph,
  asking: Asking,
  args: JsonObject | null,
): Promise<object | null> {
  const outcome = await explainCall(gateway, asked, { tool: refOf(asking), arguments: args ?? {} });
  return !outcome.ok && outcome.refusal.code === "forbidden" ? null : valueOf(outcome);
}

async function call(_: unknown, asking: Asking & { arguments: Json }, { graph }: Context): Promise<object> {
  const outcome = await called(graph, asking);
  graph.calls.push(outcome.call);
  const { content, structuredContent = null, isError, _meta: meta = null } = valueOf(withoutUpstreamError(outcome));
  return {
    callId: outcome.call.id,
    content: content ?? [],
    structuredContent,
    isError: isError === true,
    meta,
    limit: outcome.call.limit,
  };
}

function called(
  graph: Graph,
  asking: Asking & { arguments: Json },
): ReturnType<typeof callTool> | Promise<Outcome<never>> {
  const { gateway, asked } = graph;
  if (!isObject(asking.arguments))
    return refuse(gateway, asked, new Refusal("invalid_request", "arguments must be a JSON object."));
  const request: CallRequest = {
    ...asked,
    tool: refOf(asking),
    arguments: asking.arguments,
    meta: null,
    onProgress: null,
  };
  return callTool(gateway, request);
}

function refOf({ tool: name, version = null }: Asking): ToolRef {
  return { kind: "name", name, version };
}
