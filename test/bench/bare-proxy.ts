/**
 * The floor that every ratio of the bench is over: a reverse proxy on `node:http` and an undici pool, bodies buffered,
 * headers passed both ways but for those of one hop. It checks nothing, knows nothing and writes nothing down.
 */
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Pool } from "undici";

const [port = "0", origin = ""] = process.argv.slice(2);
const pool = new Pool(origin, { connections: 64, pipelining: 1 });
const HOP = new Set(["connection", "content-length", "host", "keep-alive", "te", "transfer-encoding", "upgrade"]);

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    relay(request, response, Buffer.concat(chunks)).catch(() => response.writeHead(502).end());
  });
});
server.keepAliveTimeout = 120_000;
server.listen(Number(port), "127.0.0.1");

async function relay(request: IncomingMessage, response: ServerResponse, body: Buffer): Promise<void> {
  const { method = "POST", url = "/" } = request;
  const answer = await pool.request({ method, path: url, headers: passed(request.headers), body });
  const bytes = Buffer.from(await answer.body.arrayBuffer());
  response.writeHead(answer.statusCode, { ...passed(answer.headers), "content-length": bytes.byteLength }).end(bytes);
}

function passed(headers: IncomingMessage["headers"]): Record<string, string | string[]> {
  const kept: Record<string, string | string[]> = {};
  for (const name in headers) {
    const value = headers[name];
    if (value !== undefined && !HOP.has(name)) kept[name] = value;
  }
  return kept;
}
