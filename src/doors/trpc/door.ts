/**
 * The admin API over HTTP, for the admin listener and the Unix socket alone. What surprises: tRPC gets a Request that
 * we make from the parsed body; bytes and headers as they arrived never reach it, so none of its other content types
 * and batches exist here. Subscriptions are answered as server-sent events.
 */
import type { AnyProcedure } from "@trpc/server";
import { fetchRequestHandler } from "@trpc/server/adapters/fetch";
import { refuse } from "../../call.ts";
import type { Gateway } from "../../gateway.ts";
import { JsonFault, parseJsonText } from "../../json.ts";
import type { Asked } from "../../model.ts";
import { Refusal } from "../../refusal.ts";
import { askedOf } from "../exchange.ts";
import type { Exchange, Route } from "../exchange.ts";
import { callHeaders, statusOf } from "../render.ts";
import { Refused, errorShape } from "./procedure.ts";
import type { Context } from "./procedure.ts";
import { adminRouter } from "./router.ts";

const PREFIX = "/trpc/";

export const trpcRoutes: readonly Route[] = [
  { prefix: PREFIX, methods: ["GET", "POST"], door: trpcDoor, malformed: refuseMalformed },
];

export async function trpcDoor(gateway: Gateway, exchange: Exchange): Promise<void> {
  const asked = askedOf(exchange, { interface: "trpc" });
  let request: Request;
  try {
    request = requestOf(exchange, asked.signal);
  } catch (thrown) {
    return refuseMalformed(gateway, exchange, Refusal.from(thrown));
  }
  const context: Context = { gateway, asked, call: null };
  const response = await fetchRequestHandler({
    endpoint: "/trpc",
    router: adminRouter,
    req: request,
    createContext: () => context,
    allowBatching: false,
    allowMethodOverride: true,
    onError: ({ error }) => {
      if (!(error instanceof Refused)) gateway.ports.log.error({ err: error }, "tRPC failed outside every procedure");
    },
    responseMeta: ({ errors }) => ({ headers: headersOf(context, errors[0]) }),
  });
  if (response.body !== null && response.headers.get("content-type") === "text/event-stream")
    return pour(exchange, response.body);
  exchange.reply(response.status, Object.fromEntries(response.headers), await response.text());
}

/** A subscription's events, as tRPC wrote them, no faster than they are read. */
async function pour(exchange: Exchange, body: ReadableStream<Uint8Array>): Promise<void> {
  const stream = exchange.stream({}, "standing");
  const decoder = new TextDecoder();
  for await (const chunk of body) {
    if (stream.closed()) break;
    await stream.write(decoder.decode(chunk, { stream: true }));
  }
  stream.close();
}

/** @throws Refusal for what no procedure takes: told in our words, before tRPC would in its own */
function requestOf(exchange: Exchange, signal: Asked["signal"]): Request {
  const path = exchange.path.slice(PREFIX.length);
  const type = typeOf(path);
  if (type === undefined) throw new Refusal("invalid_request", "There is no such procedure.", { status: 404 });
  if (exchange.query.has("batch")) throw new Refusal("invalid_request", "One procedure per request.");
  const url = `http://portcullis${PREFIX}${path}`;
  const headers = { "content-type": "application/json" };
  if (exchange.method === "POST") {
    return new Request(url, { method: "POST", headers, body: JSON.stringify(exchange.body ?? {}), signal });
  }
  // a change by GET would be one image tag away from any page that an administrator visits
  if (type === "mutation") {
    throw new Refusal("invalid_request", "A change is asked for by POST.", { status: 405 });
  }
  return new Request(`${url}${inputQuery(exchange.query.get("input"))}`, { headers, signal });
}

/** By dotted path, as it is asked for; tRPC types the same record by nested names. */
function typeOf(path: string): string | undefined {
  const procedures: object = adminRouter._def.procedures;
  const found = Object.entries(procedures).find(([name]) => name === path)?.[1] as AnyProcedure | undefined;
  return found?._def.type;
}

function inputQuery(input: string | null): string {
  if (input === null) return "";
  try {
    return `?${new URLSearchParams({ input: JSON.stringify(parseJsonText(input)) }).toString()}`;
  } catch (fault) {
    if (fault instanceof JsonFault) throw new Refusal("invalid_request", fault.message);
    throw fault;
  }
}

async function refuseMalformed(gateway: Gateway, exchange: Exchange, refusal: Refusal): Promise<void> {
  const outcome = await refuse(gateway, askedOf(exchange, { interface: "trpc" }), refusal);
  if (outcome.ok) return;
  const headers = {
    "content-type": "application/json",
    ...callHeaders(outcome.call, outcome.refusal),
  };
  exchange.reply(statusOf(outcome.refusal), headers, JSON.stringify({ error: errorShape(outcome) }));
}

function headersOf({ call }: Context, error: Error | undefined): { readonly [name: string]: string } {
  const refusal = error instanceof Refused ? error.outcome.refusal : undefined;
  if (call === null) return {};
  return callHeaders(call, refusal);
}
