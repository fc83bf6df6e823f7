/**
 * The SDK's transport over a child of ours. It sees every message before the SDK does, and so decides what the SDK
 * gets: answers wrapped and whole, and the requests of the server, which the SDK answers (ping) or refuses (the rest).
 */
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import type { JSONRPCMessage } from "@modelcontextprotocol/sdk/types.js";
import type { InstanceSpec } from "../model.ts";
import { startChild } from "./child.ts";
import type { Child } from "./child.ts";
import type { ConnectionOptions, Exchange } from "./connection.ts";
import { openInbox } from "./inbox.ts";
import type { Inbox } from "./inbox.ts";

export type Ticket = { readonly progressToken: number; readonly done: () => void };
export type StdioTransport = Transport &
  Pick<Child, "alive" | "stderr" | "abandon"> & {
    /** The very next request that the SDK sends is this exchange's. */
    readonly expect: (exchange: Exchange) => Ticket;
  };

/** `next`: whose the next request is. */
type Desk = { next: Exchange | null; token: number };

/** Beyond the cap of an answer: the envelope around it. */
const ENVELOPE_BYTES = 64 * 1024;

export function openTransport(
  spec: Extract<InstanceSpec, { kind: "stdio" }>,
  options: ConnectionOptions,
): StdioTransport {
  const desk: Desk = { next: null, token: 1 };
  const inbox = openInbox({
    // wrapped: the SDK would drop what it does not know of a result, and rewrite the message of an error
    settle: (id, outcome) => transport.onmessage?.({ jsonrpc: "2.0", id, result: { outcome } }),
    onRequest: ({ id, method, params }) => transport.onmessage?.({ jsonrpc: "2.0", id, method, params }),
    onListChanged: options.onListChanged,
  });
  const child = startChild(spec, {
    searchPath: options.searchPath,
    cwd: options.cwd,
    lineBytesMax: options.resultBytesMax + ENVELOPE_BYTES,
    onLine: inbox.onLine,
    onLong: inbox.onLong,
    onEnded: () => {
      transport.onclose?.();
      options.onDied();
    },
  });
  const transport: StdioTransport = {
    // a transport with a session is taken as initialized: the handshake is ours, in either era
    sessionId: "own",
    start: () => Promise.resolve(),
    send: async (message) => send(message, desk, child, inbox),
    close: async () => {
      await child.close();
      transport.onclose?.();
    },
    expect: (exchange) => expect(exchange, desk, inbox),
    alive: child.alive,
    stderr: child.stderr,
    abandon: child.abandon,
  };
  return transport;
}

/** @throws Error, which the SDK hands to whoever made the request */
function send(message: JSONRPCMessage, desk: Desk, child: Child, inbox: Inbox): void {
  if (!child.write(`${JSON.stringify(message)}\n`)) throw new Error("no input");
  if (!("method" in message)) return;
  if ("id" in message && desk.next !== null) {
    desk.next.executed = "unknown";
    desk.next.sent = true;
    inbox.waitFor(Number(message.id), desk.next);
    desk.next = null;
  } else if (message.method === "notifications/cancelled") inbox.forget(Number(message.params?.["requestId"]));
}

function expect(exchange: Exchange, desk: Desk, inbox: Inbox): Ticket {
  const progressToken = desk.token++;
  desk.next = exchange;
  if (exchange.onProgress !== null) inbox.track(progressToken, exchange);
  const done = (): void => {
    inbox.untrack(progressToken);
    if (desk.next === exchange) desk.next = null;
  };
  return { progressToken, done };
}
