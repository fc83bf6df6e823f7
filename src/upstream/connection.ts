/**
 * What every way to an instance has in common: one exchange (a request and what becomes of it), one connection that
 * carries exchanges, and the one timer that bounds them. What surprises: an exchange is mutable, because "was it
 * sent?" must be readable at any moment, also by whoever gives up on it.
 */
import type { Answer, Era, Executed, InstanceSpec, JsonObject, Tool } from "../model.ts";
import type { Ports } from "../ports.ts";
import { Refusal } from "../refusal.ts";

export const MODERN = "2026-07-28";
export const LEGACY: readonly string[] = ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];
export const LIST_CHANGED = "notifications/tools/list_changed";

/** Handshakes, list pages, pings: everything that is not a caller's call. Milliseconds. */
export const HANDSHAKE_MS = 10_000;

/** What is behind a refusal for an answer that is more than its bound: the bound may be a caller's own. */
export const TOO_LARGE = new Error("more than its bound");

export function tooLarge(): Refusal {
  return new Refusal("upstream_error", "The server's answer is too large.", { cause: TOO_LARGE });
}

/** What an instance said about itself when it was first met. */
export type Greeting = {
  readonly era: Era;
  readonly protocol: string;
  readonly serverInfo: JsonObject;
  readonly capabilities: JsonObject;
  readonly instructions: string | null;
};

export type Exchange = {
  readonly method: string;
  /** Without `_meta`, which the connection writes. */
  readonly params: JsonObject;
  /** The caller's `_meta`. */
  readonly meta: JsonObject | null;
  /** Only on `tools/call`: header parameters come from its definition. */
  readonly tool: Tool | null;
  /** Of a call, each attempt's own. */
  traceparent: string | null;
  readonly tracestate: string | null;
  /** Whose call it is; null of what is none. */
  readonly tenant: string | null;
  onProgress: ((params: JsonObject) => void) | null;
  readonly bytesMax: number;
  /** Since it was sent, or since a word of progress; null: as long as it may take in all. */
  readonly idleTimeoutMs: number | null;
  /** The same over all attempts; null where it is not sent twice. */
  readonly idempotencyKey: string | null;
  /** What is left of its time, for the server to know; null where nobody waits. */
  timeLeftMs: number | null;
  /** `no` until bytes are handed to the socket or the child, `yes` once a valid answer is here. */
  executed: Executed;
  /** Bytes of it were handed over, whatever the server then said of it. */
  sent: boolean;
  /** Bytes of the answer. */
  bytes: number;
  /** Why whoever waited no longer does: a connection looks here after each wait. */
  gaveUp: Refusal | null;
  /** The server refused for a reason that is none of the instance's: what it was asked with, or for. */
  excused: boolean;
  /** It is about to be sent, or there was a word of progress; set while somebody wants to know. */
  heard: (() => void) | null;
  /** Cancels what is under way; set by the connection while there is something to cancel. */
  stop: (() => void) | null;
};

export type Connection = {
  /** Meets the instance if that has not happened yet; callers share one handshake. @throws Refusal upstream_* */
  readonly open: () => Promise<Greeting>;
  /** @throws Refusal upstream_*; `exchange.executed` tells how far it came */
  readonly send: (exchange: Exchange) => Promise<Answer>;
  /** Starts to hear `list_changed`, once; a server that does not offer it is left alone. */
  readonly listen: () => void;
  /** False when it cannot be used again: a child that died. */
  readonly alive: () => boolean;
  /** Forgets era and session, so that the next `open` asks again. */
  readonly forget: () => void;
  /** The last of the child's stderr; empty for http. For operators, never for callers. */
  readonly stderr: () => string;
  readonly close: () => Promise<void>;
  /** Kills at once, without waiting: for a process that is going down. */
  readonly abandon: () => void;
};

export type ConnectionOptions = {
  /** Bytes of one answer. */
  readonly resultBytesMax: number;
  readonly searchPath: string;
  readonly cwd: string | null;
  readonly ports: Ports;
  readonly onListChanged: () => void;
  /** Called once when a child ends by itself. */
  readonly onDied: () => void;
};
export type Connect = (spec: InstanceSpec, options: ConnectionOptions) => Connection;

export function newExchange(method: string, params: JsonObject, bytesMax: number): Exchange {
  return {
    method,
    params,
    meta: null,
    tool: null,
    traceparent: null,
    tracestate: null,
    tenant: null,
    onProgress: null,
    bytesMax,
    idleTimeoutMs: null,
    idempotencyKey: null,
    timeLeftMs: null,
    executed: "no",
    sent: false,
    bytes: 0,
    gaveUp: null,
    excused: false,
    heard: null,
    stop: null,
  };
}

/**
 * Runs `attempt` under its timers and one listener, all always taken back. (`AbortSignal.any` with `timeout` keeps
 * every signal until its timer fires: a gigabyte after some 600,000 calls.)
 * @throws Refusal upstream_timeout after `timeoutMs`, cancelled when the signal fires, or what the attempt throws
 */
export function within<Value>(
  exchange: Exchange,
  timeoutMs: number,
  signal: AbortSignal | null,
  attempt: () => Promise<Value>,
): Promise<Value> {
  return new Promise((resolve, reject) => {
    const waiting = new Waiting(exchange, signal, reject);
    if (signal?.aborted === true) return waiting.handleEvent();
    waiting.start(timeoutMs);
    attempt().then(
      (value) => {
        waiting.leave();
        resolve(value);
      },
      (thrown: unknown) => {
        waiting.leave();
        // leave() has run already if someone gave up: the promise is settled and this changes nothing
        reject(thrown);
      },
    );
  });
}

/** Timers and the listener of one exchange: an object that is itself the listener, since closures cost each call. */
class Waiting {
  private readonly exchange: Exchange;
  private readonly signal: AbortSignal | null;
  private readonly reject: (refusal: Refusal) => void;
  private timer: NodeJS.Timeout | undefined = undefined;
  private idle: NodeJS.Timeout | undefined = undefined;

  constructor(exchange: Exchange, signal: AbortSignal | null, reject: (refusal: Refusal) => void) {
    this.exchange = exchange;
    this.signal = signal;
    this.reject = reject;
  }

  start(timeoutMs: number): void {
    const { exchange } = this;
    const { idleTimeoutMs } = exchange;
    this.timer = setTimeout(expire, timeoutMs, this);
    // from the first word on, which is ours: who waits for a turn has asked nobody yet
    if (idleTimeoutMs !== null) exchange.heard = () => this.heard(idleTimeoutMs);
    this.signal?.addEventListener("abort", this, ONCE);
  }

  leave(): void {
    clearTimeout(this.timer);
    clearTimeout(this.idle);
    this.exchange.heard = null;
    this.signal?.removeEventListener("abort", this);
  }

  giveUp(refusal: Refusal): void {
    this.exchange.gaveUp = refusal;
    this.leave();
    this.reject(refusal);
    this.exchange.stop?.();
  }

  handleEvent(): void {
    this.giveUp(new Refusal("cancelled", "The call was cancelled."));
  }

  private heard(idleTimeoutMs: number): void {
    if (this.idle === undefined) this.idle = setTimeout(expire, idleTimeoutMs, this);
    else this.idle.refresh();
  }
}

const ONCE = { once: true };

function expire(waiting: Waiting): void {
  waiting.giveUp(new Refusal("upstream_timeout", "The server did not answer in time."));
}

/** Before anything is sent. @throws why whoever waited no longer does */
export function stillWanted(exchange: Exchange): void {
  if (exchange.gaveUp !== null) throw exchange.gaveUp;
}

/** Waits for what others wait for too, a handshake, but no longer than this exchange does. @throws `exchange.gaveUp` */
export async function patiently<Value>(exchange: Exchange, shared: Promise<Value>): Promise<Value> {
  const impatience = new Promise<never>((_, reject) => {
    exchange.stop = () => reject(exchange.gaveUp ?? new Refusal("cancelled", "The call was cancelled."));
  });
  try {
    return await Promise.race([shared, impatience]);
  } finally {
    exchange.stop = null;
  }
}

/** Asks an open connection something of our own. @throws Refusal upstream_*, cancelled */
export function ask(connection: Connection, exchange: Exchange, signal: AbortSignal | null): Promise<Answer> {
  return within(exchange, HANDSHAKE_MS, signal, () => connection.send(exchange));
}

/** A server that does not answer even this in so long is silent. */
const PING_MS = 1000;

/**
 * True if the instance answers at all, be it with an error. One that answers otherwise is met anew next time, for it may
 * be another by now; of one that is silent nothing new is known, and to meet it would take longer than to ask.
 */
export async function ping(connection: Connection, greeting: Greeting): Promise<boolean> {
  const exchange = newExchange(greeting.era === "modern" ? "server/discover" : "ping", {}, 1 << 20);
  try {
    await within(exchange, PING_MS, null, () => connection.send(exchange));
    return true;
  } catch {
    if (exchange.gaveUp === null) connection.forget();
    return false;
  }
}
