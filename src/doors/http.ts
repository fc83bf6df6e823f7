/**
 * The only file that knows node:http. Reads, bounds, checks and parses every request for every door, in a fixed order:
 * headers that matter occur once → Host → Origin → path → method → Content-Type → size → strict JSON. A door gets an
 * Exchange; what fails before is rendered by the door's own `malformed`, recorded like any refusal.
 */
import { chmod, unlink } from "node:fs/promises";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { connect, Server as NetServer } from "node:net";
import type { Socket } from "node:net";
import type { Gateway } from "../gateway.ts";
import { Refusal } from "../refusal.ts";
import type { Answered } from "../request-meter.ts";
import { readBody } from "./body.ts";
import type { BodyBudget } from "./body.ts";
import type { Exchange, Route, SseStream } from "./exchange.ts";
import { checkHeaders, credentialOf, readHeaders } from "./headers.ts";
import type { Gatekeeping } from "./headers.ts";
import { malformedProblem } from "./render.ts";
import { noteAnswer, onBroken, onTunnel } from "./broken.ts";
import { openStream } from "./sse.ts";

export type ListenerOptions = Gatekeeping & {
  readonly name: Answered["listener"];
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

const OPTIONS = {
  // the Host is checked here, with the rest
  requireHostHeader: false,
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  connectionsCheckingInterval: 1_000,
  keepAliveTimeout: 65_000,
};
const CONNECTIONS_MAX = 10_000;

/** @throws Error with code EADDRINUSE and the like */
export async function listen(gateway: Gateway, options: ListenerOptions): Promise<Listener> {
  const state: State = { draining: false, bodiesBytes: 0, standing: new Set(), sockets: new Set() };
  const place: Place = { gateway, options, state, local: "socket" in options.address };
  const onRequest = (req: IncomingMessage, res: ServerResponse): void => {
    serve(place, { req, res }).catch((cause: unknown) => {
      gateway.ports.log.error({ err: cause }, "a door failed");
      if (!res.headersSent) res.writeHead(500, { "content-type": "application/problem+json" });
      res.end('{"type":"urn:portcullis:refusal:internal","status":500,"code":"internal"}');
    });
  };
  const { tls } = options;
  const server =
    tls === undefined
      ? createServer(OPTIONS, onRequest)
      : createTlsServer(
          { ...OPTIONS, ...tls, requestCert: tls.ca !== undefined, rejectUnauthorized: tls.ca !== undefined },
          onRequest,
        );
  server.maxConnections = CONNECTIONS_MAX;
  server.on("connection", (socket: Socket) => {
    state.sockets.add(socket);
    socket.once("close", () => state.sockets.delete(socket));
  });
  server.on("clientError", (cause, socket) => onBroken(gateway, cause, socket as Socket));
  // node would answer these itself, and nobody would know
  server.on("checkExpectation", onRequest);
  server.on("connect", (_, socket) => onTunnel(gateway, socket as Socket));
  const address = await bind(server, options.address);
  return { address, close: (drainMs) => close(server, state, drainMs) };
}

type State = BodyBudget & {
  draining: boolean;
  readonly standing: Set<SseStream>;
  readonly sockets: Set<Socket>;
};
type Wire = { readonly req: IncomingMessage; readonly res: ServerResponse };
/** Where requests arrive. `local`: on the Unix socket. */
type Place = {
  readonly gateway: Gateway;
  readonly options: ListenerOptions;
  readonly state: State;
  readonly local: boolean;
};

async function serve(place: Place, wire: Wire): Promise<void> {
  const { gateway, options, state, local } = place;
  const { req, res } = wire;
  const url = req.url ?? "/";
  const mark = url.indexOf("?");
  const path = mark === -1 ? url : url.slice(0, mark);
  const route = routeOf(options.routes, path);
  const { headers, duplicate } = readHeaders(req.rawHeaders);
  const exchange = new Wired(wire, place, { path, query: mark === -1 ? "" : url.slice(mark + 1), headers, route });
  try {
    if (state.draining) throw shuttingDown();
    checkHeaders({ headers, duplicate, local }, options);
    exchange.credential = credentialOf(headers, local);
    if (route === undefined) throw new Refusal("invalid_request", "There is nothing at this path.", { status: 404 });
    if (!route.methods.includes(exchange.method)) {
      throw new Refusal("invalid_request", "This path does not take this method.", { status: 405 });
    }
    exchange.body = await readBody(req, headers, options.bodyBytesMax, state);
    // the body may have taken its time
    if (state.draining) throw shuttingDown();
    await route.door(gateway, exchange);
  } catch (thrown) {
    if (!(thrown instanceof Refusal)) throw thrown;
    // the rest of an oversized body is not worth reading: the connection ends with the answer
    if (!req.complete) res.setHeader("connection", "close");
    await (route?.malformed ?? malformedProblem("rest"))(gateway, exchange, thrown);
  }
}

function shuttingDown(): Refusal {
  return new Refusal("overloaded", "The gateway is shutting down.", { retryAfterMs: 1000 });
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

const NO_QUERY = new URLSearchParams();

type Received = Pick<Exchange, "path" | "headers"> & { readonly query: string; readonly route: Route | undefined };

/**
 * One request and its answer. A class, as in dial.ts: closures, and an object literal with a getter, cost each call; so
 * does each listener, and there is one.
 */
class Wired implements Exchange {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Exchange["headers"];
  readonly ip: string;
  readonly signal: AbortSignal;
  body: Exchange["body"] = undefined;
  credential: Exchange["credential"] = { kind: "unread" };
  private readonly res: ServerResponse;
  private readonly place: Place;
  private readonly route: Route | undefined;
  private readonly beganMs: number;
  private readonly gone = new AbortController();
  private answered = false;
  private standing: SseStream | null = null;

  constructor({ req, res }: Wire, place: Place, { path, query, headers, route }: Received) {
    this.method = req.method ?? "GET";
    this.path = path;
    this.query = query === "" ? NO_QUERY : new URLSearchParams(query);
    this.headers = headers;
    this.ip = place.local ? "local" : (req.socket.remoteAddress ?? "").replace(/^::ffff:/, "");
    this.signal = this.gone.signal;
    this.res = res;
    this.place = place;
    this.route = route;
    this.beganMs = place.gateway.ports.clock.monotonicMs();
    noteAnswer(res);
    res.once("close", () => this.closed());
  }

  reply(status: number, headers: { readonly [name: string]: string }, body: string): void {
    const { res } = this;
    if (this.answered || res.destroyed) return;
    this.answered = true;
    const closing: { connection?: string } = this.place.state.draining ? { connection: "close" } : {};
    res.writeHead(status, {
      ...headers,
      ...closing,
      "content-length": Buffer.byteLength(body),
      "x-content-type-options": "nosniff",
      "cache-control": "no-store",
    });
    res.end(body);
  }

  stream(headers: { readonly [name: string]: string }, kind?: "standing"): SseStream {
    this.answered = true;
    const stream = openStream(this.res, headers);
    if (kind !== "standing") return stream;
    this.place.state.standing.add(stream);
    this.standing = stream;
    return stream;
  }

  /** The answer is out, or its caller gone. */
  private closed(): void {
    const { res, standing } = this;
    const { gateway, state, options } = this.place;
    if (standing !== null) state.standing.delete(standing);
    // also where it was we who ended a stream: whoever feeds it would otherwise wait on
    if (!res.writableFinished || standing !== null) this.gone.abort();
    const prefix = this.route?.prefix ?? null;
    const request = {
      listener: options.name,
      scheme: options.tls === undefined ? "http" : "https",
      method: res.req.method ?? "",
      route: prefix?.endsWith("/") === true ? `${prefix}*` : prefix,
      status: res.headersSent ? res.statusCode : null,
    } as const;
    gateway.requests.ended(request, gateway.ports.clock.monotonicMs() - this.beganMs);
  }
}

async function bind(server: Server, address: ListenerOptions["address"]): Promise<string> {
  if (!("socket" in address)) return bound(server, () => server.listen(address.port, address.host));
  const { socket } = address;
  if (!(await isServed(socket))) await unlink(socket).catch(() => undefined);
  const path = await bound(server, () => server.listen(socket));
  await chmod(socket, 0o600);
  return path;
}

/** A socket file that nobody answers is what a killed process left behind. */
function isServed(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socket, () => {
      probe.destroy();
      resolve(true);
    });
    probe.once("error", () => resolve(false));
  });
}

function bound(server: Server, start: () => void): Promise<string> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => {
      server.off("error", reject);
      const at = server.address();
      if (typeof at === "string" || at === null) resolve(at ?? "");
      else resolve(`${at.family === "IPv6" ? `[${at.address}]` : at.address}:${at.port}`);
    });
    start();
  });
}

/**
 * On a connection that is idle here a request may be under way: cut now, its caller could not know whether it was
 * executed. For a tenth of the drain such a request is still read, and shed; that is how long a proxy has to see that
 * this gateway is not ready.
 */
async function close(server: Server, state: State, drainMs: number): Promise<void> {
  state.draining = true;
  for (const stream of state.standing) stream.close();
  await new Promise<void>((resolve) => {
    const idle = setTimeout(() => {
      server.close();
      // one that has never asked anything is not idle to node
      for (const socket of state.sockets) if (socket.bytesRead === 0) socket.destroy();
    }, drainMs / LINGER_SHARE);
    const cut = setTimeout(() => server.closeAllConnections(), drainMs);
    // node:http's own close would end idle connections at once
    NetServer.prototype.close.call(server, () => {
      clearTimeout(idle);
      clearTimeout(cut);
      server.close();
      resolve();
    });
  });
}

const LINGER_SHARE = 10;
