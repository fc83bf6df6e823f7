/**
 * How is a control plane reached? HTTP over the Unix socket, or to the URL of its admin listener. What surprises: an
 * answer that streams has a deadline for its head alone; whoever reads it says when it has been silent for too long.
 */
import { request as requestHttp } from "node:http";
import type { IncomingMessage } from "node:http";
import { request as requestHttps } from "node:https";
import { Readable } from "node:stream";

export type Target =
  | { readonly socket: string }
  | {
      readonly url: string;
      /** PEM of the authority that signed the other side's certificate, instead of the system's. */
      readonly ca?: string;
    };
type Sending = {
  readonly method?: string | undefined;
  readonly headers?: unknown;
  readonly body?: unknown;
  readonly signal?: AbortSignal | null | undefined;
};
/** As much of `fetch` as the tRPC client and EventSource need. */
export type Dial = (url: unknown, sending?: Sending) => Promise<Response>;

const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/** Redirects are not followed: the key is for this gateway alone. */
export function dial(target: Target, deadlineMs: number): Dial {
  return async (url, sending = {}) => {
    const deadline = AbortSignal.timeout(deadlineMs);
    const signal = sending.signal ? AbortSignal.any([sending.signal, deadline]) : deadline;
    return collect(await answerOf(target, url, { method: "POST", ...sending, signal }));
  };
}

type Streaming = {
  /** For the head of the answer. */
  readonly deadlineMs: number;
  /** With every request. */
  readonly headers: { readonly [name: string]: string };
  /** The other side said something, however little. */
  readonly onBytes: () => void;
};

/** The same for server-sent events. */
export function dialStream(target: Target, { deadlineMs, headers, onBytes }: Streaming): Dial {
  return async (url, sending = {}) => {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new Error("no answer in time")), deadlineMs);
    const signal = sending.signal ? AbortSignal.any([sending.signal, late.signal]) : late.signal;
    const all = { ...(sending.headers as { [name: string]: string } | undefined), ...headers };
    try {
      const answer = await answerOf(target, url, { method: "GET", headers: all, signal });
      const body = Readable.toWeb(answer) as unknown as ReadableStream;
      answer.on("data", onBytes);
      return new Response(body, {
        status: answer.statusCode ?? 0,
        headers: { "content-type": answer.headers["content-type"] ?? "" },
      });
    } finally {
      clearTimeout(timer);
    }
  };
}

function answerOf(target: Target, url: unknown, { method, headers, body, signal }: Sending): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const parsed = new URL(String(url));
    const text = typeof body === "string" ? body : "";
    const options = {
      ...("socket" in target ? { socketPath: target.socket } : target.ca === undefined ? {} : { ca: target.ca }),
      method: method ?? "POST",
      headers: { ...(headers as { [name: string]: string }), "content-length": Buffer.byteLength(text) },
      ...(signal ? { signal } : {}),
    };
    const send = parsed.protocol === "https:" ? requestHttps : requestHttp;
    const request = send(parsed, options, resolve);
    request.once("error", reject);
    request.end(text);
  });
}

async function collect(answer: IncomingMessage): Promise<Response> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > ANSWER_BYTES_MAX) throw new Error("the answer is larger than 64 MiB");
    chunks.push(chunk);
  }
  // some answers, such as 204, may have no body, not even an empty one
  const body = bytes === 0 ? null : Buffer.concat(chunks);
  return new Response(body, { status: answer.statusCode ?? 0 });
}
