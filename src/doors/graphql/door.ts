/**
 * GraphQL over HTTP: authenticate, read the parameters, execute, render. What surprises: nothing is parsed for a caller
 * who is nobody, introspection included; and graphql itself is loaded after start, since a gateway that nobody asks
 * for a graph should not pay for one.
 */
import { refuse } from "../../call.ts";
import type { Gateway } from "../../gateway.ts";
import type { Call, Outcome } from "../../model.ts";
import { Refusal } from "../../refusal.ts";
import { identify } from "../../view.ts";
import { askedOf } from "../exchange.ts";
import type { Exchange, Route } from "../exchange.ts";
import { callHeaders, refusalBody, statusOf } from "../render.ts";
import type { Engine } from "./engine.ts";
import { replyPage, wantsPage } from "./graphiql.ts";
import { readAccept, readParameters } from "./parameters.ts";

const SCHEMA = new URL("../../../schema/gateway.graphql", import.meta.url);
const WARM_AFTER_MS = 1000;

type Options = {
  /** A browser gets a page. */
  readonly graphiql: boolean;
  /** Without it there is no `callTool`. */
  readonly calls: boolean;
};

/** `/graphql`, by GET and POST. */
export function graphqlRoutes({ graphiql, calls }: Options): readonly Route[] {
  let engine: Promise<Engine> | undefined;
  const load = (gateway: Gateway): Promise<Engine> => (engine ??= loadEngine(gateway, calls));
  // compiled before the first caller waits for it, and after the start has been quick
  setTimeout(() => void import("./engine.ts").catch(() => {}), WARM_AFTER_MS).unref();
  const door = (gateway: Gateway, exchange: Exchange): Promise<void> =>
    graphiql && wantsPage(exchange) ? replyPage(exchange) : serve(gateway, exchange, load);
  return [{ prefix: "/graphql", methods: ["GET", "POST"], door, malformed }];
}

async function loadEngine(gateway: Gateway, calls: boolean): Promise<Engine> {
  const [{ createEngine }, sdl] = await Promise.all([
    import("./engine.ts"),
    gateway.ports.disk.readFile(SCHEMA, "utf8"),
  ]);
  return createEngine(sdl, { calls });
}

async function serve(gateway: Gateway, exchange: Exchange, load: (gateway: Gateway) => Promise<Engine>): Promise<void> {
  const asked = askedOf(exchange, { interface: "graphql" });
  const who = await identify(gateway, asked);
  if (!who.ok) return replyRefusal(exchange, who);
  try {
    const accepted = readAccept(exchange.headers["accept"]);
    const parameters = readParameters(exchange);
    const [engine, { createGraph }] = await Promise.all([load(gateway), import("./graph.ts")]);
    const graph = createGraph(gateway, asked, who.value);
    const executed = await engine({ graph, parameters, accepted, method: exchange.method });
    if (executed.kind === "events") return await pour(exchange, executed.events);
    exchange.reply(executed.status, { ...executed.headers, ...headersOf(who.call, graph.calls) }, executed.body);
  } catch (thrown) {
    // nobody is there to be told
    if (exchange.signal.aborted) return;
    await malformed(gateway, exchange, Refusal.from(thrown));
  }
}

async function malformed(gateway: Gateway, exchange: Exchange, refusal: Refusal): Promise<void> {
  const outcome = await refuse(gateway, askedOf(exchange, { interface: "graphql" }), refusal);
  if (!outcome.ok) replyRefusal(exchange, outcome);
}

function replyRefusal(exchange: Exchange, { refusal, call }: Outcome<unknown> & { readonly ok: false }): void {
  const status = statusOf(refusal);
  const plain = !(exchange.headers["accept"] ?? "").includes("application/graphql-response+json");
  const type = `${plain ? "application/json" : "application/graphql-response+json"}; charset=utf-8`;
  const errors = [{ message: refusal.message, extensions: refusalBody(refusal, call) }];
  exchange.reply(status, { "content-type": type, ...callHeaders(call, refusal) }, JSON.stringify({ errors }));
}

/** As graphql-sse has it: an event `next` for each result, and `complete`. */
async function pour(exchange: Exchange, events: AsyncIterable<object>): Promise<void> {
  const stream = exchange.stream({}, "standing");
  for await (const event of events) {
    if (stream.closed()) break;
    stream.send(JSON.stringify(event), "next");
  }
  stream.send("", "complete");
  stream.close();
}

/** Of several calls the tightest limit; each call's own id is in the body. */
function headersOf(identified: Call, calls: readonly Call[]): { readonly [name: string]: string } {
  const [first] = calls;
  if (calls.length <= 1) return callHeaders(first ?? identified);
  const tightest = calls.reduce((one, other) => (room(other) < room(one) ? other : one));
  const { "portcullis-call-id": _, ...limits } = callHeaders(tightest);
  return limits;
}

function room({ limit }: Call): number {
  return limit?.remaining ?? Number.POSITIVE_INFINITY;
}
