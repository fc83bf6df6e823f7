/**
 * The only file that knows node:http. Reads, bounds, checks and parses every request for every door, in a fixed order:
 * headers that matter occur once → Host → Origin → path → method → Content-Type → size → strict JSON. A door gets an
 * Exchange; what fails before is rendered by the door's own `malformed`, recorded like any refusal.
 */
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Socket } from "node:net";
import type { Gateway } from "../gateway.ts";
import { JsonFault, parseJson } from "../json.ts";
import type { Json } from "../model.ts";
import { Refusal } from "../refusal.ts";
import type { Exchange, Route } from "./exchange.ts";
import { checkHeaders, credentialOf, readHeaders } from "./headers.ts";
import type { Gatekeeping } from "./headers.ts";
import { malformedProblem } from "./render.ts";
import { openStream } from "./sse.ts";

export type ListenerOptions = Gatekeeping & {
  /** `host:port`, or a path for a Unix socket (then the credential `local` stands in for none). */
  readonly address: { readonly host: string; readonly port: number } | { readonly socket: string };
  readonly routes: readonly Route[];
  readonly bodyBytesMax: number;
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca?: string };
};
export type Listener = {
  /** As bound: with the port that was chosen for 0. */
  readonly address: string;
  /** Stops accepting, lets running requests finish until the deadline, then cuts. */
  readonly close: (drainMs: number) => Promise<void>;
};

const TIMEOUTS = { headersTimeout: 10_000, requestTimeout: 30_000, connectionsCheckingInterval: 1_000, keepAliveTimeout: 65_000 };
const CONNECTIONS_MAX = 10_000;
/** Bodies being read at one time, over all requests: beyond it new ones are shed. */
const BODIES_BYTES_MAX = 256 * 1024 * 1024;

/** @throws Error with code EADDRINUSE and the like */
export async function listen(gateway: Gateway, options: ListenerOptions): Promise<Listener> {
  const state = { draining: false, bodiesBytes: 0 };
  const onRequest = (req: IncomingMessage, res: ServerResponse): void => {
    serve(gateway, options, state, { req, res }).catch((cause: unknown) => {
      gateway.ports.log.error({ err: cause }, "a door failed");
      if (!res.headersSent) res.writeHead(500, { "content-type": "application/problem+json" });
      res.end('{"type":"urn:portcullis:refusal:internal","status":500,"code":"internal"}');
    });
  };
  const { tls } = options;
  const server = tls === undefined ? createServer(TIMEOUTS, onRequest) : createTlsServer({ ...TIMEOUTS, ...tls, requestCert: tls.ca !== undefined, rejectUnauthorized: tls.ca !== undefined }, onRequest);
  server.maxConnections = CONNECTIONS_MAX;
  server.on("clientError", (_, socket) => rejectBytes(socket as Socket));
  const bound = await bind(server, options.address);
  return { address: bound, close: (drainMs) => close(server, drainMs, () => (state.draining = true)) };
}

type State = { draining: boolean; bodiesBytes: number };
type Wire = { readonly req: IncomingMessage; readonly res: ServerResponse };

async function serve(gateway: Gateway, options: ListenerOptions, state: State, wire: Wire): Promise<void> {
  const { req, res } = wire;
  const url = req.url ?? "/";
  const mark = url.indexOf("?");
  const path = mark === -1 ? url : url.slice(0, mark);
  const route = routeOf(options.routes, path);
  const { headers, duplicate } = readHeaders(req.rawHeaders);
  const local = "socket" in options.address;
  const exchange = makeExchange(wire, { path, query: mark === -1 ? "" : url.slice(mark + 1), headers, local, state });
  const malformed = route?.malformed ?? malformedProblem("rest");
  try {
    if (state.draining) throw new Refusal("overloaded", "The gateway is shutting down.", { retryAfterMs: 1000 });
    checkHeaders({ headers, duplicate, local }, options);
    if (route === undefined) throw new Refusal("invalid_request", "There is nothing at this path.", { status: 404 });
    if (!route.methods.includes(exchange.method)) throw new Refusal("invalid_request", "This path does not take this method.", { status: 405 });
    const body = await readBody(req, headers, options.bodyBytesMax, state);
    await route.door(gateway, { ...exchange, body, credential: credentialOf(headers, local) });
  } catch (thrown) {
    if (!(thrown instanceof Refusal)) throw thrown;
    // the rest of an oversized body is not worth reading: the connection ends with the answer
    if (!req.complete) res.setHeader("connection", "close");
    const credential = duplicate === null ? quietCredential(headers, local) : { kind: "none" as const };
    await malformed(gateway, { ...exchange, credential }, thrown);
  }
}

function quietCredential(headers: Exchange["headers"], local: boolean): Exchange["credential"] {
  try {
    return credentialOf(headers, local);
  } catch {
    return { kind: "none" };
  }
}

function routeOf(routes: readonly Route[], path: string): Route | undefined {
  let best: Route | undefined;
  for (const route of routes) {
    const { prefix } = route;
    const matches = prefix.endsWith("/") ? path.startsWith(prefix) : path === prefix;
    if (matches && prefix.length > (best?.prefix.length ?? 0)) best = route;
  }
  return best;
}

type Received = { readonly path: string; readonly query: string; readonly headers: Exchange["headers"]; readonly local: boolean; readonly state: State };

function makeExchange({ req, res }: Wire, received: Received): Exchange {
  const gone = new AbortController();
  let answered = false;
  res.on("close", () => {
    if (!res.writableFinished) gone.abort();
  });
  let query: URLSearchParams | undefined;
  return {
    method: req.method ?? "GET",
    path: received.path,
    get query() {
      return (query ??= new URLSearchParams(received.query));
    },
    headers: received.headers,
    body: undefined,
    ip: received.local ? "local" : (req.socket.remoteAddress ?? "").replace(/^::ffff:/, ""),
    credential: { kind: "none" },
    signal: gone.signal,
    reply: (status, headers, body) => {
      if (answered || res.destroyed) return;
      answered = true;
      const closing: { connection?: string } = received.state.draining ? { connection: "close" } : {};
      res.writeHead(status, { ...headers, ...closing, "content-length": Buffer.byteLength(body), "x-content-type-options": "nosniff", "cache-control": "no-store" });
      res.end(body);
    },
    stream: (headers) => {
      answered = true;
      return openStream(res, headers);
    },
  };
}

/** @throws Refusal payload_too_large, invalid_request, overloaded */
async function readBody(req: IncomingMessage, headers: Exchange["headers"], bytesMax: number, state: State): Promise<Json | undefined> {
  if (headers["content-length"] === undefined && headers["transfer-encoding"] === undefined) return undefined;
  if (headers["content-length"] === "0") return undefined;
  if (!/^application\/json\s*(;|$)/i.test(headers["content-type"] ?? "")) {
    throw new Refusal("invalid_request", "The body must be application/json.", { status: 415 });
  }
  if (Number(headers["content-length"] ?? 0) > bytesMax) throw tooLarge();
  if (state.bodiesBytes > BODIES_BYTES_MAX) throw new Refusal("overloaded", "Too many bodies are being read.", { retryAfterMs: 1000 });
  const bytes = await collect(req, bytesMax, state);
  if (bytes.length === 0) return undefined;
  try {
    return parseJson(bytes);
  } catch (fault) {
    if (!(fault instanceof JsonFault)) throw fault;
    throw new Refusal("invalid_request", fault.message, { rpc: { code: -32700 } });
  }
}

function collect(req: IncomingMessage, bytesMax: number, state: State): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const done = (): void => {
      state.bodiesBytes -= size;
    };
    req.on("data", (chunk: Buffer) => {
      size += chunk.length;
      state.bodiesBytes += chunk.length;
      chunks.push(chunk);
      if (size <= bytesMax) return;
      req.removeAllListeners("data").pause();
      done();
      reject(tooLarge());
    });
    req.once("end", () => {
      done();
      resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks));
    });
    req.once("error", () => {
      done();
      reject(new Refusal("cancelled", "The caller went away."));
    });
  });
}

function tooLarge(): Refusal {
  return new Refusal("payload_too_large", "The body is larger than this gateway takes.");
}

function rejectBytes(socket: Socket): void {
  if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
  else socket.destroy();
}

function bind(server: Server, address: ListenerOptions["address"]): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    const ready = (): void => {
      server.off("error", reject);
      const bound = server.address();
      if (typeof bound === "string" || bound === null) resolve(bound ?? "");
      else resolve(`${bound.family === "IPv6" ? `[${bound.address}]` : bound.address}:${bound.port}`);
    };
    if ("socket" in address) server.listen(address.socket, ready);
    else server.listen(address.port, address.host, ready);
  });
}

async function close(server: Server, drainMs: number, startDraining: () => void): Promise<void> {
  startDraining();
  await new Promise<void>((resolve) => {
    const cut = setTimeout(() => server.closeAllConnections(), drainMs);
    server.close(() => {
      clearTimeout(cut);
      resolve();
    });
    server.closeIdleConnections();
  });
}
