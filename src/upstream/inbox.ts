/**
 * What does a line from a child mean, and whose is it? What surprises: a line that cannot be read still has an owner,
 * found by the id near its beginning or its end, so that one bad answer fails one call and not the child.
 */
import type { Answer, JsonObject } from "../model.ts";
import { Refusal } from "../refusal.ts";
import { LIST_CHANGED, tooLarge } from "./connection.ts";
import type { Exchange } from "./connection.ts";
import { readMessage } from "./wire.ts";
import type { Message } from "./wire.ts";

/** What became of a request: the answer as it came, or why there is none. */
export type Outcome = Answer | Refusal;
export type Inbox = {
  readonly onLine: (line: Buffer) => void;
  /** A line over the cap: what is left of it. */
  readonly onLong: (head: Buffer, tail: Buffer) => void;
  /** A request was sent under this id. */
  readonly waitFor: (id: number, exchange: Exchange) => void;
  readonly forget: (id: number) => void;
  /** Progress under this token is this exchange's. */
  readonly track: (token: number, exchange: Exchange) => void;
  readonly untrack: (token: number) => void;
};
export type InboxOptions = {
  readonly settle: (id: number, outcome: Outcome) => void;
  readonly onRequest: (request: Extract<Message, { kind: "request" }>) => void;
  readonly onListChanged: () => void;
};

const OPENING_BRACE = 0x7b;

export function openInbox(options: InboxOptions): Inbox {
  const waiting = new Map<number, Exchange>();
  const tokens = new Map<number, Exchange>();
  const settle = (id: number, outcome: Outcome): void => {
    waiting.delete(id);
    options.settle(id, outcome);
  };
  const failOwner = (line: Buffer, refusal: Refusal): void => {
    const id = ownerOf(line, waiting);
    if (id !== null) settle(id, refusal);
  };
  const onAnswer = ({ id, answer }: Extract<Message, { kind: "answer" }>, bytes: number): void => {
    const exchange = typeof id === "number" ? waiting.get(id) : undefined;
    // late, repeated or never asked: dropped
    if (exchange === undefined) return;
    exchange.bytes = bytes;
    exchange.executed = "yes";
    settle(id as number, bytes > exchange.bytesMax ? tooLarge() : answer);
  };
  const onNotification = (method: string, { progressToken, ...params }: JsonObject): void => {
    if (method === LIST_CHANGED) options.onListChanged();
    if (method !== "notifications/progress" || typeof progressToken !== "number") return;
    const exchange = tokens.get(progressToken);
    if (exchange !== undefined && exchange.gaveUp === null) exchange.onProgress?.(params);
  };
  return {
    onLine: (line) => {
      // whatever does not begin an object is noise: banners, debug output, empty lines
      if (line[0] !== OPENING_BRACE) return;
      let message: Message;
      try {
        message = readMessage(line);
      } catch (thrown) {
        return failOwner(line, new Refusal("upstream_error", Refusal.from(thrown).message));
      }
      if (message.kind === "answer") onAnswer(message, line.length);
      else if (message.kind === "request") options.onRequest(message);
      else onNotification(message.method, message.params);
    },
    onLong: (head, tail) => failOwner(Buffer.concat([head, tail]), tooLarge()),
    waitFor: (id, exchange) => void waiting.set(id, exchange),
    forget: (id) => void waiting.delete(id),
    track: (token, exchange) => void tokens.set(token, exchange),
    untrack: (token) => void tokens.delete(token),
  };
}

const END_BYTES = 2048;

/**
 * The id in a line that cannot be read, if it is one that is waited for. The server can only harm its own calls. A line
 * that does not speak of JSON-RPC is nobody's: many servers log JSON to stdout.
 */
function ownerOf(line: Buffer, waiting: ReadonlyMap<number, Exchange>): number | null {
  const short = line.length <= 2 * END_BYTES;
  const ends = short
    ? line.toString("latin1")
    : line.toString("latin1", 0, END_BYTES) + line.toString("latin1", line.length - END_BYTES);
  if (!ends.includes('"jsonrpc"')) return null;
  const named = [...ends.matchAll(/"id"\s*:\s*(\d{1,15})\b/g)].map((match) => Number(match[1]));
  const known = named.findLast((id) => waiting.has(id));
  if (known !== undefined) return known;
  return waiting.size === 1 ? (waiting.keys().next().value ?? null) : null;
}
