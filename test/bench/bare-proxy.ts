/** The floor that every ratio of the bench is over: a reverse proxy on `node:http` and an undici pool, nothing else. */
import { createServer } from "node:http";
import { Pool } from "undici";

const [port = "0", origin = ""] = process.argv.slice(2);
const pool = new Pool(origin, { connections: 64, pipelining: 1 });
const PASSED = ["content-type", "accept", "mcp-protocol-version", "mcp-method", "mcp-name"] as const;

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const headers: Record<string, string> = {};
    for (const name of PASSED) {
      const value = request.headers[name];
      if (typeof value === "string") headers[name] = value;
    }
    relay(request.url ?? "/", headers, Buffer.concat(chunks)).then(
      ({ status, type, body }) =>
        response.writeHead(status, { "content-type": type, "content-length": body.byteLength }).end(body),
      () => response.writeHead(502).end(),
    );
  });
});
server.keepAliveTimeout = 120_000;
server.listen(Number(port), "127.0.0.1");

async function relay(path: string, headers: Record<string, string>, body: Buffer) {
  const answer = await pool.request({ method: "POST", path, headers, body });
  const type = answer.headers["content-type"];
  const bytes = Buffer.from(await answer.body.arrayBuffer());
  return { status: answer.statusCode, type: typeof type === "string" ? type : "application/json", body: bytes };
}
