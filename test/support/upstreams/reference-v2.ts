/** A server of both eras on the official SDK, version 2. Over HTTP as a function, over stdio as a process. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { toNodeHandler } from "@modelcontextprotocol/node";
import { Server, createMcpHandler } from "@modelcontextprotocol/server";
import type { CreateMcpHandlerOptions } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import type { Reference } from "./reference-v1.ts";

const TOOLS = ["echo", "count", "fail"].map((name) => ({
  name,
  description: name,
  inputSchema: { type: "object" as const },
}));

function makeServer(): Server {
  const server = new Server(
    { name: "reference-v2", version: "1.0.0" },
    { capabilities: { tools: { listChanged: true } } },
  );
  server.setRequestHandler("tools/list", (request) =>
    request.params?.cursor === undefined ? { tools: TOOLS.slice(0, 2), nextCursor: "rest" } : { tools: TOOLS.slice(2) },
  );
  server.setRequestHandler("tools/call", async ({ params }, context) => {
    const progressToken = context.mcpReq._meta?.progressToken;
    if (params.name === "fail") throw new Error("it failed");
    if (params.name === "count" && progressToken !== undefined) {
      for (const progress of [1, 2])
        await context.mcpReq.notify({
          method: "notifications/progress",
          params: { progressToken, progress, total: 2 },
        });
    }
    return { content: [{ type: "text", text: JSON.stringify(params.arguments ?? null) }] };
  });
  return server;
}

export async function startReferenceV2(options: CreateMcpHandlerOptions): Promise<Reference> {
  const handler = createMcpHandler(makeServer, options);
  const serve = toNodeHandler(handler);
  const http = createServer((request, response) => void serve(request as never, response as never));
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`,
    listChanged: () => Promise.resolve(handler.notify.toolsChanged()),
    close: async () => {
      http.closeAllConnections();
      await new Promise((resolve) => http.close(resolve));
    },
  };
}

if (import.meta.main) serveStdio(makeServer, process.argv.includes("--modern-only") ? { legacy: "reject" } : {});
