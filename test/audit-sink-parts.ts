/** What tests of places for checkpoints share: checkpoints to send, and places that hear them. */
import { createServer } from "node:http";
import type { IncomingMessage } from "node:http";
import { onTestFinished } from "vitest";
import { signCheckpoint } from "../src/audit/checkpoint.ts";
import type { Signed } from "../src/audit/checkpoint.ts";
import { append, emptyRange, leafOf, rootOf } from "../src/audit/merkle.ts";
import { openSinks } from "../src/audit/sinks.ts";
import type { Post, SinkTarget } from "../src/audit/sinks.ts";
import { realPorts, silent } from "../src/ports.ts";
import { dial } from "../src/snapshot/reach.ts";
import { SIGNING } from "./audit-parts.ts";

export const ports = realPorts(silent);
export const CHAIN = "gateway-0123456789abcdef0123";
export const backoffMs = { first: 10, most: 40 };

export function signed(size: number, chain = CHAIN): Signed {
  const range = emptyRange();
  for (let at = 0; at < size; at++) append(range, leafOf("00".repeat(32)));
  const checkpoint = {
    ...{ chain, range, root: rootOf(range).toString("base64"), time: `2026-08-01T00:00:0${size % 10}.000Z` },
    ...{ head: "00".repeat(32), file: `${chain}-000001.jsonl`, bytes: 10 * size, previous: null, first: 1 },
  };
  return { checkpoint, note: signCheckpoint(checkpoint, SIGNING) };
}

export const postWithin =
  (deadlineMs: number): Post =>
  async (url, headers, body) => {
    const answer = await dial({ url }, deadlineMs)(url, { method: "POST", headers, body });
    return { status: answer.status, text: () => answer.text() };
  };
export const post = postWithin(5_000);

export async function sinksTo(...targets: SinkTarget[]) {
  const sinks = await openSinks({ targets, post, backoffMs }, ports);
  onTestFinished(() => sinks.close());
  return sinks;
}

type Heard = { readonly path: string; readonly headers: IncomingMessage["headers"]; readonly body: string };

/** Answers with whatever status is next, the last one for ever. */
export async function receiver(
  statuses: readonly number[] = [200],
  said: { body?: string; headers?: object } = {},
  port = 0,
) {
  const heard: Heard[] = [];
  const server = createServer((request, answer) => {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
    request.on("end", () => {
      heard.push({ path: request.url ?? "", headers: request.headers, body });
      answer
        .writeHead(statuses[Math.min(heard.length, statuses.length) - 1] ?? 200, { ...said.headers })
        .end(said.body);
    });
  });
  await new Promise<void>((listening) => server.listen(port, "127.0.0.1", listening));
  onTestFinished(() => void server.close());
  const address = server.address() as { readonly port: number };
  return { url: `http://127.0.0.1:${address.port}`, heard };
}
