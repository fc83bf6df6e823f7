/**
 * What came back for one HTTP request: an answer to exactly its id, as JSON or within an event stream, or a refusal by
 * status. What surprises: the stream goes on being read for a moment after the answer, since a connection that ends
 * by itself can be used again, and one that is cut cannot.
 */
import type { Answer } from "../model.ts";
import { Refusal } from "../refusal.ts";
import type { Exchange } from "./connection.ts";
import type { Dial, DialRequest, ReplyHeaders, Sink } from "./dial.ts";
import { readSse } from "./sse.ts";
import { isOk, isSuccess } from "./status.ts";
import { readMessage } from "./wire.ts";
import type { Message } from "./wire.ts";

export type Reply =
  | { readonly kind: "answer"; readonly answer: Answer; readonly status: number; readonly headers: ReplyHeaders }
  /** No answer to this request, only a status; `code` is that of a JSON-RPC error without our id, if there was one. */
  | {
      readonly kind: "status";
      readonly status: number;
      readonly code: number | null;
      readonly headers: ReplyHeaders;
    };

const NOTHING = (): void => {};
/** How long a stream may go on after its answer. */
const LINGER_MS = 1000;

export type Requesting = {
  readonly dial: Dial;
  readonly request: DialRequest;
  readonly id: number;
  readonly exchange: Exchange;
  /** A notification has no answer: any status ends it. */
  readonly notification: boolean;
  /** Whatever else arrives on the stream: notifications and requests of the server. */
  readonly onOther: (message: Message) => void;
  /** The exchange was given up after it was sent. */
  readonly onStopped: () => void;
};

/** @throws Refusal upstream_unavailable, upstream_error; or `exchange.gaveUp` */
export function request(asked: Requesting): Promise<Reply> {
  return new Promise((resolve, reject) => new Receiving(asked, resolve, reject).start());
}

/** What arrives for one request, from its first byte to its last. A class, as in dial.ts: closures cost each call. */
class Receiving implements Sink {
  status = 0;
  headers: ReplyHeaders = {};
  bytes = 0;
  readonly asked: Requesting;
  private readonly resolve: (reply: Reply) => void;
  private readonly reject: (refusal: Refusal) => void;
  private readonly chunks: Buffer[] = [];
  private stop = NOTHING;
  private lingered = NOTHING;
  private settled = false;
  private sse: ReturnType<typeof readSse> | null = null;

  constructor(asked: Requesting, resolve: (reply: Reply) => void, reject: (refusal: Refusal) => void) {
    this.asked = asked;
    this.resolve = resolve;
    this.reject = reject;
  }

  start(): void {
    const { dial, request, exchange, onStopped } = this.asked;
    this.stop = dial.send(request, this);
    if (this.settled) return;
    exchange.stop = () => {
      this.stop();
      if (exchange.executed !== "no") onStopped();
      this.fail(exchange.gaveUp ?? new Refusal("cancelled", "The call was cancelled."));
    };
  }

  sent(): void {
    this.asked.exchange.executed = "unknown";
    this.asked.exchange.sent = true;
  }

  head(status: number, headers: ReplyHeaders): void {
    this.status = status;
    this.headers = headers;
    if (!isOk(status) || this.asked.notification || mediaType(headers) !== "text/event-stream") return;
    this.sse = readSse(this.asked.request.bytesMax, (data) => this.onEvent(data));
  }

  data(chunk: Buffer): void {
    // what follows the answer is let by unread
    if (this.settled) return;
    this.bytes += chunk.length;
    if (this.sse === null) return void this.chunks.push(chunk);
    try {
      this.sse.push(chunk);
    } catch (thrown) {
      this.broke(thrown);
    }
  }

  end(): void {
    this.lingered();
    if (this.settled) return;
    try {
      if (this.sse !== null) throw new Refusal("upstream_error", "The server ended its stream before it answered.");
      const { chunks } = this;
      this.settle(whole(this, chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)));
    } catch (thrown) {
      this.broke(thrown);
    }
  }

  fail(refusal: Refusal): void {
    this.lingered();
    if (this.settled) return;
    this.settled = true;
    this.asked.exchange.stop = null;
    this.reject(refusal);
  }

  private settle(reply: Reply): void {
    this.settled = true;
    this.asked.exchange.stop = null;
    this.resolve(reply);
  }

  private broke(thrown: unknown): void {
    this.stop();
    this.fail(Refusal.from(thrown));
  }

  private onEvent(data: Buffer): void {
    const { asked } = this;
    const message = readMessage(data);
    if (message.kind === "answer") {
      if (message.id !== asked.id) throw foreign();
      this.settle(answered(this, message.answer));
      this.lingered = linger(asked.dial, () => this.stop());
    } else if (message.kind === "notification" && message.method === "notifications/progress") {
      const { progressToken, ...params } = message.params;
      // an unknown token is nobody's: dropped
      if (progressToken === asked.id && asked.exchange.gaveUp === null) asked.exchange.onProgress?.(params);
    } else asked.onOther(message);
  }
}

/** Returns what to do once the stream has ended by itself. */
function linger({ lingering }: Dial, stop: () => void): () => void {
  const over = (): void => {
    clearTimeout(timer);
    lingering.delete(cut);
  };
  const cut = (): void => {
    over();
    stop();
  };
  const timer = setTimeout(cut, LINGER_MS).unref();
  lingering.add(cut);
  return over;
}

function whole(receiving: Receiving, body: Buffer): Reply {
  const { asked, status, headers } = receiving;
  const failed = !isSuccess(status);
  if (asked.notification) return { kind: "status", status, code: null, headers };
  if (mediaType(headers) !== "application/json" || isEncoded(headers)) {
    if (failed) return { kind: "status", status, code: null, headers };
    throw new Refusal("upstream_error", "The server's answer is neither JSON nor an event stream.");
  }
  let message: Message;
  try {
    message = readMessage(body);
  } catch (thrown) {
    if (failed) return { kind: "status", status, code: null, headers };
    throw thrown;
  }
  if (message.kind === "answer" && message.id === asked.id) return answered(receiving, message.answer);
  if (failed) return { kind: "status", status, code: errorCode(message), headers };
  throw foreign();
}

function answered({ asked, bytes, status, headers }: Receiving, answer: Answer): Reply {
  asked.exchange.executed = "yes";
  asked.exchange.bytes = bytes;
  return { kind: "answer", answer, status, headers };
}

function errorCode(message: Message): number | null {
  return message.kind === "answer" && message.answer.kind === "error" && message.id === null
    ? message.answer.error.code
    : null;
}

function mediaType(headers: ReplyHeaders): string {
  const value = headers["content-type"];
  if (typeof value !== "string") return "";
  const end = value.indexOf(";");
  return (end === -1 ? value : value.slice(0, end)).trim().toLowerCase();
}

/** We ask for no encoding: a compressed answer could be a bomb. */
function isEncoded(headers: ReplyHeaders): boolean {
  const value = headers["content-encoding"];
  return value !== undefined && value !== "identity";
}

function foreign(): Refusal {
  return new Refusal("upstream_error", "The server answered something that was not asked.");
}
