/** An MCP client by hand, for what the official ones cannot be made to say. */
import { KEYS, discovered, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startUpstream } from "./mcp-door-upstream.ts";
import type { Upstream } from "./mcp-door-upstream.ts";

export const MODERN = "2026-07-28";
export const ENVELOPE = {
  "io.modelcontextprotocol/protocolVersion": MODERN,
  "io.modelcontextprotocol/clientInfo": { name: "by-hand", version: "1" },
  "io.modelcontextprotocol/clientCapabilities": {},
};
type Result = {
  [field: string]: unknown;
  tools?: { name: string; [field: string]: unknown }[];
  content?: { type: string; text?: string }[];
  isError?: boolean;
  _meta?: Record<string, unknown>;
};
export type Rpc = {
  id?: unknown;
  method?: string;
  params?: Record<string, unknown>;
  result?: Result;
  error?: { code: number; message: string; data?: Record<string, unknown> };
};
export type Answered = {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: Rpc;
};
export type Sent = {
  readonly path?: string;
  readonly key?: string | null;
  readonly method?: string;
  readonly headers?: Record<string, string | null>;
  readonly body?: unknown;
  readonly signal?: AbortSignal;
};

/** Header null: not sent. A body that is text is sent as it is. */
export async function send(gateway: TestGateway, sent: Sent): Promise<Answered> {
  const answer = await open(gateway, sent);
  const text = await answer.text();
  const isJson = answer.headers.get("content-type") === "application/json";
  return {
    status: answer.status,
    headers: answer.headers,
    text,
    body: (isJson && text !== "" ? JSON.parse(text) : {}) as Rpc,
  };
}

export function open(
  gateway: TestGateway,
  { path = "/mcp", key = KEYS.alice, method = "POST", headers = {}, body, signal }: Sent,
): Promise<Response> {
  const all = {
    "content-type": "application/json",
    accept: "application/json, text/event-stream",
    authorization: key === null ? null : `Bearer ${key}`,
    ...headers,
  };
  const given = Object.entries(all).filter((pair): pair is [string, string] => pair[1] !== null);
  const text = body === undefined ? null : typeof body === "string" ? body : JSON.stringify(body);
  return fetch(gateway.url + path, { method, headers: given, body: text, signal: signal ?? null });
}

/** A request of the modern revision, with the headers that belong to it. */
export function modern(method: string, params: Record<string, unknown> = {}, id: unknown = 1) {
  const name = typeof params["name"] === "string" ? { "mcp-name": params["name"] } : {};
  const meta = { ...ENVELOPE, ...(params["_meta"] as object | undefined) };
  return {
    headers: { "mcp-protocol-version": MODERN, "mcp-method": method, ...name } as Record<string, string | null>,
    body: { jsonrpc: "2.0", id, method, params: { ...params, _meta: meta } },
  };
}

export function rpc(method: string, params?: Record<string, unknown>, id: unknown = 1) {
  return { jsonrpc: "2.0", id, method, ...(params === undefined ? {} : { params }) };
}

export function notification(method: string, params: Record<string, unknown> = {}) {
  return { jsonrpc: "2.0", method, params };
}

/** The session's headers, after a handshake in this revision. */
export async function initialize(
  gateway: TestGateway,
  { path = "/mcp", key = KEYS.alice, protocol = "2025-11-25" }: { path?: string; key?: string; protocol?: string } = {},
) {
  const answer = await send(gateway, {
    path,
    key,
    body: rpc("initialize", {
      protocolVersion: protocol,
      capabilities: {},
      clientInfo: { name: "by-hand", version: "1" },
    }),
  });
  const id = answer.headers.get("mcp-session-id");
  if (id === null) throw new Error(`no session: ${answer.text}`);
  return {
    answer,
    headers: { "mcp-session-id": id, "mcp-protocol-version": String(answer.body.result?.["protocolVersion"]) },
  };
}

export function events(text: string): Rpc[] {
  return text
    .split("\n\n")
    .filter((block) => block.startsWith("data: ") || block.includes("\ndata: "))
    .map((block) => JSON.parse(block.replaceAll(/^(?!data: ).*$|^data: /gm, "")) as Rpc);
}

export type Setup = {
  readonly gateway: TestGateway;
  readonly legacy: Upstream;
  readonly modern: Upstream;
  readonly close: () => Promise<void>;
};

/** A server of either era behind one gateway; `secret` of each, and all of the server `closed`, is for operators alone. */
export async function setUp(changes: object = {}): Promise<Setup> {
  const [legacy, modernServer] = await Promise.all([startUpstream("legacy"), startUpstream("modern")]);
  const server = (name: string, { url }: Upstream, permission = "demo:use") => ({
    name,
    instances: [{ http: { url, allowPrivate: true } }],
    permissions: [permission],
    tools: { secret: { permissions: ["files:write"] } },
  });
  const servers = [server("old", legacy), server("new", modernServer), server("closed", modernServer, "files:write")];
  const gateway = await startGateway({ servers, ...changes });
  await Promise.all(servers.map(({ name }) => discovered(gateway, name)));
  // on a busy machine the first call would else wait for its schema longer than it may
  await gateway.gateway.validators.prepare([...gateway.gateway.snapshot().tools.values()].flat());
  const close = async () => {
    await gateway.close();
    await Promise.all([legacy.close(), modernServer.close()]);
  };
  return { gateway, legacy, modern: modernServer, close };
}
