/** How does a command reach the gateway? One HTTP request over the Unix socket, or to the URL of the admin listener. */
import { request as requestHttp } from "node:http";
import type { IncomingMessage } from "node:http";
import { request as requestHttps } from "node:https";

export type Target = { readonly socket: string } | { readonly url: string };
type Sending = {
  readonly method?: string | undefined;
  readonly headers?: unknown;
  readonly body?: unknown;
  readonly signal?: AbortSignal | null | undefined;
};
/** As much of `fetch` as the tRPC client needs. */
export type Dial = (url: unknown, sending?: Sending) => Promise<Response>;

const ANSWER_BYTES_MAX = 64 * 1024 * 1024;

/** Redirects are not followed: the key is for this gateway alone. */
export function dial(target: Target, deadlineMs: number): Dial {
  const socket = "socket" in target ? { socketPath: target.socket } : {};
  return (url, { method = "POST", headers, body, signal } = {}) =>
    new Promise((resolve, reject) => {
      const parsed = new URL(String(url));
      const text = typeof body === "string" ? body : "";
      const deadline = AbortSignal.timeout(deadlineMs);
      const options = {
        ...socket,
        method,
        headers: { ...(headers as { [name: string]: string }), "content-length": Buffer.byteLength(text) },
        signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
      };
      const send = parsed.protocol === "https:" ? requestHttps : requestHttp;
      const request = send(parsed, options, (answer) => void collect(answer).then(resolve, reject));
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
  return new Response(Buffer.concat(chunks), { status: answer.statusCode ?? 0 });
}
