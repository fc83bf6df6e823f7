/** How is a body read? Bounded as its bytes arrive, one budget over all requests, then one strict parse. */
import type { IncomingMessage } from "node:http";
import { JsonFault, parseJson } from "../json.ts";
import type { Json } from "../model.ts";
import { Refusal } from "../refusal.ts";
import type { Headers } from "./exchange.ts";
import { turn } from "./turn.ts";

export type BodyBudget = { bodiesBytes: number };

/** Bodies being read at one time, over all requests: beyond it new ones are shed. */
const BODIES_BYTES_MAX = 256 * 1024 * 1024;

/** @throws Refusal payload_too_large, invalid_request, overloaded */
export async function readBody(
  req: IncomingMessage,
  headers: Headers,
  bytesMax: number,
  budget: BodyBudget,
): Promise<Json | undefined> {
  if (headers["content-length"] === undefined && headers["transfer-encoding"] === undefined) return undefined;
  if (headers["content-length"] === "0") return undefined;
  if (!/^application\/json\s*(;|$)/i.test(headers["content-type"] ?? "")) {
    throw new Refusal("invalid_request", "The body must be application/json.", { status: 415 });
  }
  if (Number(headers["content-length"] ?? 0) > bytesMax) throw tooLarge();
  if (budget.bodiesBytes > BODIES_BYTES_MAX)
    throw new Refusal("overloaded", "Too many bodies are being read.", { retryAfterMs: 1000 });
  const bytes = await collect(req, bytesMax, budget);
  if (bytes.length === 0) return undefined;
  await turn();
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
    const done = (): void => {
      budget.bodiesBytes -= size;
    };
    req.on("data", (chunk: Buffer) => {
      size += chunk.length;
      budget.bodiesBytes += chunk.length;
      chunks.push(chunk);
      if (size <= bytesMax) return;
      req.removeAllListeners("data").pause();
      done();
      reject(tooLarge());
    });
    req.once("end", () => {
      done();
      resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks));
    });
    req.once("error", () => {
      done();
      reject(new Refusal("cancelled", "The caller went away."));
    });
  });
}

function tooLarge(): Refusal {
  return new Refusal("payload_too_large", "The body is larger than this gateway takes.");
}
