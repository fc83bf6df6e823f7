/** A legacy server on the official SDK, version 1: what most servers of today are. Over HTTP as a function, over stdio as a process. */
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { CallToolRequestSchema, ListToolsRequestSchema } from "@modelcontextprotocol/sdk/types.js";

export type Reference = {
  readonly url: string;
  readonly listChanged: () => Promise<void>;
  readonly close: () => Promise<void>;
};

const TOOLS = ["echo", "count", "fail"].map((name) => ({
  name,
  description: name,
  inputSchema: { type: "object" as const },
  odd: { kept: 1 },
}));

function makeServer(): Server {
  const server = new Server(
    { name: "reference-v1", version: "1.0.0" },
    { capabilities: { tools: { listChanged: true } } },
  );
  server.setRequestHandler(ListToolsRequestSchema, ({ params }) =>
    params?.cursor === undefined ? { tools: TOOLS.slice(0, 2), nextCursor: "rest" } : { tools: TOOLS.slice(2) },
  );
  server.setRequestHandler(CallToolRequestSchema, async ({ params }, extra) => {
    const progressToken = extra._meta?.progressToken;
    if (params.name === "fail") throw new Error("it failed");
    if (params.name === "count" && progressToken !== undefined) {
      for (const progress of [1, 2])
        await extra.sendNotification({
          method: "notifications/progress",
          params: { progressToken, progress, total: 2 },
        });
    }
    return { content: [{ type: "text", text: JSON.stringify(params.arguments ?? null), odd: 1 }] };
  });
  return server;
}

/** One server and transport per session, as the SDK's own examples do. */
export async function startReferenceV1(options: { json: boolean }): Promise<Reference> {
  const sessions = new Map<string, StreamableHTTPServerTransport>();
  const servers: Server[] = [];
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const known = sessions.get(String(request.headers["mcp-session-id"]));
    if (known !== undefined) return known.handleRequest(request, response);
    if (request.headers["mcp-session-id"] !== undefined) return void response.writeHead(404).end();
    const transport: StreamableHTTPServerTransport = new StreamableHTTPServerTransport({
      sessionIdGenerator: randomUUID,
      enableJsonResponse: options.json,
      onsessioninitialized: (id) => void sessions.set(id, transport),
      onsessionclosed: (id) => void sessions.delete(id),
    });
    const server = makeServer();
    servers.push(server);
    await server.connect(transport);
    await transport.handleRequest(request, response);
  };
  const http = createServer((request, response) => void serve(request, response));
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`,
    listChanged: async () => {
      for (const server of servers) await server.sendToolListChanged().catch(() => {});
    },
    close: async () => {
      for (const server of servers) await server.close();
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };
}

if (import.meta.main) await makeServer().connect(new StdioServerTransport());
