/**
 * MCP 2026-07-28: no session, no handshake; every request says in `_meta` which revision it speaks and what its
 * client can do, and repeats method and name in headers. Whoever closes the connection has cancelled.
 */
import type { Gateway } from "../../gateway.ts";
import type { Asked, CallRequest, JsonObject, Snapshot, Tool, ToolRef } from "../../model.ts";
import { isObject } from "../../json.ts";
import type { Refusal } from "../../refusal.ts";
import { askerOf, find } from "../../registry/resolve.ts";
import { identify, listTools } from "../../view.ts";
import type { Headers } from "../exchange.ts";
import { introduce } from "./endpoint.ts";
import { listPage } from "./list.ts";
import { invalidParams, metaOf, methodNotFound, notRpc, readMessage, versionNotSupported } from "./message.ts";
import type { Reply, Request } from "./message.ts";
import { checkMirror, mismatch, paramsDiffer } from "./mirror.ts";
import { accepted, MODERN, refusalReply, resultReply } from "./render.ts";
import { declined, enter } from "./turn.ts";
import type { Handlers, Turn } from "./turn.ts";
import { readUse, useTool } from "./use.ts";

const ENVELOPE_VERSION = "io.modelcontextprotocol/protocolVersion";
const ENVELOPE_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities";

const HANDLERS: Handlers = { "server/discover": discover, "tools/list": listPage, "tools/call": useChecked };

/** The header names this revision, or the body is in this revision's envelope, whichever revision that names. */
export function isModern(headers: Headers, meta: JsonObject | null): boolean {
  return headers["mcp-protocol-version"] === MODERN.protocol || meta?.[ENVELOPE_VERSION] !== undefined;
}

export async function serveModern(turn: Turn): Promise<Reply | null> {
  const { gateway, exchange, asked } = turn;
  const message = readMessage(exchange.body);
  if (message.kind === "response") throw notRpc("This gateway has asked nothing.");
  if (message.kind === "notification") {
    // the revision has none over HTTP, so there is nothing that one could do
    const outcome = await identify(gateway, asked);
    return outcome.ok ? accepted(outcome.call) : refusalReply(null, outcome);
  }
  const unsupported = unsupportedVersion(exchange.headers, message.params);
  if (unsupported !== null) return declined(turn, unsupported);
  checkEnvelope(exchange.headers, message);
  const handler = Object.hasOwn(HANDLERS, message.method) ? HANDLERS[message.method] : undefined;
  if (handler === undefined) return declined(turn, methodNotFound(404));
  return handler(turn, message);
}

/** Before all other checks: another revision may have other headers. @throws Refusal where header and body disagree */
function unsupportedVersion(headers: Headers, params: JsonObject): Refusal | null {
  const named = headers["mcp-protocol-version"];
  if (named === MODERN.protocol) return null;
  if (named === undefined || metaOf(params)?.[ENVELOPE_VERSION] !== named) throw mismatch("MCP-Protocol-Version");
  return versionNotSupported(named);
}

/** @throws Refusal invalid_request with −32020 or −32602 */
export function checkEnvelope(headers: Headers, { method, params }: Pick<Request, "method" | "params">): void {
  checkMirror(headers, method, params);
  const meta = metaOf(params);
  const version = meta?.[ENVELOPE_VERSION];
  if (typeof version !== "string") throw invalidParams(`params._meta must hold ${ENVELOPE_VERSION}.`, 400);
  if (version !== headers["mcp-protocol-version"]) throw mismatch("MCP-Protocol-Version");
  if (!isObject(meta?.[ENVELOPE_CAPABILITIES]))
    throw invalidParams(`params._meta must hold ${ENVELOPE_CAPABILITIES}.`, 400);
}

async function discover(turn: Turn, { id }: Request): Promise<Reply> {
  const outcome = await enter(turn);
  if (!outcome.ok) return refusalReply(id, outcome);
  const { serverInfo, instructions } = introduce(outcome.value, turn.endpoint, turn.own);
  const result = {
    supportedVersions: [MODERN.protocol],
    capabilities: { tools: {} },
    ...(instructions === null ? {} : { instructions }),
    ...turn.dialect.cacheable(serverInfo),
  };
  return resultReply(id, JSON.stringify(result), outcome.call);
}

async function useChecked(turn: Turn, request: Request): Promise<Reply | null> {
  const use = readUse(request.params, turn.endpoint);
  const checked = checkParameters(turn.gateway, turn.exchange.headers, turn.asked, use);
  if (checked !== undefined) await checked;
  return useTool(turn, request, use);
}

/**
 * Headers that repeat arguments must repeat them truly; but who may not see a tool learns nothing of its schema.
 * Undefined where they do.
 * @throws Refusal invalid_request with −32020
 */
export function checkParameters(
  gateway: Gateway,
  headers: Headers,
  asked: Asked,
  use: Used,
): Promise<void> | undefined {
  const differs = (tool: Tool): boolean => paramsDiffer(tool, headers, use.arguments);
  // who asks, and so which version is meant, is only worth asking where one of them differs
  const named = toolsNamed(gateway.snapshot(), use.tool).find(differs);
  if (named === undefined) return undefined;
  const asking = { ...asked, ...use };
  return listTools(gateway, asking, { server: named.server, version: use.tool.version }).then((seen) => {
    if (!seen.ok) return;
    const tool = find(seen.value.snapshot, use.tool, askerOf(seen.call));
    if (tool !== undefined && differs(tool) && seen.value.tools.some(({ id }) => id === tool.id))
      throw mismatch("Mcp-Param");
  });
}

type Used = Pick<CallRequest, "tool" | "arguments">;

/** Of every version. */
function toolsNamed({ tools, servers }: Snapshot, ref: ToolRef): readonly Tool[] {
  if (ref.kind === "name") return tools.get(ref.name) ?? [];
  return [...(servers.get(ref.server)?.versions.values() ?? [])].flatMap(({ tools: own }) => own.get(ref.name) ?? []);
}
