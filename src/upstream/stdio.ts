/**
 * A connection to one stdio instance, through the official SDK's client over a transport of our own. What surprises:
 * one client serves both eras, because a transport that names a session skips the SDK's handshake, so the handshake is
 * ours; and answers pass the SDK wrapped in a result, because its typed path loses unknown fields and its error type
 * rewrites the message.
 */
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { ResultSchema } from "@modelcontextprotocol/sdk/types.js";
import { isObject } from "../json.ts";
import type { Answer, InstanceSpec, JsonObject } from "../model.ts";
import { Refusal } from "../refusal.ts";
import { PRODUCT } from "../version.ts";
import { HANDSHAKE_MS, newExchange, patiently, stillWanted, within } from "./connection.ts";
import type { Connection, ConnectionOptions, Exchange, Greeting } from "./connection.ts";
import { paramsOf } from "./envelope.ts";
import type { Outcome } from "./inbox.ts";
import { INITIALIZE, legacyGreeting, modernGreeting } from "./session.ts";
import { openTransport } from "./transport.ts";
import type { StdioTransport } from "./transport.ts";

type StdioSpec = Extract<InstanceSpec, { kind: "stdio" }>;

/** Long enough for an interpreter to start; a server that is silent to an unknown method costs this much once. */
const PROBE_MS = 5000;
/** The SDK's own timer must never be the first: ours are. */
const NEVER_MS = 2 ** 31 - 1;

type Stdio = {
  readonly transport: StdioTransport;
  readonly client: Client;
  greeting: Greeting | null;
  meeting: Promise<Greeting> | null;
};

export function connectStdio(spec: StdioSpec, options: ConnectionOptions): Connection {
  const transport = openTransport(spec, options);
  const client = new Client(PRODUCT, { capabilities: {} });
  const connected = client.connect(transport);
  const stdio: Stdio = { transport, client, greeting: null, meeting: null };
  let listening = false;
  const open = (): Promise<Greeting> => {
    if (stdio.greeting !== null) return Promise.resolve(stdio.greeting);
    stdio.meeting ??= connected
      .then(() => meet(stdio))
      .then((greeting) => (stdio.greeting = greeting))
      .finally(() => {
        stdio.meeting = null;
      });
    return stdio.meeting;
  };
  return {
    open,
    send: async (exchange) => {
      const greeting = stdio.greeting ?? (await patiently(exchange, open()));
      return carry(stdio, exchange, greeting.era === "modern");
    },
    listen: () => {
      if (listening || stdio.greeting?.era !== "modern" || !offersChanges(stdio.greeting)) return;
      listening = true;
      subscribe(stdio);
    },
    alive: transport.alive,
    forget: () => {},
    stderr: transport.stderr,
    close: () => client.close(),
    abandon: transport.abandon,
  };
}

/** Modern first, then legacy on the same child; any answer that is not a modern server's means legacy. */
async function meet(stdio: Stdio): Promise<Greeting> {
  const modern = await discover(stdio);
  if (modern !== null) return modern;
  const answer = await ours(stdio, newExchange("initialize", INITIALIZE, Infinity), HANDSHAKE_MS);
  if (answer === null) throw new Refusal("upstream_unavailable", "The server did not answer the handshake in time.");
  if (answer.kind === "error") {
    // a modern server that was too slow to start for the first question
    const late = await discover(stdio);
    if (late === null) throw new Refusal("upstream_error", "The server refuses to be initialized.");
    return late;
  }
  const greeting = legacyGreeting(answer.result);
  await stdio.client.notification({ method: "notifications/initialized" });
  return greeting;
}

async function discover(stdio: Stdio): Promise<Greeting | null> {
  const answer = await ours(stdio, newExchange("server/discover", {}, Infinity), PROBE_MS);
  return answer?.kind === "result" ? modernGreeting(answer.result) : null;
}

/** @returns null when it stays silent */
async function ours(stdio: Stdio, exchange: Exchange, timeoutMs: number): Promise<Answer | null> {
  try {
    return await within(exchange, timeoutMs, null, () => carry(stdio, exchange, exchange.method === "server/discover"));
  } catch (thrown) {
    if (exchange.gaveUp !== null) return null;
    if (!stdio.transport.alive())
      throw new Refusal("upstream_unavailable", "The server's process ended before it was ready.");
    throw thrown;
  }
}

async function carry(stdio: Stdio, exchange: Exchange, modern: boolean): Promise<Answer> {
  const { client, transport } = stdio;
  stillWanted(exchange);
  if (!transport.alive()) throw new Refusal("upstream_unavailable", "The server's process is not running.");
  const controller = new AbortController();
  exchange.stop = () => controller.abort("The caller gave up.");
  const ticket = transport.expect(exchange);
  const params = paramsOf(exchange, modern, ticket.progressToken) as { [key: string]: unknown };
  try {
    const { outcome } = (await client.request({ method: exchange.method, params }, ResultSchema, {
      signal: controller.signal,
      timeout: NEVER_MS,
    })) as unknown as { outcome: Outcome };
    if (outcome instanceof Refusal) throw outcome;
    return outcome;
  } catch (thrown) {
    stillWanted(exchange);
    if (thrown instanceof Refusal) throw thrown;
    // the SDK rejects with its own error when the transport refuses or closes
    const sent = exchange.executed !== "no";
    throw sent
      ? new Refusal("upstream_error", "The server's process ended before it answered.")
      : new Refusal("upstream_unavailable", "The server's process takes no input.");
  } finally {
    exchange.stop = null;
    ticket.done();
  }
}

function offersChanges(greeting: Greeting): boolean {
  const tools: JsonObject | null = isObject(greeting.capabilities["tools"]) ? greeting.capabilities["tools"] : null;
  return tools?.["listChanged"] === true;
}

/** A modern server speaks of changes only to who asks: one request that stays open. Its end ends with the child. */
function subscribe(stdio: Stdio): void {
  const exchange = newExchange("subscriptions/listen", { notifications: { toolsListChanged: true } }, Infinity);
  carry(stdio, exchange, true).catch(() => {});
}
