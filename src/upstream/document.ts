/**
 * One small document from a URL, such as an issuer's keys: from a checked address, whole, in time, or not at all. What
 * surprises: a redirect is an answer like any other that is not 200, since where it leads nobody has checked.
 */
import { Refusal } from "../refusal.ts";
import type { Resolve } from "./address.ts";
import { openDial } from "./dial.ts";
import type { Sink } from "./dial.ts";

export type DocumentOptions = {
  readonly allowPrivate: boolean;
  readonly timeoutMs: number;
  readonly bytesMax: number;
  readonly resolve?: Resolve;
};
/** @throws Refusal upstream_unavailable, upstream_error, upstream_timeout */
export type FetchDocument = (url: string, options: DocumentOptions) => Promise<Buffer>;

export const fetchDocument: FetchDocument = async (url, options) => {
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
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const headers = ["accept", "application/json, application/jwk-set+json"];
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

function collect(resolve: (document: Buffer) => void, reject: (cause: Refusal) => void): Sink {
  const chunks: Buffer[] = [];
  let status = 0;
  return {
    sent: () => {},
    head: (told) => void (status = told),
    data: (chunk) => void chunks.push(chunk),
    end: () => {
      if (status === 200) resolve(Buffer.concat(chunks));
      else reject(new Refusal("upstream_error", "There is no such document."));
    },
    fail: reject,
  };
}
