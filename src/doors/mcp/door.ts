/**
 * MCP: `/mcp` is every server, `/mcp/{server}[@{version}]` one as it is. Two eras of the protocol are told apart here,
 * once, by what the request says of itself; both become the same verbs. GET and DELETE have no use: there is nothing
 * to listen to and no session to end.
 */
import type { Gateway } from "../../gateway.ts";
import { Refusal } from "../../refusal.ts";
import { PRODUCT } from "../../version.ts";
import { askedOf } from "../exchange.ts";
import type { Exchange, Route } from "../exchange.ts";
import { endpointOf } from "./endpoint.ts";
import { serveLegacy } from "./legacy.ts";
import type { LegacyOptions } from "./legacy.ts";
import { envelopeOf } from "./message.ts";
import type { Reply } from "./message.ts";
import { isModern, serveModern } from "./modern.ts";
import { LEGACY, MODERN } from "./render.ts";
import type { SessionKeys } from "./session.ts";
import { declined, notThere, refused } from "./turn.ts";
import type { Turn } from "./turn.ts";

export type McpOptions = { readonly sessionKeys: SessionKeys };

const METHODS = ["POST", "GET", "DELETE"];

export function mcpRoutes({ sessionKeys }: McpOptions): readonly Route[] {
  const options: LegacyOptions = { sessionKeys, opened: new Map(), running: new Map() };
  const door = async (gateway: Gateway, exchange: Exchange): Promise<void> => {
    send(exchange, await serve(gateway, exchange, options));
  };
  return [
    { prefix: "/mcp", methods: METHODS, door, malformed },
    { prefix: "/mcp/", methods: METHODS, door, malformed },
  ];
}

async function serve(gateway: Gateway, exchange: Exchange, options: LegacyOptions): Promise<Reply | null> {
  const endpoint = endpointOf(exchange.path);
  const meta = envelopeOf(exchange.body);
  const dialect = isModern(exchange.headers, meta) ? MODERN : { ...LEGACY, protocol: "" };
  const asked = askedOf(exchange, { interface: "mcp", protocol: dialect.protocol, meta });
  if (endpoint === null) return refused({ gateway, exchange, asked }, notThere());
  if (exchange.method !== "POST") return declined({ gateway, exchange, asked }, postOnly());
  const turn: Turn = { gateway, exchange, endpoint, dialect, asked, own: PRODUCT, stream: streamOf(exchange) };
  try {
    return await (dialect === MODERN ? serveModern(turn) : serveLegacy(turn, options));
  } catch (thrown) {
    return refused(turn, Refusal.from(thrown));
  }
}

/** What http.ts could not read: −32700 for JSON, and no id, for none was read. */
async function malformed(gateway: Gateway, exchange: Exchange, refusal: Refusal): Promise<void> {
  send(exchange, await refused({ gateway, exchange, asked: askedOf(exchange, { interface: "mcp" }) }, refusal));
}

function send(exchange: Exchange, reply: Reply | null): void {
  if (reply !== null) exchange.reply(reply.status, reply.headers, reply.body);
}

function postOnly(): Refusal {
  return new Refusal("invalid_request", "This path takes POST only.", { status: 405, rpc: { code: -32600 } });
}

/** Only for callers that say so: whoever takes anything gets JSON. */
function streamOf(exchange: Exchange): Turn["stream"] {
  const reads = exchange.headers["accept"]?.includes("text/event-stream") === true;
  return reads ? (headers) => exchange.stream(headers) : null;
}
