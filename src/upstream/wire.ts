/**
 * What does an upstream's message say? Strict JSON-RPC 2.0 over the strict parser: upstream bytes are hostile, and
 * what is not exactly a message is refused whole. Ids are ours, numeric, per connection; an answer with any other id
 * is nobody's.
 */
import { JsonFault, isObject, parseJson } from "../json.ts";
import type { Answer, Json, JsonObject } from "../model.ts";
import { Refusal } from "../refusal.ts";

export type Message =
  | { readonly kind: "answer"; readonly id: Json; readonly answer: Answer }
  | { readonly kind: "request"; readonly id: string | number; readonly method: string; readonly params: JsonObject }
  | { readonly kind: "notification"; readonly method: string; readonly params: JsonObject };

/** @throws Refusal upstream_error */
export function readMessage(bytes: Buffer): Message {
  let value: Json;
  try {
    value = parseJson(bytes, "kept");
  } catch (thrown) {
    if (!(thrown instanceof JsonFault)) throw thrown;
    throw broken(thrown);
  }
  if (!isObject(value) || value["jsonrpc"] !== "2.0") throw broken();
  return "method" in value ? asking(value) : answering(value);
}

/** Our answer to what a server asks of us: alive, and otherwise nothing is offered, since nothing was declared. */
export function answerTo(id: string | number, method: string): string {
  const body = method === "ping" ? { result: {} } : { error: { code: -32601, message: "Method not found" } };
  return JSON.stringify({ jsonrpc: "2.0", id, ...body });
}

function asking(value: JsonObject): Message {
  const { method, id, params = {} } = value;
  if (typeof method !== "string" || !isObject(params)) throw broken();
  if (id === undefined) return { kind: "notification", method, params };
  if (typeof id !== "string" && typeof id !== "number") throw broken();
  return { kind: "request", id, method, params };
}

function answering(value: JsonObject): Message {
  const { id, result, error } = value;
  if (id === undefined || (result === undefined) === (error === undefined)) throw broken();
  if (result !== undefined) {
    if (!isObject(result)) throw broken();
    return { kind: "answer", id, answer: { kind: "result", result } };
  }
  if (!isObject(error)) throw broken();
  const { code, message, data } = error;
  if (typeof code !== "number" || !Number.isSafeInteger(code) || typeof message !== "string") throw broken();
  return {
    kind: "answer",
    id,
    answer: { kind: "error", error: data === undefined ? { code, message } : { code, message, data } },
  };
}

/** One constant text for every way to break the protocol; the parser's own words travel as cause, for the audit. */
function broken(cause?: JsonFault): Refusal {
  return new Refusal(
    "upstream_error",
    "The server's answer is not valid JSON-RPC.",
    cause === undefined ? {} : { cause },
  );
}
