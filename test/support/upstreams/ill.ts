/**
 * A small modern MCP server with one tool, `echo`, that falls ill on demand. As a function, or as a process that can be
 * killed and stopped, and that writes down each call before it answers, so many milliseconds later:
 *   node test/support/upstreams/ill.ts --port 0 --journal FILE --took 5
 */
import { appendFileSync } from "node:fs";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

export type Illness =
  | "none"
  | "hang"
  | "hang after headers"
  | "reset"
  | "drip"
  | "garbage"
  | "wrong id"
  | "huge"
  | "wrong content type"
  | "429"
  | "503"
  | "slow";
export type Ill = {
  readonly url: string;
  /** From now on, of every request; or of calls with this text alone. */
  readonly falls: (illness: Illness, text?: string) => void;
  /** Calls that arrived. */
  readonly calls: () => number;
  readonly close: () => Promise<void>;
};
type Rpc = {
  readonly id?: number;
  readonly method: string;
  readonly params?: { readonly arguments?: { readonly text?: string } };
};

const TOOL = { name: "echo", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } };

export async function startIll({ port = 0, journal = null as string | null, tookMs = 0 } = {}): Promise<Ill> {
  let illness: Illness = "none";
  let text: string | undefined;
  let calls = 0;
  const server = createServer((request, response) => {
    response.on("error", () => {});
    void read(request).then((rpc) => {
      if (rpc.method === "tools/call") calls++;
      if (journal !== null && rpc.method === "tools/call")
        appendFileSync(journal, `${rpc.params?.arguments?.text ?? ""}\n`);
      const isMeant = text === undefined || rpc.params?.arguments?.text === text;
      const answer = () => void reply(rpc, isMeant ? illness : "none", request, response);
      if (tookMs === 0) answer();
      else setTimeout(answer, tookMs);
    });
  });
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    falls: (next, only) => void ([illness, text] = [next, only]),
    calls: () => calls,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

async function read(request: IncomingMessage): Promise<Rpc> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString() || "{}") as Rpc;
}

async function reply(rpc: Rpc, illness: Illness, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const json = { "content-type": "application/json" };
  const answer = (id: unknown, more = ""): string =>
    JSON.stringify({ jsonrpc: "2.0", id, result: resultOf(rpc), more });
  if (illness === "slow") await sleep(300);
  if (rpc.id === undefined) return void response.writeHead(202).end();
  switch (illness) {
    case "hang":
      return;
    case "hang after headers":
      return response.writeHead(200, json).flushHeaders();
    case "reset":
      return void request.socket.resetAndDestroy();
    case "drip":
      response.writeHead(200, json);
      for (const byte of answer(rpc.id)) {
        if (response.destroyed) return;
        response.write(byte);
        await sleep(50);
      }
      return void response.end();
    case "garbage":
      return void response.writeHead(200, json).end("{this is not json");
    case "wrong id":
      return void response.writeHead(200, json).end(answer(rpc.id + 100_000));
    case "huge":
      return void response.writeHead(200, json).end(answer(rpc.id, "x".repeat(4 << 20)));
    case "wrong content type":
      return void response.writeHead(200, { "content-type": "text/html" }).end(answer(rpc.id));
    case "429":
      return void response.writeHead(429, { "retry-after": "1" }).end();
    case "503":
      return void response.writeHead(503).end();
    case "none":
    case "slow":
      return void response.writeHead(200, json).end(answer(rpc.id));
  }
}

function resultOf({ method, params }: Rpc): unknown {
  if (method === "tools/list") return { resultType: "complete", tools: [TOOL] };
  if (method !== "tools/call") return { supportedVersions: ["2026-07-28"], capabilities: { tools: {} } };
  return { resultType: "complete", content: [{ type: "text", text: params?.arguments?.text ?? "" }] };
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      port: { type: "string", default: "0" },
      journal: { type: "string" },
      took: { type: "string", default: "0" },
    },
  });
  const { url } = await startIll({
    port: Number(values.port),
    journal: values.journal ?? null,
    tookMs: Number(values.took),
  });
  process.stdout.write(`${url}\n`);
}
