/**
 * How long do requests take, at which listener? OpenTelemetry's `http.server.request.duration`. What surprises: a route is
 * what a door declares, never a path that somebody sent, and a method that is not of HTTP is `_OTHER`: nobody can make
 * series without end. A stream counts until it ends.
 */
import { createHistogram } from "./histogram.ts";
import type { Histogram } from "./histogram.ts";

export type Answered = {
  readonly listener: "traffic" | "admin" | "socket";
  readonly scheme: "http" | "https";
  readonly method: string;
  /** As declared, with `/*` for what stands below it; null where nothing is at that path. */
  readonly route: string | null;
  /** null where the caller went away before. */
  readonly status: number | null;
};
export type RequestMeter = {
  readonly ended: (request: Answered, tookMs: number) => void;
  readonly read: () => Histogram;
};

/** As the semantic convention has them. */
const BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
const METHODS = new Set(["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"]);

export function createRequestMeter(): RequestMeter {
  const meter = createHistogram("http.server.request.duration", "How long HTTP requests took here.", BOUNDS);
  return {
    ended: ({ listener, scheme, method, route, status }, tookMs) => {
      const known = METHODS.has(method) ? method : "_OTHER";
      const series = meter.series(`${listener} ${known} ${route ?? ""} ${status ?? 0}`, () => ({
        "http.request.method": known,
        "url.scheme": scheme,
        ...(route === null ? {} : { "http.route": route }),
        ...(status === null ? {} : { "http.response.status_code": status }),
        ...errorOf(status),
        "portcullis.listener": listener,
      }));
      meter.observe(series, tookMs);
    },
    read: meter.read,
  };
}

/** A refusal of what the caller asked is no failure of ours. */
function errorOf(status: number | null): { readonly "error.type"?: string } {
  if (status === null) return { "error.type": "cancelled" };
  return status < 500 ? {} : { "error.type": String(status) };
}
