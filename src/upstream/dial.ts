/**
 * How are bytes carried to an http instance? The only file that knows undici: one pool per instance with its own
 * bounds. What surprises: undici's time-outs are off, because every exchange has one deadline of ours that also
 * destroys the socket; and `sent` is called just before the first byte, so that "nothing was sent" is certain.
 */
import { Pool } from "undici";
import type { Dispatcher } from "undici";
import { REFUSED_ADDRESS, checkedLookup, isRefusedLiteral } from "./address.ts";
import type { Resolve } from "./address.ts";
import { TOO_LARGE, tooLarge } from "./connection.ts";
import { Refusal } from "../refusal.ts";

export type DialOptions = {
  readonly url: string;
  readonly allowPrivate: boolean;
  readonly connectionsMax: number;
  /** Requests that may wait for a connection; more are refused at once. */
  readonly queueMax: number;
  /** Bytes of all answers that are being received at one moment. */
  readonly memoryBytesMax: number;
  readonly connectTimeoutMs: number;
  readonly resolve?: Resolve;
};
export type ReplyHeaders = { readonly [name: string]: string | string[] | undefined };
export type DialRequest = {
  readonly method: "POST" | "GET" | "DELETE";
  /** Flat: name, value, name, value. */
  readonly headers: string[];
  readonly body: string | null;
  /** Bytes of the whole answer; `Infinity` for a stream whose reader has bounds of its own. */
  readonly bytesMax: number;
};
/** Told in this order; exactly one of `end` and `fail` comes last, unless the request was stopped. */
export type Sink = {
  readonly sent: () => void;
  readonly head: (status: number, headers: ReplyHeaders) => void;
  readonly data: (chunk: Buffer) => void;
  readonly end: () => void;
  readonly fail: (refusal: Refusal) => void;
};
export type Dial = {
  /** Returns how to stop: the socket is destroyed and the sink hears nothing more. */
  readonly send: (request: DialRequest, sink: Sink) => () => void;
  /** How to cut what has its answer and only waits for its stream to end: where there is no room, the first gives way. */
  readonly lingering: Set<() => void>;
  readonly close: () => Promise<void>;
};

/** What all requests of one instance hold together. */
type Use = { inFlight: number; bytes: number; readonly bytesMax: number };

export function openDial(options: DialOptions): Dial {
  const url = new URL(options.url);
  const pool = new Pool(url.origin, {
    connections: options.connectionsMax,
    pipelining: 1,
    // well under the five seconds of common servers: a POST on a connection that they are closing is lost
    keepAliveTimeout: 4000,
    keepAliveMaxTimeout: 4000,
    headersTimeout: 0,
    bodyTimeout: 0,
    // one request per connection: over HTTP/2 one stalled stream would be everybody's
    allowH2: false,
    connect: {
      timeout: options.connectTimeoutMs,
      lookup: checkedLookup(options.allowPrivate, options.resolve),
    },
  });
  const path = url.pathname + url.search;
  const refused = isRefusedLiteral(url.hostname, options.allowPrivate);
  const use: Use = { inFlight: 0, bytes: 0, bytesMax: options.memoryBytesMax };
  const lingering: Dial["lingering"] = new Set();
  const isFull = (): boolean => use.inFlight >= options.connectionsMax + options.queueMax;
  return {
    lingering,
    send: (request, sink) => {
      if (refused) return refuse(sink, "The server's address is not allowed.");
      const [first] = isFull() ? lingering : [];
      first?.();
      if (isFull()) return refuse(sink, "Too many calls wait for this server.");
      use.inFlight++;
      const carried = new Carried(request, sink, use);
      pool.dispatch({ path, method: request.method, headers: request.headers, body: request.body }, carried);
      return () => carried.stop();
    },
    close: () => pool.destroy(),
  };
}

function refuse(sink: Sink, message: string): () => void {
  queueMicrotask(() => sink.fail(new Refusal("upstream_unavailable", message)));
  return () => {};
}

/**
 * One request's way through undici. Everything that can end it goes through `finish`, which runs once. A class, because
 * a record of closures would be made anew for each call.
 */
class Carried implements Dispatcher.DispatchHandler {
  private controller: Dispatcher.DispatchController | null = null;
  private finished = false;
  private bytes = 0;
  private readonly request: DialRequest;
  private readonly sink: Sink;
  private readonly use: Use;

  constructor(request: DialRequest, sink: Sink, use: Use) {
    this.request = request;
    this.sink = sink;
    this.use = use;
  }

  stop(): void {
    if (this.finish()) this.controller?.abort(new Error("stopped"));
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    // stopped while it waited, or undici would send it again on a new socket: not one byte
    if (this.finished || this.controller !== null) return controller.abort(new Error("stopped"));
    this.controller = controller;
    this.sink.sent();
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: ReplyHeaders): void {
    if (!this.finished) this.sink.head(status, headers);
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.finished) return;
    const { request, use } = this;
    if (request.bytesMax !== Infinity) {
      this.bytes += chunk.length;
      use.bytes += chunk.length;
    }
    if (this.bytes > request.bytesMax) this.cut(tooLarge());
    else if (this.bytes > 0 && use.bytes > use.bytesMax)
      this.cut(new Refusal("upstream_error", "The server's answers together are too large.", { cause: TOO_LARGE }));
    else this.sink.data(chunk);
  }

  onResponseEnd(): void {
    if (this.finish()) this.sink.end();
  }

  onResponseError(_: Dispatcher.DispatchController, error: Error): void {
    if (this.finish()) this.sink.fail(this.controller === null ? unreachable(error) : brokenOff());
  }

  private finish(): boolean {
    if (this.finished) return false;
    this.finished = true;
    this.use.inFlight--;
    this.use.bytes -= this.bytes;
    return true;
  }

  private cut(refusal: Refusal): void {
    if (!this.finish()) return;
    this.controller?.abort(new Error("cut"));
    this.sink.fail(refusal);
  }
}

function brokenOff(): Refusal {
  return new Refusal("upstream_error", "The server closed the connection before it answered.");
}

function unreachable(error: Error): Refusal {
  const refused = (error as { code?: unknown }).code === REFUSED_ADDRESS;
  const message = refused ? "The server's address is not allowed." : "The server cannot be reached.";
  return new Refusal("upstream_unavailable", message, { cause: error });
}
