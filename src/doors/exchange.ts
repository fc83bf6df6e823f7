/** What does a door receive? One request, already bounded, checked and parsed, and the two ways to answer it. */
import type { Gateway } from "../gateway.ts";
import type { Asked, Credential, Interface, Json } from "../model.ts";
import type { Refusal } from "../refusal.ts";

export type Headers = { readonly [lowerCaseName: string]: string | undefined };
export type Exchange = {
  readonly method: string;
  /** Without query. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Headers;
  /** Parsed strictly; undefined if there was none. */
  readonly body: Json | undefined;
  readonly ip: string;
  readonly credential: Credential;
  /** Aborted when the caller's connection closes before the answer is out, and when a standing stream ends. */
  readonly signal: AbortSignal;
  /** Answers once; a second answer is ignored. */
  readonly reply: (status: number, headers: { readonly [name: string]: string }, body: string) => void;
  /** Answers 200 with server-sent events. A `standing` one waits for what may never come: it ends when the gateway drains. */
  readonly stream: (headers: { readonly [name: string]: string }, kind?: "standing") => SseStream;
};
export type SseStream = {
  /** Drops the caller who reads too slowly instead of buffering without bound. */
  readonly send: (data: string, event?: string) => void;
  /** Text that is framed already; resolves when more may follow. */
  readonly write: (text: string) => Promise<void>;
  readonly close: () => void;
  readonly closed: () => boolean;
};

export type Door = (gateway: Gateway, exchange: Exchange) => Promise<void>;
export type Route = {
  /** Exact path, or with a trailing `/` every path below. The longest match wins. */
  readonly prefix: string;
  readonly methods: readonly string[];
  readonly door: Door;
  /** Renders what could not even be read, in the door's own form; recorded by the verb `refuse`. */
  readonly malformed: (gateway: Gateway, exchange: Exchange, refusal: Refusal) => Promise<void>;
};

type Asking = Pick<Exchange, "headers" | "path" | "ip" | "credential" | "signal">;
type Spoken = {
  readonly interface: Interface;
  readonly protocol?: string;
  readonly meta?: { readonly [key: string]: Json } | null;
};

/** Trace context from MCP `_meta` comes before the header; what the header then says is a link, as the convention has it. */
export function askedOf(exchange: Asking, spoken: Spoken): Asked {
  const meta = spoken.meta ?? {};
  const fromMeta = meta["traceparent"];
  const state = fromMeta === undefined ? exchange.headers["tracestate"] : meta["tracestate"];
  const header = exchange.headers["traceparent"] ?? null;
  return {
    interface: spoken.interface,
    protocol: spoken.protocol ?? "",
    path: exchange.path,
    ip: exchange.ip,
    credential: exchange.credential,
    traceparent: typeof fromMeta === "string" ? fromMeta : header,
    tracestate: typeof state === "string" ? state : null,
    linked: typeof fromMeta === "string" ? header : null,
    signal: exchange.signal,
  };
}
