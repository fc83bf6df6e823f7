/**
 * The fast MCP server that the bench calls: raw `node:http`, both eras, no SDK, so that it costs little and always
 * the same. `POST /tools/30/x` is a server of 30 tools, whatever x is. `GET /count` answers how many requests it had.
 */
import { createServer } from "node:http";
import type { ServerResponse } from "node:http";

type Message = {
  readonly id?: number | string;
  readonly method: string;
  readonly params?: { readonly protocolVersion?: string; readonly arguments?: { readonly text?: string } };
};

const MODERN = "2026-07-28";
const serverInfo = { name: "bench", version: "1.0.0" };
const capabilities = { tools: {} };
const lists = new Map<number, readonly object[]>();
let requests = 0;

const server = createServer((request, response) => {
  const url = request.url ?? "";
  if (request.method !== "POST") return url === "/count" ? send(response, 200, requests) : send(response, 405, {});
  requests++;
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const message = JSON.parse(Buffer.concat(chunks).toString()) as Message;
    const modern = request.headers["mcp-protocol-version"] === MODERN;
    if (message.id === undefined) response.writeHead(202).end();
    else send(response, 200, { jsonrpc: "2.0", id: message.id, ...answer(message, url, modern) });
  });
});
server.keepAliveTimeout = 120_000;
server.listen(Number(process.argv[2] ?? 0), "127.0.0.1");

function answer({ method, params }: Message, url: string, modern: boolean): object {
  const complete = modern ? { resultType: "complete" } : {};
  const cache = modern ? { ttlMs: 3_600_000, cacheScope: "public" } : {};
  switch (method) {
    case "tools/call":
      return { result: { content: [{ type: "text", text: params?.arguments?.text ?? "" }], ...complete } };
    case "tools/list":
      return { result: { tools: tools(Number(/^\/tools\/(\d+)/.exec(url)?.[1] ?? 10)), ...cache, ...complete } };
    case "server/discover":
      return { result: { supportedVersions: [MODERN], capabilities, serverInfo, ...cache, ...complete } };
    case "initialize":
      return { result: { protocolVersion: params?.protocolVersion ?? "2025-11-25", capabilities, serverInfo } };
    case "ping":
      return { result: {} };
    default:
      return { error: { code: -32601, message: "Method not found" } };
  }
}

/** `plain` takes anything; the others have a schema that a gateway can check. */
function tools(count: number): readonly object[] {
  const made = lists.get(count) ?? Array.from({ length: count }, (_, at) => tool(at));
  lists.set(count, made);
  return made;
}

function tool(at: number): object {
  if (at === 0) return { name: "plain", description: "Says what it hears.", inputSchema: { type: "object" } };
  return {
    name: at === 1 ? "echo" : `echo_${at}`,
    title: `Echo ${at}`,
    description: "Says what it hears, as often as it is asked to, in the language of the one who asks.",
    inputSchema: {
      type: "object",
      properties: {
        text: { type: "string", minLength: 1, maxLength: 4096, description: "What to say." },
        times: { type: "integer", minimum: 1, maximum: 10, description: "How often." },
        language: { type: "string", enum: ["de", "en", "fr"], description: "In which language." },
      },
      required: ["text"],
      additionalProperties: false,
    },
    annotations: { readOnlyHint: true, idempotentHint: true },
  };
}

function send(response: ServerResponse, status: number, value: unknown): void {
  const body = JSON.stringify(value);
  response
    .writeHead(status, { "content-type": "application/json", "content-length": Buffer.byteLength(body) })
    .end(body);
}
