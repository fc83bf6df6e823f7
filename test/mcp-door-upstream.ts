/**
 * An MCP server of either era, written out on node:http so that a test sees the very bytes that arrive and decides the
 * very bytes that leave. It keeps what each era promises; it offers no more than these tests need.
 */
import { createServer } from "node:http";
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

type Rpc = {
  id?: string | number;
  method: string;
  params: { name?: string; arguments: Record<string, unknown>; requestId?: unknown; _meta?: Record<string, unknown> };
};
export type Upstream = {
  readonly url: string;
  /** Every tools/call that arrived. */
  readonly calls: { readonly headers: IncomingHttpHeaders; readonly body: Rpc }[];
  /** Names of the tools whose call was cancelled, in the way of this server's era. */
  readonly cancelled: string[];
  readonly close: () => Promise<void>;
};

export const ODD_RESULT = {
  content: [
    { type: "hologram", data: { deep: [1, 2.5, null] } },
    { type: "text", text: "été", extra: true },
  ],
  structuredContent: { list: [1] },
  unheard: { of: "this" },
  _meta: { "example.com/kept": 1 },
};
export const TOOLS = [
  {
    name: "echo",
    description: "Says it back.",
    inputSchema: { type: "object" },
    annotations: { readOnlyHint: true, strange: 1 },
    "x-unknown": [1],
  },
  { name: "odd", inputSchema: { type: "object" } },
  { name: "slow", inputSchema: { type: "object", properties: { ms: { type: "integer" } }, required: ["ms"] } },
  { name: "broken", inputSchema: { type: "object" } },
  {
    name: "marked",
    inputSchema: { type: "object", properties: { region: { type: "string", "x-mcp-header": "Region" } } },
  },
  {
    name: "secret",
    inputSchema: { type: "object", properties: { region: { type: "string", "x-mcp-header": "Region" } } },
  },
];
const INFO = { name: "raw-server", version: "9.9.9", title: "Raw" };

export async function startUpstream(era: "legacy" | "modern", tools: readonly object[] = TOOLS): Promise<Upstream> {
  const calls: Upstream["calls"] = [];
  const cancelled: string[] = [];
  const running = new Map<unknown, () => void>();
  const server = createServer((req, res) => {
    void read(req).then(async (body) => {
      if (req.method !== "POST") return res.writeHead(405).end();
      const result = era === "legacy" ? handshake(body) : discovery(req, body);
      if (result !== undefined)
        return result === null ? res.writeHead(202).end() : json(res, 200, { jsonrpc: "2.0", id: body.id, ...result });
      if (body.method === "notifications/cancelled") {
        running.get(body.params.requestId)?.();
        return res.writeHead(202).end();
      }
      if (body.method === "tools/list")
        return json(res, 200, {
          jsonrpc: "2.0",
          id: body.id,
          result: {
            ...(era === "modern" ? { resultType: "complete", ttlMs: 0, cacheScope: "public" } : {}),
            tools,
          },
        });
      if (body.method !== "tools/call")
        return json(res, era === "modern" ? 404 : 200, {
          jsonrpc: "2.0",
          id: body.id,
          error: { code: -32601, message: "Method not found" },
        });
      calls.push({ headers: req.headers, body });
      return call({ req, res, body, era, cancelled, running });
    });
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`;
  const close = async () => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  };
  return { url, calls, cancelled, close };
}

function handshake(body: Rpc): object | null | undefined {
  if (body.method === "initialize")
    return {
      result: {
        protocolVersion: "2025-11-25",
        capabilities: { tools: {} },
        serverInfo: INFO,
        instructions: "Be kind.",
      },
    };
  if (body.method === "ping") return { result: {} };
  return body.method.startsWith("notifications/") && body.method !== "notifications/cancelled" ? null : undefined;
}

function discovery(req: IncomingMessage, body: Rpc): object | undefined {
  const claim = body.params?._meta?.["io.modelcontextprotocol/protocolVersion"];
  if (
    claim !== "2026-07-28" ||
    req.headers["mcp-protocol-version"] !== claim ||
    req.headers["mcp-method"] !== body.method
  )
    return { error: { code: -32020, message: "Header mismatch" } };
  if (body.method !== "server/discover") return undefined;
  return {
    result: {
      resultType: "complete",
      supportedVersions: ["2026-07-28"],
      capabilities: { tools: {} },
      instructions: "Be kind.",
      ttlMs: 0,
      cacheScope: "public",
      _meta: { "io.modelcontextprotocol/serverInfo": INFO },
    },
  };
}

type Doing = {
  req: IncomingMessage;
  res: ServerResponse;
  body: Rpc;
  era: string;
  cancelled: string[];
  running: Map<unknown, () => void>;
};

async function call({ res, body, era, cancelled, running }: Doing): Promise<unknown> {
  const { name, arguments: args, _meta: meta } = body.params;
  const answer = (result: object) => ({
    jsonrpc: "2.0",
    id: body.id,
    result: era === "modern" ? { resultType: "complete", ...result } : result,
  });
  if (name === "broken") {
    const { code = -31999 } = args;
    const status = era === "modern" && code === -32021 ? 400 : 200;
    return json(res, status, {
      jsonrpc: "2.0",
      id: body.id,
      error: { code, message: "upstream's own", data: { why: 1 } },
    });
  }
  if (name === "odd") return json(res, 200, answer(ODD_RESULT));
  if (name !== "slow") return json(res, 200, answer({ content: [{ type: "text", text: JSON.stringify(args) }] }));
  const state = { stopped: false };
  const stop = () => {
    if (!state.stopped) cancelled.push(name);
    state.stopped = true;
  };
  running.set(body.id, stop);
  if (era === "modern") res.on("close", stop);
  res.writeHead(200, { "content-type": "text/event-stream" });
  const token = meta?.["progressToken"];
  for (let spent = 0; spent < Number(args["ms"]) && !state.stopped; spent += 20) {
    if (token !== undefined)
      event(res, {
        jsonrpc: "2.0",
        method: "notifications/progress",
        params: { progressToken: token, progress: spent, total: args["ms"], message: "on it" },
      });
    await sleep(20);
  }
  running.delete(body.id);
  if (!state.stopped) event(res, answer({ content: [{ type: "text", text: "done" }] }));
  state.stopped = true;
  return res.end();
}

function event(res: ServerResponse, message: object): void {
  res.write(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
}

function json(res: ServerResponse, status: number, body: object): unknown {
  return res.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

async function read(req: IncomingMessage): Promise<Rpc> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return (chunks.length === 0 ? { method: "", params: {} } : JSON.parse(Buffer.concat(chunks).toString())) as Rpc;
}
