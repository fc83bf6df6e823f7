/**
 * One small document from a URL, such as an issuer's keys: from a checked address, whole, in time, or not at all. What
 * surprises: a redirect is an answer like any other that is not 200, since where it leads nobody has checked.
 */
import { Refusal } from "../refusal.ts";
import type { Resolve } from "./address.ts";
import { openDial } from "./dial.ts";
import type { ReplyHeaders, Sink } from "./dial.ts";

export type DocumentOptions = {
  readonly allowPrivate: boolean;
  readonly timeoutMs: number;
  readonly bytesMax: number;
  readonly resolve?: Resolve;
};
/** @throws Refusal upstream_unavailable, upstream_error, upstream_timeout */
export type FetchDocument = (url: string, options: DocumentOptions) => Promise<Buffer>;
export type Reply = { readonly status: number; readonly headers: ReplyHeaders; readonly body: Buffer };
/** Whatever is answered. `headers`: of the request. @throws as FetchDocument */
export type AskDocument = (
  url: string,
  options: DocumentOptions & { readonly headers: { readonly [name: string]: string } },
) => Promise<Reply>;

export const fetchDocument: FetchDocument = async (url, options) => {
  const accept = "application/json, application/jwk-set+json";
  const { status, body } = await askDocument(url, { ...options, headers: { accept } });
  if (status !== 200) throw new Refusal("upstream_error", "There is no such document.");
  return body;
};

export const askDocument: AskDocument = async (url, options) => {
  const { allowPrivate, timeoutMs, bytesMax } = options;
  const dial = openDial({
    url,
    allowPrivate,
    connectionsMax: 1,
    queueMax: 0,
    memoryBytesMax: bytesMax,
    connectTimeoutMs: timeoutMs,
    ...(options.resolve === undefined ? {} : { resolve: options.resolve }),
  });
  const { promise, resolve, reject } = Promise.withResolvers<Reply>();
  const headers = Object.entries(options.headers).flat();
  const stop = dial.send({ method: "GET", headers, body: null, bytesMax }, collect(resolve, reject));
  const timer = setTimeout(() => {
    stop();
    reject(new Refusal("upstream_timeout", "The document did not arrive in time."));
  }, timeoutMs);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
    await dial.close();
  }
};

function collect(resolve: (reply: Reply) => void, reject: (cause: Refusal) => void): Sink {
  const chunks: Buffer[] = [];
  let status = 0;
  let headers: ReplyHeaders = {};
  return {
    sent: () => {},
    head: (told, with_) => {
      status = told;
      headers = with_;
    },
    data: (chunk) => void chunks.push(chunk),
    end: () => resolve({ status, headers, body: Buffer.concat(chunks) }),
    fail: reject,
  };
}
