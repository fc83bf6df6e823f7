/** Server-sent events to a caller: kept alive by comments, cut when the caller does not read. */
import type { ServerResponse } from "node:http";
import type { SseStream } from "./exchange.ts";

const KEEP_ALIVE_MS = 15_000;
const QUEUED_BYTES_MAX = 4 * 1024 * 1024;
const DRAIN_MS = 30_000;

export function openStream(res: ServerResponse, headers: { readonly [name: string]: string }): SseStream {
  // proxies that buffer a stream would hold progress back until the end
  res.writeHead(200, {
    ...headers,
    "content-type": "text/event-stream",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
  });
  res.flushHeaders();
  const write = (text: string): void => {
    if (res.destroyed || res.writableEnded) return;
    res.write(text);
    if (res.writableLength > QUEUED_BYTES_MAX + text.length) res.destroy();
  };
  const keepAlive = setInterval(() => write(": keep-alive\n\n"), KEEP_ALIVE_MS);
  res.on("close", () => clearInterval(keepAlive));
  return {
    send: (data, event) => {
      const lines = data.split("\n").map((line) => `data: ${line}\n`);
      write(`${event === undefined ? "" : `event: ${event}\n`}${lines.join("")}\n`);
    },
    write: async (text) => {
      write(text);
      if (res.writableNeedDrain) await drained(res);
    },
    close: () => {
      clearInterval(keepAlive);
      res.end();
    },
    closed: () => res.destroyed || res.writableEnded,
  };
}

/** Until the caller has read, or is gone; who reads nothing for half a minute is cut. */
function drained(res: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const late = setTimeout(() => res.destroy(), DRAIN_MS);
    const done = (): void => {
      clearTimeout(late);
      res.off("drain", done);
      res.off("close", done);
      resolve();
    };
    res.once("drain", done);
    res.once("close", done);
  });
}
