/**
 * What is sent beside the calls: cancellations, answers to what a server asks, the end of a session. Nobody waits for
 * these and nothing fails because of them; each has a deadline like everything else.
 */
import type { JsonObject } from "../model.ts";
import { HANDSHAKE_MS } from "./connection.ts";
import type { Dial, DialRequest, Sink } from "./dial.ts";
import type { Meeting } from "./session.ts";
import { answerTo } from "./wire.ts";
import type { Message } from "./wire.ts";

export type Line = { readonly dial: Dial; readonly base: readonly string[] };

const GOODBYE_MS = 1000;
const IGNORING: Sink = { sent: () => {}, head: () => {}, data: () => {}, end: () => {}, fail: () => {} };

/** Nothing that a server asks may start a call or reach a caller. */
export function reply(line: Line, meeting: Meeting | null, asked: Extract<Message, { kind: "request" }>): void {
  void carry(line, meeting, { method: "POST", body: answerTo(asked.id, asked.method) }, HANDSHAKE_MS);
}

export function notify(line: Line, meeting: Meeting, method: string, params: JsonObject): void {
  void carry(line, meeting, { method: "POST", body: JSON.stringify({ jsonrpc: "2.0", method, params }) }, HANDSHAKE_MS);
}

/** Tells a legacy server that its session is over: those that keep sessions forget them only then. */
export async function endSession(line: Line, meeting: Meeting | null): Promise<void> {
  if (meeting === null || meeting.session === null) return;
  await carry(line, meeting, { method: "DELETE", body: null }, GOODBYE_MS);
}

/** Resolves when it is over, however it went. */
function carry(
  line: Line,
  meeting: Meeting | null,
  request: Pick<DialRequest, "method" | "body">,
  timeoutMs: number,
): Promise<void> {
  const headers = [...line.base];
  if (meeting !== null) headers.push("mcp-protocol-version", meeting.greeting.protocol);
  if (meeting !== null && meeting.session !== null) headers.push("mcp-session-id", meeting.session);
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    const stop = line.dial.send({ ...request, headers, bytesMax: 1 << 16 }, { ...IGNORING, end: done, fail: done });
    const timer = setTimeout(() => {
      stop();
      resolve();
    }, timeoutMs).unref();
  });
}
