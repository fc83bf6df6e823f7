/** REST: the seed's two paths. `GET /tools`, `POST /tools/{name}/call`. Bytes → a verb's request → render; nothing is decided here. */
import { callTool, refuse } from "../call.ts";
import type { Gateway } from "../gateway.ts";
import { isObject } from "../json.ts";
import type { JsonObject, Outcome, Tool } from "../model.ts";
import { Refusal } from "../refusal.ts";
import { listTools } from "../view.ts";
import { askedOf } from "./exchange.ts";
import type { Exchange, Route } from "./exchange.ts";
import { page } from "./page.ts";
import { callHeaders, malformedProblem, replyJson, replyProblem, withoutUpstreamError } from "./render.ts";

const PAGE_SIZE = 100;

export const restRoutes: readonly Route[] = [
  { prefix: "/tools", methods: ["GET"], door: getTools, malformed: malformedProblem("rest") },
  { prefix: "/tools/", methods: ["POST"], door: postCall, malformed: malformedProblem("rest") },
];

async function getTools(gateway: Gateway, exchange: Exchange): Promise<void> {
  const { query } = exchange;
  const fault = parameterFault(query, ["server", "permission", "version", "cursor"]);
  if (fault !== null) return refused(gateway, exchange, fault);
  const filter = {
    server: query.get("server"),
    permission: query.get("permission"),
    version: query.get("version"),
    inspect: true,
  };
  const outcome = await listTools(gateway, askedOf(exchange, { interface: "rest" }), filter);
  if (!outcome.ok) return replyProblem(exchange, outcome);
  const { tools, urls } = outcome.value;
  const slice = page(tools, (tool) => tool.id, { after: query.get("cursor"), first: PAGE_SIZE });
  if (slice === null) return refused(gateway, exchange, "The cursor is not one of ours.");
  const body = {
    tools: slice.items.map((tool) => row(tool, urls)),
    ...(slice.next === null ? {} : { nextCursor: slice.next }),
  };
  replyJson(exchange, body, callHeaders(outcome.call));
}

async function postCall(gateway: Gateway, exchange: Exchange): Promise<void> {
  const name = toolName(exchange.path);
  if (name === null) return refused(gateway, exchange, "There is nothing at this path.", 404);
  const fault = parameterFault(exchange.query, ["version"]);
  if (fault !== null) return refused(gateway, exchange, fault);
  const body = exchange.body ?? {};
  if (!isObject(body)) return refused(gateway, exchange, "The body must be a JSON object.");
  const unknown = Object.keys(body).find((key) => key !== "arguments");
  if (unknown !== undefined) return refused(gateway, exchange, "The body takes the one key arguments.");
  const args = body["arguments"] ?? {};
  if (!isObject(args)) return refused(gateway, exchange, "arguments must be a JSON object.");
  const answered = await callTool(gateway, {
    ...askedOf(exchange, { interface: "rest" }),
    tool: { kind: "name", name, version: exchange.query.get("version") },
    arguments: args,
    meta: null,
    onProgress: null,
  });
  const outcome = withoutUpstreamError(answered);
  if (!outcome.ok) return replyProblem(exchange, outcome);
  replyJson(exchange, outcome.value, callHeaders(outcome.call));
}

/** A parameter that is misspelt or said twice would otherwise be another question than was meant. */
function parameterFault(query: URLSearchParams, known: readonly string[]): string | null {
  const names = [...query.keys()];
  if (names.some((name) => !known.includes(name))) return `The query takes ${known.join(", ")}, and nothing else.`;
  return new Set(names).size < names.length ? "Each parameter of the query must occur once." : null;
}

function toolName(path: string): string | null {
  const match = /^\/tools\/([^/]+)\/call$/.exec(path);
  try {
    return match === null ? null : decodeURIComponent(match[1] as string);
  } catch {
    return null;
  }
}

/** The seed's ToolRegistration, and what a caller needs besides. */
function row(tool: Tool, urls: ReadonlyMap<string, string> | null): JsonObject {
  const { title, description, inputSchema, outputSchema } = tool.definition;
  return {
    name: tool.name,
    ...(title === undefined ? {} : { title }),
    description: description ?? "",
    inputSchema: inputSchema ?? { type: "object" },
    ...(outputSchema === undefined ? {} : { outputSchema }),
    serverName: tool.server,
    ...(urls === null ? {} : { serverUrl: urls.get(`${tool.server}@${tool.version}`) ?? "" }),
    version: tool.version,
    permissions: tool.permissions,
    rateLimit: tool.limits[0]?.limit ?? null,
    tags: tool.tags,
    annotations: tool.annotations,
    digest: tool.digest,
    stale: tool.stale,
  };
}

async function refused(gateway: Gateway, exchange: Exchange, message: string, status = 400): Promise<void> {
  const outcome: Outcome<never> = await refuse(
    gateway,
    askedOf(exchange, { interface: "rest" }),
    new Refusal("invalid_request", message, { status }),
  );
  if (!outcome.ok) replyProblem(exchange, outcome);
}
