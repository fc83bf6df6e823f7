/** The fixture over Streamable HTTP, as each era asks for it, and with faults on demand. Binds 127.0.0.1 only. */
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { MODERN, answer } from "./fixture-core.ts";
import type { Rpc, State } from "./fixture-core.ts";
import type { Outcome } from "./fixture-tools.ts";

export type HttpOptions = {
  /** `auto`: an event stream where progress was asked for, JSON otherwise. */
  readonly reply?: "json" | "sse" | "auto";
  /** Legacy sessions; default true. */
  readonly sessions?: boolean;
  /** Whether a standing stream is offered in the legacy era. */
  readonly getStream?: boolean;
  readonly port?: number;
};
export type HttpFixture = {
  readonly url: string;
  readonly sessions: ReadonlySet<string>;
  /** Requests that arrived, with a status to answer instead if a test wants one. */
  readonly requests: {
    readonly method: string;
    readonly rpc: string | null;
    readonly session: string | undefined;
    /** What it was sent as `x-own`. */
    readonly own: string | string[] | undefined;
  }[];
  /** Answers every request with this status until it is null again. */
  readonly answerWith: (status: number | null) => void;
  /** Takes every request and answers none. */
  readonly mute: (muted: boolean) => void;
  readonly forgetSessions: () => void;
  readonly listChanged: () => void;
  /** Standing streams that are open. */
  readonly streams: () => number;
  readonly cutStreams: () => void;
  readonly close: () => Promise<void>;
};
type Http = {
  readonly state: State;
  readonly options: HttpOptions;
  readonly sessions: Set<string>;
  readonly streams: Set<{ readonly response: ServerResponse; readonly subscription: string | number | null }>;
  readonly running: Map<string, AbortController>;
  readonly requests: HttpFixture["requests"];
  status: number | null;
  muted: boolean;
};

export async function serveHttp(state: State, options: HttpOptions): Promise<HttpFixture> {
  const http: Http = {
    state,
    options,
    sessions: new Set(),
    streams: new Set(),
    running: new Map(),
    requests: [],
    status: null,
    muted: false,
  };
  const server = createServer((request, response) => {
    response.on("error", () => {});
    receive(http, request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(options.port ?? 0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`,
    sessions: http.sessions,
    requests: http.requests,
    answerWith: (status) => void (http.status = status),
    mute: (muted) => void (http.muted = muted),
    forgetSessions: () => http.sessions.clear(),
    listChanged: () => announce(http),
    streams: () => http.streams.size,
    cutStreams: () => {
      for (const { response } of http.streams) response.destroy();
    },
    close: () => closeServer(server),
  };
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

/** Official clients leave `params` out where there are none. */
function readRpc(text: string): Rpc {
  const rpc = JSON.parse(text) as Rpc;
  return rpc.method === undefined ? rpc : { ...rpc, params: rpc.params ?? {} };
}

async function receive(http: Http, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const session = request.headers["mcp-session-id"] as string | undefined;
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const rpc = chunks.length === 0 ? null : readRpc(Buffer.concat(chunks).toString());
  const { "x-own": own } = request.headers;
  http.requests.push({ method: request.method ?? "", rpc: rpc?.method ?? null, session, own });
  if (http.muted) return;
  if (http.status !== null) return void response.writeHead(http.status).end();
  if (request.method === "GET") return openGet(http, session, response);
  if (request.method === "DELETE") {
    http.sessions.delete(session ?? "");
    return void response.writeHead(200).end();
  }
  if (rpc !== null && rpc.method === undefined) {
    http.state.replies.push(rpc);
    return void response.writeHead(202).end();
  }
  if (rpc === null || request.method !== "POST") return void response.writeHead(405).end();
  const modern =
    http.state.era !== "legacy" && (request.headers["mcp-protocol-version"] === MODERN || http.state.era === "modern");
  const refusal = modern ? refuseModern(request, rpc) : refuseLegacy(http, rpc, session);
  if (refusal !== null)
    return send(response, refusal.status, {
      jsonrpc: "2.0",
      id: modern ? (rpc.id ?? null) : null,
      error: refusal.error,
    });
  if (rpc.method === "subscriptions/listen" && modern) return openListen(http, rpc, response);
  if (rpc.id === undefined) return notified(http, rpc, session, response);
  await respond(http, { rpc, modern, session, request, response });
}

type Asked = {
  readonly rpc: Rpc;
  readonly modern: boolean;
  readonly session: string | undefined;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
};

async function respond(http: Http, { rpc, modern, session, request, response }: Asked): Promise<void> {
  const meta = rpc.params["_meta"] as { progressToken?: unknown } | undefined;
  const reply = http.options.reply ?? "auto";
  const streams = reply === "sse" || (reply === "auto" && meta?.progressToken !== undefined);
  const cancel = new AbortController();
  http.running.set(`${session}/${rpc.id}`, cancel);
  response.on("close", () => {
    // in the modern era a closed stream is the cancel; in the legacy one it means nothing
    if (modern && !response.writableFinished) cancel.abort();
  });
  const headers: { [name: string]: string } = { "content-type": streams ? "text/event-stream" : "application/json" };
  if (rpc.method === "initialize" && http.options.sessions !== false) {
    headers["mcp-session-id"] = randomUUID();
    http.sessions.add(headers["mcp-session-id"]);
  }
  if (streams) response.writeHead(200, headers).flushHeaders();
  const notify = (method: string, params: unknown): void => {
    if (streams) response.write(`data: ${JSON.stringify({ jsonrpc: "2.0", method, params })}\n\n`);
  };
  const ask = (id: string, method: string): void => {
    if (streams) response.write(`data: ${JSON.stringify({ jsonrpc: "2.0", id, method })}\n\n`);
  };
  const outcome = await answer(http.state, rpc, {
    modern,
    headers: request.headers,
    notify,
    ask,
    signal: cancel.signal,
  });
  if ("fault" in outcome) return void (outcome.fault === "die" && response.destroy());
  http.running.delete(`${session}/${rpc.id}`);
  const text = "bytes" in outcome ? outcome.bytes : JSON.stringify({ jsonrpc: "2.0", id: rpc.id, ...outcome });
  if (streams) return void response.end(`event: message\ndata: ${text}\n\n`);
  response.writeHead(statusOf(outcome, modern), headers).end(text);
}

function statusOf(outcome: Outcome, modern: boolean): number {
  if (!modern || !("error" in outcome)) return 200;
  return outcome.error.code === -32601 ? 404 : outcome.error.code === -32021 ? 400 : 200;
}

type Refused = {
  readonly status: number;
  readonly error: { readonly code: number; readonly message: string; readonly data?: unknown };
};

function refuseLegacy(http: Http, rpc: Rpc, session: string | undefined): Refused | null {
  if (rpc.method === "initialize" || http.options.sessions === false) return null;
  if (session === undefined)
    return { status: 400, error: { code: -32000, message: "Bad Request: Server not initialized" } };
  return http.sessions.has(session) ? null : { status: 404, error: { code: -32001, message: "Session not found" } };
}

function refuseModern(request: IncomingMessage, rpc: Rpc): Refused | null {
  const header = (name: string) => decode(request.headers[name] as string | undefined);
  const meta = rpc.params["_meta"] as { readonly [key: string]: unknown } | undefined;
  const version = meta?.["io.modelcontextprotocol/protocolVersion"];
  if (version === undefined || meta?.["io.modelcontextprotocol/clientCapabilities"] === undefined) {
    return { status: 400, error: { code: -32602, message: "Missing envelope" } };
  }
  if (version !== MODERN)
    return { status: 400, error: { code: -32022, message: "Unsupported", data: { supported: [MODERN] } } };
  const mismatch = { status: 400, error: { code: -32020, message: "Header mismatch" } };
  if (header("mcp-protocol-version") !== version || header("mcp-method") !== rpc.method) return mismatch;
  if (rpc.method !== "tools/call") return null;
  const args = (rpc.params["arguments"] ?? {}) as { region?: unknown; deep?: { count?: unknown } };
  if (header("mcp-name") !== rpc.params["name"]) return mismatch;
  if (rpc.params["name"] !== "with_headers") return null;
  return header("mcp-param-region") === textOf(args.region) && header("mcp-param-count") === textOf(args.deep?.count)
    ? null
    : mismatch;
}

function textOf(value: unknown): string | undefined {
  return value === undefined || value === null ? undefined : JSON.stringify(value).replaceAll('"', "");
}

function decode(value: string | undefined): string | undefined {
  const encoded = /^=\?base64\?(.*)\?=$/.exec(value ?? "")?.[1];
  return encoded === undefined ? value : Buffer.from(encoded, "base64").toString("utf8");
}

function notified(http: Http, rpc: Rpc, session: string | undefined, response: ServerResponse): void {
  if (rpc.method === "notifications/cancelled")
    http.running.get(`${session}/${String(rpc.params["requestId"])}`)?.abort();
  response.writeHead(202).end();
}

function openGet(http: Http, session: string | undefined, response: ServerResponse): void {
  if (http.state.era === "modern" || http.options.getStream === false) return void response.writeHead(405).end();
  if (http.options.sessions !== false && !http.sessions.has(session ?? "")) return void response.writeHead(404).end();
  stand(http, response, null);
}

function openListen(http: Http, rpc: Rpc, response: ServerResponse): void {
  stand(http, response, rpc.id ?? 0);
  const params = {
    notifications: { toolsListChanged: true },
    _meta: { "io.modelcontextprotocol/subscriptionId": rpc.id },
  };
  response.write(
    `data: ${JSON.stringify({ jsonrpc: "2.0", method: "notifications/subscriptions/acknowledged", params })}\n\n`,
  );
}

function stand(http: Http, response: ServerResponse, subscription: string | number | null): void {
  response.writeHead(200, { "content-type": "text/event-stream" }).flushHeaders();
  const stream = { response, subscription };
  http.streams.add(stream);
  response.on("close", () => http.streams.delete(stream));
}

function announce(http: Http): void {
  for (const { response, subscription } of http.streams) {
    const params = subscription === null ? {} : { _meta: { "io.modelcontextprotocol/subscriptionId": subscription } };
    response.write(
      `data: ${JSON.stringify({ jsonrpc: "2.0", method: "notifications/tools/list_changed", params })}\n\n`,
    );
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}
