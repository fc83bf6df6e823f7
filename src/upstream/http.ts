/**
 * A connection to one http instance, in whichever era it speaks. What surprises: losing a legacy session is the one
 * failure after sending that is sent again here, because the server refused the session before it read the call.
 */
import type { Answer, InstanceSpec } from "../model.ts";
import { Refusal } from "../refusal.ts";
import type { Resolve } from "./address.ts";
import { endSession, notify, reply } from "./aside.ts";
import type { Connection, ConnectionOptions, Exchange } from "./connection.ts";
import { LIST_CHANGED, newExchange, patiently, stillWanted } from "./connection.ts";
import { openDial } from "./dial.ts";
import type { Dial, Sink } from "./dial.ts";
import { headersOf, paramsOf } from "./envelope.ts";
import { listenOverHttp } from "./listen.ts";
import { request } from "./reply.ts";
import type { Reply } from "./reply.ts";
import { meet } from "./session.ts";
import type { Meeting } from "./session.ts";
import { isEnvelopeError, isEstranged, isSessionLost, retryAfter, verdictOf } from "./status.ts";
import type { Message } from "./wire.ts";

type HttpSpec = Extract<InstanceSpec, { kind: "http" }>;
export type HttpOptions = ConnectionOptions & { readonly connectTimeoutMs: number; readonly resolve?: Resolve };

type Http = {
  readonly dial: Dial;
  readonly base: readonly string[];
  readonly options: HttpOptions;
  nextId: number;
  met: Meeting | null;
  meeting: Promise<Meeting> | null;
  /** Once known to be legacy, a lost session is replaced without asking for the era again. */
  legacy: boolean;
};

export function connectHttp(spec: HttpSpec, options: HttpOptions): Connection {
  const dial = openDial({
    url: spec.url,
    allowPrivate: spec.allowPrivate,
    // more than `concurrency` may be: what bounds a server's calls is its bulkhead, and a probe must not wait behind them
    connectionsMax: 1024 + 64,
    queueMax: 0,
    memoryBytesMax: 4 * options.resultBytesMax,
    connectTimeoutMs: options.connectTimeoutMs,
    ...(options.resolve === undefined ? {} : { resolve: options.resolve }),
  });
  const http: Http = { dial, base: baseHeaders(spec), options, nextId: 1, met: null, meeting: null, legacy: false };
  let hearing: { readonly stop: () => void } | null = null;
  return {
    open: async () => (await open(http)).greeting,
    send: (exchange) => send(http, exchange),
    listen: () => {
      hearing ??= listenOverHttp({
        open: () => open(http),
        stream: (meeting, sink) => stream(http, meeting, sink),
        ports: options.ports,
        onListChanged: options.onListChanged,
      });
    },
    alive: () => true,
    forget: () => forget(http),
    stderr: () => "",
    close: async () => {
      hearing?.stop();
      await endSession(http, http.met);
      await dial.close();
    },
    abandon: () => {},
  };
}

async function send(http: Http, exchange: Exchange): Promise<Answer> {
  const meeting = http.met ?? (await patiently(exchange, open(http)));
  const reply = await post(http, meeting, exchange);
  if (meeting.session === null || reply.kind === "answer" || !isSessionLost(reply.status, reply.code)) {
    return answerOf(http, reply, exchange);
  }
  exchange.executed = "no";
  exchange.sent = false;
  if (http.met === meeting) http.met = null;
  const again = await patiently(exchange, open(http));
  return answerOf(http, await post(http, again, exchange), exchange);
}

/** One handshake for all who wait. */
function open(http: Http): Promise<Meeting> {
  if (http.met !== null) return Promise.resolve(http.met);
  http.meeting ??= meet((meeting, exchange) => post(http, meeting, exchange), !http.legacy)
    .then(
      (met) => {
        http.met = met;
        http.legacy = met.greeting.era === "legacy";
        return met;
      },
      (thrown: unknown) => {
        http.legacy = false;
        throw thrown;
      },
    )
    .finally(() => {
      http.meeting = null;
    });
  return http.meeting;
}

async function post(http: Http, meeting: Meeting | null, exchange: Exchange): Promise<Reply> {
  // given up between two waits: there was nothing to stop then, and nothing may be sent now
  stillWanted(exchange);
  const modern = meeting?.greeting.era === "modern";
  const notification = exchange.method.startsWith("notifications/");
  const id = http.nextId++;
  const params = paramsOf(exchange, modern, id);
  const body = notification
    ? { jsonrpc: "2.0", method: exchange.method, params }
    : { jsonrpc: "2.0", id, method: exchange.method, params };
  return request({
    dial: http.dial,
    request: {
      method: "POST",
      headers: meeting === null ? [...http.base] : headersOf(http.base, exchange, meeting.greeting, meeting.session),
      body: JSON.stringify(body),
      bytesMax: exchange.bytesMax,
    },
    id,
    exchange,
    notification,
    onOther: (message) => hear(http, meeting, message),
    onStopped: () => {
      // closing the stream is the cancel of the modern era; the legacy one has to be told
      if (!modern && meeting !== null)
        notify(http, meeting, "notifications/cancelled", { requestId: id, reason: "The caller gave up." });
    },
  });
}

/** What comes besides answers. */
function hear(http: Http, meeting: Meeting | null, message: Message): void {
  if (message.kind === "request") reply(http, meeting, message);
  else if (message.kind === "notification" && message.method === LIST_CHANGED) http.options.onListChanged();
}

/** The standing stream for changes: GET in the legacy era, `subscriptions/listen` in the modern one. */
function stream(http: Http, meeting: Meeting, sink: Sink): () => void {
  const { greeting, session } = meeting;
  const exchange = newExchange("subscriptions/listen", { notifications: { toolsListChanged: true } }, Infinity);
  const headers = headersOf(http.base, exchange, greeting, session);
  if (greeting.era === "legacy")
    return http.dial.send({ method: "GET", headers, body: null, bytesMax: Infinity }, sink);
  const id = http.nextId++;
  const body = JSON.stringify({ jsonrpc: "2.0", id, method: exchange.method, params: paramsOf(exchange, true, id) });
  return http.dial.send({ method: "POST", headers, body, bytesMax: Infinity }, sink);
}

/** @throws Refusal upstream_* for a status instead of an answer */
function answerOf(http: Http, reply: Reply, exchange: Exchange): Answer {
  if (reply.kind === "answer") {
    const { answer } = reply;
    if (answer.kind === "result" || !isEnvelopeError(answer.error.code)) return answer;
    // our own envelope was refused: what we know of the server is out of date
    forget(http);
    exchange.executed = "no";
    throw new Refusal("upstream_error", "The server refuses the gateway's request headers.");
  }
  if (isEstranged(reply.status)) forget(http);
  const nowMs = http.options.ports.clock.nowMs();
  const { refusal, executed, excused } = verdictOf(reply.status, retryAfter(reply.headers["retry-after"], nowMs));
  exchange.executed = executed;
  exchange.excused = excused;
  throw refusal;
}

function forget(http: Http): void {
  http.met = null;
  http.legacy = false;
}

/** Headers that never change: those of the operator's file, without any that are ours to set. */
function baseHeaders(spec: HttpSpec): string[] {
  const headers = ["content-type", "application/json", "accept", "application/json, text/event-stream"];
  for (const name of Object.keys(spec.headers)) {
    if (!OWN_HEADERS.test(name)) headers.push(name, spec.headers[name] as string);
  }
  return headers;
}

const OWN_HEADERS =
  /^(content-(type|length|encoding)|accept(-encoding)?|transfer-encoding|connection|keep-alive|upgrade|expect|te|trailer|traceparent|tracestate|baggage|mcp-.*)$/i;
