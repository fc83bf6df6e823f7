/** Stands between a sidecar and its control plane: can cut them apart, fall silent, and rewrite what is said. */
import { createServer, request } from "node:http";
import type { ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export type Relay = {
  readonly url: string;
  /** Ends all connections and refuses new ones, until `join`. */
  readonly cut: () => void;
  readonly join: () => void;
  /** Takes connections and says nothing more. */
  readonly hush: (silent: boolean) => void;
  /** Each event of a stream as its data was written, and as it is to be passed on. */
  readonly rewrite: (change: (event: RelayedEvent) => RelayedEvent) => void;
  /** Requests wait here before they are passed on. */
  readonly hold: (gate: (path: string) => Promise<void>) => void;
  /** How many were opened so far. */
  readonly streams: () => number;
  /** To whoever listens now. */
  readonly say: (events: readonly RelayedEvent[]) => void;
  /** Every event that went through, in order. */
  readonly events: readonly RelayedEvent[];
  readonly close: () => Promise<void>;
};
// oxlint-disable-next-line typescript/no-explicit-any -- whatever an event holds
export type RelayedEvent = any;

/** `target`: host and port; a function where it moves. */
export async function startRelay(target: string | (() => string)): Promise<Relay> {
  const now = typeof target === "string" ? () => target : target;
  const state = {
    cut: false,
    silent: false,
    change: (event: RelayedEvent) => event,
    gate: async (_path: string) => {},
  };
  const events: RelayedEvent[] = [];
  const streams = new Set<ServerResponse>();
  let opened = 0;
  const server = createServer((req, res) => {
    const forwarded = request(
      `http://${now()}${req.url ?? ""}`,
      { method: req.method, headers: { ...req.headers, host: now() } },
      (answer) => {
        res.writeHead(answer.statusCode ?? 0, answer.headers);
        if (answer.headers["content-type"] === "text/event-stream") {
          streams.add(res);
          opened++;
        }
        let text = "";
        answer.setEncoding("utf8").on("data", (chunk: string) => {
          if (answer.headers["content-type"] !== "text/event-stream") return void res.write(chunk);
          text += chunk;
          const blocks = text.split("\n\n");
          text = blocks.pop() ?? "";
          for (const block of blocks) if (block !== "") pass(block, res);
        });
        answer.on("end", () => res.end());
        answer.on("error", () => res.destroy());
      },
    );
    forwarded.on("error", () => res.destroy());
    res.on("close", () => {
      streams.delete(res);
      forwarded.destroy();
    });
    void state.gate(req.url ?? "").then(() => req.pipe(forwarded));
  });
  const pass = (block: string, res: ServerResponse): void => {
    const lines = block.split("\n").filter((line) => line !== "");
    const data = lines.find((line) => line.startsWith("data: "));
    if (data === undefined || lines.some((line) => line.startsWith("event: ")))
      return void res.write(`${lines.join("\n")}\n\n`);
    const event = state.change(JSON.parse(data.slice("data: ".length)));
    if (state.silent) return;
    events.push(event);
    res.write(`data: ${JSON.stringify(event)}\n\n`);
  };
  server.on("connection", (socket) => {
    if (state.cut) socket.destroy();
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut: () => {
      state.cut = true;
      server.closeAllConnections();
    },
    join: () => void (state.cut = false),
    hush: (silent) => void (state.silent = silent),
    rewrite: (change) => void (state.change = change),
    hold: (gate) => void (state.gate = gate),
    streams: () => opened,
    say: (said) => {
      for (const res of streams) for (const event of said) res.write(`data: ${JSON.stringify(event)}\n\n`);
    },
    events,
    close: async () => {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}
