/**
 * What node:http could not read: bytes that are no HTTP, headers too large, a request that took too long. It is a
 * refusal like any other: told in problem+json with its call id, and written down or counted. What surprises: the
 * parser says so again for every further chunk, and while the answer of an earlier request is still on its way.
 */
import type { ServerResponse } from "node:http";
import { STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { refuse } from "../call.ts";
import type { Gateway } from "../gateway.ts";
import { Refusal } from "../refusal.ts";
import { replyProblem } from "./render.ts";

const LAST: unique symbol = Symbol("last");
/** A connection knows the answer to its last request. A set of all would keep many alive: an old table dies late. */
type Connection = Socket & { [LAST]?: ServerResponse };

export function noteAnswer(res: ServerResponse): void {
  (res.req.socket as Connection)[LAST] = res;
}

/** For `clientError`. */
export function onBroken(gateway: Gateway, cause: NodeJS.ErrnoException, socket: Connection): void {
  const code = cause.code ?? "";
  // the connection itself failed: nobody asks and nobody listens
  if (!socket.writable || !PARSER.test(code)) return void socket.destroy();
  if (broken.has(socket)) return;
  broken.add(socket);
  const refusal = refusalOf(code);
  const last = socket[LAST];
  if (last === undefined || last.writableFinished) void reject(gateway, refusal, socket);
  else if (last.req.complete) last.once("close", () => void reject(gateway, refusal, socket));
  // its own body is broken: its door tells it. Where nobody reads the body it is refused already, and the answer is on its way
  else if (last.req.listenerCount("error") > 0) last.req.emit("error", refusal);
}

const broken = new WeakSet<Socket>();

/** For `connect`: a gateway is no proxy. */
export function onTunnel(gateway: Gateway, socket: Socket): void {
  void reject(gateway, new Refusal("invalid_request", "This gateway takes no CONNECT.", { status: 405 }), socket);
}

async function reject(gateway: Gateway, refusal: Refusal, socket: Socket): Promise<void> {
  // node has let go of a tunnel's socket: its reset would be a fault that nobody catches, and the end of the process
  socket.on("error", () => socket.destroy());
  const asked = {
    interface: "rest",
    protocol: "",
    path: "",
    // empty on the Unix socket, and where the connection was reset before anybody asked
    ip: (socket.remoteAddress ?? "").replace(/^::ffff:/, ""),
    credential: { kind: "unread" },
    traceparent: null,
    tracestate: null,
    signal: NEVER,
  } as const;
  const outcome = await refuse(gateway, asked, refusal);
  if (outcome.ok || !socket.writable) return void socket.destroy();
  replyProblem({ reply: (status, headers, body) => end(socket, { status, headers, body }) }, outcome);
}

type Written = {
  readonly status: number;
  readonly headers: { readonly [name: string]: string };
  readonly body: string;
};

function end(socket: Socket, { status, headers, body }: Written): void {
  const lines = Object.entries({
    ...headers,
    connection: "close",
    "content-length": String(Buffer.byteLength(body)),
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
  }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n${lines.join("")}\r\n${body}`);
  // whoever goes on sending is cut, not drained
  socket.once("finish", () => socket.destroySoon());
}

function refusalOf(code: string): Refusal {
  const [status, message] = KNOWN[code] ?? [400, "This is not HTTP as this gateway reads it."];
  return new Refusal("invalid_request", message, { status });
}

const PARSER = /^(?:HPE_|ERR_HTTP_)/;
const KNOWN: { readonly [code: string]: readonly [number, string] } = {
  HPE_HEADER_OVERFLOW: [431, "The headers are larger than this gateway takes."],
  HPE_CHUNK_EXTENSIONS_OVERFLOW: [413, "The chunk extensions are larger than this gateway takes."],
  ERR_HTTP_REQUEST_TIMEOUT: [408, "The request did not arrive in time."],
};
const NEVER = new AbortController().signal;
