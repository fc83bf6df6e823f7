/** How is a body read? Bounded as its bytes arrive, one budget over all requests, then one strict parse. */
import type { IncomingMessage } from "node:http";
import { JsonFault, parseJson } from "../json.ts";
import type { Json } from "../model.ts";
import { Refusal } from "../refusal.ts";
import type { Headers } from "./exchange.ts";
import { turn } from "./turn.ts";

export type BodyBudget = { bodiesBytes: number };

/** Bodies being read at one time, over all requests: whichever goes beyond it is shed. */
export const BODIES_BYTES_MAX = 256 * 1024 * 1024;

/** @throws Refusal payload_too_large, invalid_request, overloaded */
export async function readBody(
  req: IncomingMessage,
  headers: Headers,
  bytesMax: number,
  budget: BodyBudget,
): Promise<Json | undefined> {
  if (headers["content-length"] === undefined && headers["transfer-encoding"] === undefined) return undefined;
  if (headers["content-length"] === "0") return undefined;
  checkType(headers);
  if (Number(headers["content-length"] ?? 0) > bytesMax) throw tooLarge();
  if (budget.bodiesBytes > BODIES_BYTES_MAX) throw tooMany();
  const bytes = await collect(req, bytesMax, budget);
  if (bytes.length === 0) return undefined;
  await turn();
  return parseBody(bytes);
}

/**
 * In no charset but UTF-8: a server to which the same bytes go on would read others of them than were decided on.
 * @throws Refusal invalid_request
 */
export function checkType(headers: Headers): void {
  if (/^application\/json *(; *charset *= *("utf-8"|utf-8) *)?$/i.test(headers["content-type"] ?? "")) return;
  throw new Refusal("invalid_request", "The body must be application/json, in UTF-8.", { status: 415 });
}

/** @throws Refusal invalid_request */
export function parseBody(bytes: Buffer): Json {
  try {
    return parseJson(bytes);
  } catch (fault) {
    if (!(fault instanceof JsonFault)) throw fault;
    throw new Refusal("invalid_request", fault.message, { rpc: { code: -32700 } });
  }
}

function collect(req: IncomingMessage, bytesMax: number, budget: BodyBudget): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    let ended = false;
    // once: a caller who goes away after a refusal would otherwise be counted out twice
    const end = (): boolean => {
      if (ended) return false;
      ended = true;
      budget.bodiesBytes -= size;
      return true;
    };
    const refuse = (refusal: Refusal): void => {
      if (end()) reject(refusal);
    };
    req.on("data", (chunk: Buffer) => {
      size += chunk.length;
      budget.bodiesBytes += chunk.length;
      chunks.push(chunk);
      // as the bytes arrive, since strangers send bodies too and say little of their size beforehand
      if (size <= bytesMax && budget.bodiesBytes <= BODIES_BYTES_MAX) return;
      req.removeAllListeners("data").pause();
      chunks.length = 0;
      refuse(size > bytesMax ? tooLarge() : tooMany());
    });
    req.once("end", () => {
      if (end()) resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks));
    });
    req.once("error", (cause) =>
      refuse(cause instanceof Refusal ? cause : new Refusal("cancelled", "The caller went away.")),
    );
  });
}

function tooMany(): Refusal {
  return new Refusal("overloaded", "Too many bodies are being read.", { retryAfterMs: 1000 });
}

export function tooLarge(): Refusal {
  return new Refusal("payload_too_large", "The body is larger than this gateway takes.");
}
