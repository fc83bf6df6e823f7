/** What is measured: the configurations of the gateway, and the very same request for every target. */
import { join } from "node:path";
import { key } from "../support/portcullis.ts";

export const MARKER = "Good morning from the bench";
const META = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientCapabilities": {},
  "io.modelcontextprotocol/clientInfo": { name: "bench", version: "1.0.0" },
};
const DAY = "1d";

/** A whole HTTP/1.1 request to an MCP endpoint, 2026-07-28. */
export function mcpRequest(path: string, method: string, params: object, apiKey: string | null): string {
  const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method, params: { ...params, _meta: META } });
  const name = "name" in params ? [`mcp-name: ${String(params.name)}`] : [];
  return [
    `POST ${path} HTTP/1.1`,
    "host: 127.0.0.1",
    "content-type: application/json",
    "accept: application/json, text/event-stream",
    "mcp-protocol-version: 2026-07-28",
    `mcp-method: ${method}`,
    ...name,
    ...(apiKey === null ? [] : [`x-api-key: ${apiKey}`]),
    `content-length: ${Buffer.byteLength(body)}`,
    "",
    body,
  ].join("\r\n");
}

/** A configuration of the gateway, its policies by absolute path. */
export type Configured = { readonly policies: string; readonly [section: string]: unknown };

export function echoCall(path: string, tool: string, apiKey: string | null): string {
  return mcpRequest(path, "tools/call", { name: tool, arguments: { text: MARKER } }, apiKey);
}

/** The request that Envoy holds: head and body of a call, and the server that its configuration names. */
export function checked(tool: string) {
  const [head = "", body = ""] = echoCall("/mcp", tool, null).split("\r\n\r\n");
  const headers = Object.fromEntries(
    head
      .split("\r\n")
      .slice(1)
      .map((line) => line.split(": ") as [string, string]),
  );
  return { headers, body, extensions: { "portcullis.server": "bench" } };
}

/** The same call as a check over HTTP. */
export function checkCall(path: string, tool: string, apiKey: string): string {
  return echoCall(path, tool, apiKey).replace("\r\n\r\n", "\r\nx-envoy-auth-partial-body: false\r\n\r\n");
}

export const callerKey = key("bench", "caller");

/** No credential, no limit, a policy of one rule, a tool whose schema takes anything; what is always on stays on. */
export function nothingOn(upstreamPort: number): Configured {
  return {
    policies: policies("nothing"),
    principals: [{ id: "caller" }],
    auth: { anonymous: { principal: "caller", paths: ["/mcp/bench"] } },
    servers: [server("bench", upstreamPort, 10)],
  };
}

/** API key, 30 lines of policy, three limits, a schema to check, intent and outcome records. */
export function allOn(upstreamPort: number, flush: "write" | "fsync", redisUrl: string | null): Configured {
  const limits = [
    { name: "per-user", key: ["principal"] },
    { name: "per-tool", key: ["principal", "tool"] },
    { name: "per-server", key: ["tenant", "server"] },
  ].map((limit) => ({ ...limit, always: true, limit: 1_000_000_000, window: DAY, redisDown: "local" }));
  return {
    policies: policies("all"),
    ...(redisUrl === null ? {} : { redis: redisUrl }),
    roles: { caller: ["bench:use"] },
    principals: [{ id: "caller", roles: ["caller"] }],
    auth: { keys: [callerKey.entry] },
    limits,
    audit: { flush },
    servers: [server("bench", upstreamPort, 10)],
  };
}

/** All on, `servers` servers of `tools` tools each, `principals` principals of which `keys` have a key. */
export function scaled(upstreamPort: number, size: Scale): Configured {
  const ids = Array.from({ length: size.principals }, (_, at) => `p${at}`);
  const names = Array.from({ length: size.servers }, (_, at) => `s${at}`);
  return {
    ...allOn(upstreamPort, "write", null),
    principals: ids.map((id) => ({ id, roles: ["caller"] })),
    auth: { keys: ids.slice(0, size.keys).map((id) => key(id, id).entry) },
    servers: names.map((name) => server(name, upstreamPort, size.tools)),
  };
}
export type Scale = {
  readonly servers: number;
  readonly tools: number;
  readonly principals: number;
  readonly keys: number;
};

function server(name: string, upstreamPort: number, tools: number): object {
  return {
    name,
    permissions: ["bench:use"],
    instances: [{ http: { url: `http://127.0.0.1:${upstreamPort}/tools/${tools}/${name}`, allowPrivate: true } }],
  };
}

function policies(name: string): string {
  return join(import.meta.dirname, "policies", name);
}
