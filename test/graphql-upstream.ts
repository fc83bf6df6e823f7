/** A small MCP server of the older era over HTTP: it keeps the promises of the protocol that these tests need. */
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

type Rpc = { id?: number | string; method: string; params?: { name?: string; arguments?: { [key: string]: unknown } } };
export type Upstream = {
  readonly url: string;
  /** The tools called, with their arguments, in order of arrival. */
  readonly calls: { readonly name: string; readonly arguments: unknown }[];
  /** Calls of `slow` whose caller went away. */
  readonly gone: () => number;
  readonly close: () => Promise<void>;
};

const SCHEMA = { type: "object", properties: { path: { type: "string" } }, required: ["path"] };
export const TOOLS = [
  {
    name: "read_file",
    title: "Read a file",
    description: "Reads the contents of a file.",
    inputSchema: SCHEMA,
    annotations: { readOnlyHint: true },
  },
  { name: "write_file", description: "Writes text to a file, replacing what was there.", inputSchema: SCHEMA },
  {
    name: "listFolder",
    description: "Lists a directory.",
    inputSchema: { type: "object" },
    annotations: { readOnlyHint: true },
  },
  { name: "fails", description: "Answers with a protocol error.", inputSchema: { type: "object" } },
  { name: "slow", description: "Never answers.", inputSchema: { type: "object" } },
  { name: "sorry", description: "Says that it failed.", title: { not: "text" }, inputSchema: { type: "object" } },
];

export async function startUpstream(): Promise<Upstream> {
  const calls: Upstream["calls"] = [];
  let gone = 0;
  const server = createServer((req, res) => {
    void read(req).then((rpc) => {
      if (req.method !== "POST") return res.writeHead(405).end();
      if (rpc?.id === undefined) return res.writeHead(202).end();
      if (rpc.method === "tools/call") calls.push({ name: rpc.params?.name ?? "", arguments: rpc.params?.arguments });
      if (rpc.method === "tools/call" && rpc.params?.name === "slow") return res.on("close", () => gone++);
      return answer(res, rpc.id, rpc);
    });
  });
  await new Promise<void>((ready) => server.listen(0, "127.0.0.1", ready));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    calls,
    gone: () => gone,
    close: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

function answer(res: ServerResponse, id: Rpc["id"], rpc: Rpc): unknown {
  const told = { jsonrpc: "2.0", id, ...reply(rpc) };
  return res.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(told));
}

function reply({ method, params }: Rpc): object {
  if (method === "initialize") {
    return {
      result: { protocolVersion: "2025-06-18", capabilities: { tools: {} }, serverInfo: { name: "raw", version: "1" } },
    };
  }
  if (method === "ping") return { result: {} };
  if (method === "tools/list") return { result: { tools: TOOLS } };
  if (method !== "tools/call") return { error: { code: -32601, message: "Method not found" } };
  if (params?.name === "fails") return { error: { code: -32000, message: "the host db.internal said no" } };
  const text = JSON.stringify(params?.arguments);
  return {
    result: { content: [{ type: "text", text }], isError: params?.name === "sorry", _meta: { "example.org/kept": 1 } },
  };
}

async function read(req: IncomingMessage): Promise<Rpc | null> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return chunks.length === 0 ? null : (JSON.parse(Buffer.concat(chunks).toString()) as Rpc);
}
