/**
 * Which era does an http instance speak, and on what terms? Modern is tried first, and anything but a modern answer
 * means legacy: no single error code is trusted to say so. What surprises: a legacy session is shared by all callers
 * of an instance; that leaks nothing, because no client capability is declared in it and nothing is asked through it.
 */
import { isObject } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";
import { Refusal } from "../refusal.ts";
import { PRODUCT } from "../version.ts";
import { HANDSHAKE_MS, LEGACY, MODERN, newExchange, within } from "./connection.ts";
import type { Exchange, Greeting } from "./connection.ts";
import type { Reply } from "./reply.ts";
import { isFinal, isSuccess, verdictOf } from "./status.ts";

/** One meeting with an instance; its identity tells a lost session from the one that replaced it. */
export type Meeting = { readonly greeting: Greeting; readonly session: string | null };

export type Post = (meeting: Meeting | null, exchange: Exchange) => Promise<Reply>;

const ANSWER_BYTES_MAX = 1 << 20;
const PROBE_MS = 5000;
const MODERN_STRANGER: Greeting = {
  era: "modern",
  protocol: MODERN,
  serverInfo: {},
  capabilities: {},
  instructions: null,
};

/** @throws Refusal upstream_* */
export async function meet(post: Post, tryModern: boolean): Promise<Meeting> {
  const greeting = tryModern ? await discover(post) : null;
  return greeting === null ? initialize(post) : { greeting, session: null };
}

async function discover(post: Post): Promise<Greeting | null> {
  const exchange = newExchange("server/discover", {}, ANSWER_BYTES_MAX);
  let reply: Reply;
  try {
    reply = await within(exchange, PROBE_MS, null, () => post({ greeting: MODERN_STRANGER, session: null }, exchange));
  } catch (thrown) {
    // silence and noise are no modern answer; only a server that cannot be reached ends the attempt
    if (thrown instanceof Refusal && thrown.code !== "upstream_unavailable") return null;
    throw thrown;
  }
  if (reply.kind === "status" && isFinal(reply.status)) throw verdictOf(reply.status).refusal;
  return reply.kind === "answer" && reply.answer.kind === "result" ? modernGreeting(reply.answer.result) : null;
}

async function initialize(post: Post): Promise<Meeting> {
  const exchange = newExchange("initialize", INITIALIZE, ANSWER_BYTES_MAX);
  const reply = await within(exchange, HANDSHAKE_MS, null, () => post(null, exchange)).catch(asUnavailable);
  if (reply.kind === "status") throw verdictOf(reply.status).refusal;
  if (reply.answer.kind === "error") throw new Refusal("upstream_error", "The server refuses to be initialized.");
  const greeting = legacyGreeting(reply.answer.result);
  const meeting = { greeting, session: sessionId(reply.headers["mcp-session-id"]) };
  const note = newExchange("notifications/initialized", {}, ANSWER_BYTES_MAX);
  const noted = await within(note, HANDSHAKE_MS, null, () => post(meeting, note)).catch(asUnavailable);
  if (!isSuccess(noted.status)) throw verdictOf(noted.status).refusal;
  return meeting;
}

/** Nothing is declared: a server may ask nothing of a gateway that serves many. */
export const INITIALIZE: JsonObject = {
  protocolVersion: LEGACY[0] as string,
  capabilities: {},
  clientInfo: PRODUCT,
};

/** @returns null unless the result is a modern server's */
export function modernGreeting(result: JsonObject): Greeting | null {
  const { supportedVersions, capabilities, instructions, _meta: meta, serverInfo } = result;
  if (!Array.isArray(supportedVersions) || !supportedVersions.includes(MODERN) || !isObject(capabilities)) return null;
  const named = isObject(meta) ? meta["io.modelcontextprotocol/serverInfo"] : undefined;
  return {
    era: "modern",
    protocol: MODERN,
    serverInfo: isObject(named) ? named : isObject(serverInfo) ? serverInfo : {},
    capabilities,
    instructions: textOrNull(instructions),
  };
}

/** @throws Refusal upstream_error */
export function legacyGreeting(result: JsonObject): Greeting {
  const { protocolVersion, capabilities, serverInfo, instructions } = result;
  if (typeof protocolVersion !== "string" || !LEGACY.includes(protocolVersion) || !isObject(capabilities)) {
    throw new Refusal("upstream_error", "The server speaks no known revision of MCP.");
  }
  return {
    era: "legacy",
    protocol: protocolVersion,
    serverInfo: isObject(serverInfo) ? serverInfo : {},
    capabilities,
    instructions: textOrNull(instructions),
  };
}

function textOrNull(value: Json | undefined): string | null {
  return typeof value === "string" ? value : null;
}

/** Visible ASCII only, as the specification says: it becomes a header of ours. */
function sessionId(value: string | string[] | undefined): string | null {
  if (value === undefined) return null;
  if (typeof value !== "string" || !/^[\x21-\x7e]{1,1024}$/.test(value)) {
    throw new Refusal("upstream_error", "The server gave an invalid session id.");
  }
  return value;
}

function asUnavailable(thrown: unknown): never {
  if (thrown instanceof Refusal && thrown.code === "upstream_timeout") {
    throw new Refusal("upstream_unavailable", "The server did not answer the handshake in time.");
  }
  throw thrown;
}
