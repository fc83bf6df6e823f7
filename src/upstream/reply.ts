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
  return new Promise((resolve, reject) => {
    const { exchange } = asked;
    let stop = NOTHING;
    let lingered = NOTHING;
    let settled = false;
    const settle = (reply: Reply): void => {
      settled = true;
      exchange.stop = null;
      resolve(reply);
    };
    const fail = (refusal: Refusal): void => {
      if (settled) return;
      settled = true;
      exchange.stop = null;
      reject(refusal);
    };
    const reading = reader(asked, (reply, streaming) => {
      settle(reply);
      if (streaming) lingered = linger(asked.dial, () => stop());
    });
    stop = asked.dial.send(asked.request, {
      sent: () => {
        exchange.executed = "unknown";
        exchange.sent = true;
      },
      head: reading.head,
      data: (chunk) => {
        // what follows the answer is let by unread
        if (!settled) attempt(() => reading.data(chunk), broke);
      },
      end: () => {
        lingered();
        if (!settled) attempt(reading.end, broke);
      },
      fail: (refusal) => {
        lingered();
        fail(refusal);
      },
    });
    function broke(thrown: unknown): void {
      stop();
      fail(Refusal.from(thrown));
    }
    if (settled) return;
    exchange.stop = () => {
      stop();
      if (exchange.executed !== "no") asked.onStopped();
      fail(exchange.gaveUp ?? new Refusal("cancelled", "The call was cancelled."));
    };
  });
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

function attempt(action: () => void, otherwise: (thrown: unknown) => void): void {
  try {
    action();
  } catch (thrown) {
    otherwise(thrown);
  }
}

type Done = (reply: Reply, streaming: boolean) => void;

/** Collects a body, or reads a stream, whichever the headers announce. */
function reader(asked: Requesting, done: Done): Pick<Sink, "head" | "data" | "end"> {
  const chunks: Buffer[] = [];
  const seen: Seen = { status: 0, headers: {}, bytes: 0 };
  let sse: ReturnType<typeof readSse> | null = null;
  return {
    head: (status, headers) => {
      seen.status = status;
      seen.headers = headers;
      if (isOk(status) && !asked.notification && mediaType(headers) === "text/event-stream") {
        sse = readSse(asked.request.bytesMax, (data) => onEvent(asked, seen, data, done));
      }
    },
    data: (chunk) => {
      seen.bytes += chunk.length;
      if (sse === null) chunks.push(chunk);
      else sse.push(chunk);
    },
    end: () => {
      if (sse !== null) throw new Refusal("upstream_error", "The server ended its stream before it answered.");
      done(whole(asked, seen, chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)), false);
    },
  };
}

type Seen = { status: number; headers: ReplyHeaders; bytes: number };

function onEvent(asked: Requesting, seen: Seen, data: Buffer, done: Done): void {
  const message = readMessage(data);
  if (message.kind === "answer") {
    if (message.id !== asked.id) throw foreign();
    done(answered(asked, seen, message.answer), true);
  } else if (message.kind === "notification" && message.method === "notifications/progress") {
    const { progressToken, ...params } = message.params;
    // an unknown token is nobody's: dropped
    if (progressToken === asked.id && asked.exchange.gaveUp === null) asked.exchange.onProgress?.(params);
  } else asked.onOther(message);
}

function whole(asked: Requesting, seen: Seen, body: Buffer): Reply {
  const { status, headers } = seen;
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
  if (message.kind === "answer" && message.id === asked.id) return answered(asked, seen, message.answer);
  if (failed) return { kind: "status", status, code: errorCode(message), headers };
  throw foreign();
}

function answered(asked: Requesting, seen: Seen, answer: Answer): Reply {
  asked.exchange.executed = "yes";
  asked.exchange.bytes = seen.bytes;
  return { kind: "answer", answer, status: seen.status, headers: seen.headers };
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
