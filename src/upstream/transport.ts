/**
 * The SDK's transport over a child of ours. It sees every message before the SDK does, and so decides what the SDK
 * gets: answers wrapped and whole, the requests of the server that the SDK answers or refuses, and nothing else.
 * What surprises: a line that cannot be read still has an owner, found by the id near its beginning or its end.
 */
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import type { JSONRPCMessage } from "@modelcontextprotocol/sdk/types.js";
import type { Answer, InstanceSpec, JsonObject } from "../model.ts";
import { Refusal } from "../refusal.ts";
import { startChild } from "./child.ts";
import type { ConnectionOptions, Exchange } from "./connection.ts";
import { readMessage } from "./wire.ts";
import type { Message } from "./wire.ts";

/** What the SDK carries inside a result: the answer as it came, or why there is none. */
export type Outcome = Answer | Refusal;
export type Ticket = { readonly progressToken: number; readonly done: () => void };
export type StdioTransport = Transport & {
  /** The very next request that the SDK sends is this exchange's. */
  readonly expect: (exchange: Exchange) => Ticket;
  readonly alive: () => boolean;
  readonly stderr: () => string;
  readonly abandon: () => void;
};

/** Beyond the cap of an answer: the envelope around it. */
const ENVELOPE_BYTES = 64 * 1024;

export function openTransport(
  spec: Extract<InstanceSpec, { kind: "stdio" }>,
  options: ConnectionOptions,
): StdioTransport {
  const waiting = new Map<number, Exchange>();
  const tokens = new Map<number, Exchange>();
  let next: Exchange | null = null;
  let nextToken = 1;
  const child = startChild(spec, {
    searchPath: options.searchPath,
    cwd: options.cwd,
    lineBytesMax: options.resultBytesMax + ENVELOPE_BYTES,
    onLine: (line) => onLine(line),
    onLong: (head, tail) => failOwner(Buffer.concat([head, tail]), "The server's answer is too large."),
    onEnded: () => {
      transport.onclose?.();
      options.onDied();
    },
  });

  const onLine = (line: Buffer): void => {
    // whatever does not begin an object is noise: banners, debug output, empty lines
    if (line[0] !== 0x7b) return;
    let message: Message;
    try {
      message = readMessage(line);
    } catch (thrown) {
      return failOwner(line, Refusal.from(thrown).message);
    }
    if (message.kind === "answer") onAnswer(message, line.length);
    else if (message.kind === "request")
      transport.onmessage?.({ jsonrpc: "2.0", id: message.id, method: message.method, params: message.params });
    else onNotification(message.method, message.params);
  };
  const onAnswer = (message: Extract<Message, { kind: "answer" }>, bytes: number): void => {
    const exchange = typeof message.id === "number" ? waiting.get(message.id) : undefined;
    // late, repeated or never asked: dropped
    if (exchange === undefined) return;
    exchange.bytes = bytes;
    exchange.executed = "yes";
    settle(
      message.id as number,
      bytes > exchange.bytesMax ? new Refusal("upstream_error", "The server's answer is too large.") : message.answer,
    );
  };
  const onNotification = (method: string, { progressToken, ...params }: JsonObject): void => {
    if (method === "notifications/tools/list_changed") options.onListChanged();
    if (method !== "notifications/progress" || typeof progressToken !== "number") return;
    const exchange = tokens.get(progressToken);
    if (exchange !== undefined && exchange.gaveUp === null) exchange.onProgress?.(params);
  };
  const settle = (id: number, outcome: Outcome): void => {
    waiting.delete(id);
    transport.onmessage?.({ jsonrpc: "2.0", id, result: { outcome } });
  };
  const failOwner = (line: Buffer, message: string): void => {
    const id = ownerOf(line, waiting);
    if (id !== null) settle(id, new Refusal("upstream_error", message));
  };

  const transport: StdioTransport = {
    // a transport with a session is taken as initialized: the handshake is ours, in either era
    sessionId: "own",
    start: () => Promise.resolve(),
    send: (message: JSONRPCMessage) => {
      const exchange = "id" in message && "method" in message ? next : null;
      if (!child.write(`${JSON.stringify(message)}\n`)) return Promise.reject(new Error("no input"));
      if (exchange !== null && "id" in message) {
        next = null;
        exchange.executed = "unknown";
        waiting.set(message.id as number, exchange);
      }
      if ("method" in message && message.method === "notifications/cancelled")
        waiting.delete(Number(message.params?.["requestId"]));
      return Promise.resolve();
    },
    close: async () => {
      await child.close();
      transport.onclose?.();
    },
    expect: (exchange) => {
      const progressToken = nextToken++;
      next = exchange;
      if (exchange.onProgress !== null) tokens.set(progressToken, exchange);
      return {
        progressToken,
        done: () => {
          tokens.delete(progressToken);
          if (next === exchange) next = null;
        },
      };
    },
    alive: child.alive,
    stderr: child.stderr,
    abandon: child.abandon,
  };
  return transport;
}

/**
 * The id in a line that cannot be read, if it is one that is waited for. The server can only harm its own calls. A line
 * that does not speak of JSON-RPC is nobody's: many servers log JSON to stdout.
 */
function ownerOf(line: Buffer, waiting: ReadonlyMap<number, Exchange>): number | null {
  const ends =
    line.length <= 4096
      ? line.toString("latin1")
      : line.toString("latin1", 0, 2048) + line.toString("latin1", line.length - 2048);
  if (!ends.includes('"jsonrpc"')) return null;
  const ids = [...ends.matchAll(/"id"\s*:\s*(\d{1,15})\b/g)]
    .map((match) => Number(match[1]))
    .filter((id) => waiting.has(id));
  if (ids.length > 0) return ids.at(-1) as number;
  return waiting.size === 1 ? (waiting.keys().next().value as number) : null;
}
