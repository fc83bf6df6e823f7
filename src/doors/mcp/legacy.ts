/**
 * MCP 2025-03-26, 2025-06-18 and 2025-11-25: a handshake, a session id, notifications, and in the first of them
 * batches. The gateway keeps no session: the id is sealed and tells what it must (session.ts). A lost connection is no
 * cancellation here; `notifications/cancelled` is, so calls in flight are known by session and request id.
 */
import { isObject } from "../../json.ts";
import type { Json } from "../../model.ts";
import { Refusal } from "../../refusal.ts";
import { identify } from "../../view.ts";
import { askedOf } from "../exchange.ts";
import { introduce } from "./endpoint.ts";
import { listPage } from "./list.ts";
import { idOf, invalidParams, metaOf, methodNotFound, notRpc, readMessage, versionNotSupported } from "./message.ts";
import type { Message, Reply, Request } from "./message.ts";
import { accepted, LEGACY, refusalReply, resultReply } from "./render.ts";
import { ownerOf, reopenSession, sealSession, SESSION_MS } from "./session.ts";
import type { Opened, Session, SessionKeys } from "./session.ts";
import { declined, enter, refused } from "./turn.ts";
import type { Handlers, Turn } from "./turn.ts";
import { useTool } from "./use.ts";

const NEWEST = "2025-11-25";
export const VERSIONS: ReadonlySet<string> = new Set([NEWEST, "2025-06-18", "2025-03-26"]);
/** The specification's word for who says nothing; also the one revision with batches. */
const UNSAID = "2025-03-26";
const BATCH_MAX = 100;
/** Calls beyond this many cannot be cancelled by a notification; each still has its deadline. */
const RUNNING_MAX = 10_000;

/** Calls in flight here, by session and request id. */
export type Running = Map<string, AbortController>;
export type LegacyOptions = { readonly sessionKeys: SessionKeys; readonly opened: Opened; readonly running: Running };

const HANDLERS: Handlers = { initialize: refuseInBatch, ping, "tools/list": listPage, "tools/call": useTool };

type Legacy = { readonly turn: Turn; readonly running: Running; readonly sessionId: string | null };

/** `opened.dialect` holds until the revision is known. */
export async function serveLegacy(opened: Turn, options: LegacyOptions): Promise<Reply | null> {
  const { body, headers } = opened.exchange;
  const named = headers["mcp-protocol-version"];
  if (named !== undefined && !VERSIONS.has(named)) return declined(opened, versionNotSupported(named));
  if (isObject(body) && body["method"] === "initialize") return initialize(opened, options);
  const sessionId = headers["mcp-session-id"] ?? null;
  const resumed = sessionId === null ? null : await resume(opened, options, sessionId);
  if (resumed !== null && "status" in resumed) return resumed;
  if (resumed !== null && named !== undefined && named !== resumed.protocol) {
    throw notRpc("MCP-Protocol-Version differs from what was negotiated.");
  }
  const protocol = resumed?.protocol ?? named ?? UNSAID;
  const turn: Turn = { ...opened, dialect: { ...LEGACY, protocol }, asked: { ...opened.asked, protocol } };
  const legacy: Legacy = { turn, running: options.running, sessionId };
  return Array.isArray(body) ? batch(legacy, body as readonly Json[]) : one(legacy, body);
}

async function initialize(opened: Turn, { sessionKeys }: LegacyOptions): Promise<Reply> {
  const message = readMessage(opened.exchange.body);
  if (message.kind !== "request") throw notRpc("initialize is a request.");
  const wanted = message.params["protocolVersion"];
  if (typeof wanted !== "string") throw invalidParams("params.protocolVersion must be a string.", 200);
  const protocol = VERSIONS.has(wanted) ? wanted : NEWEST;
  const outcome = await enter({ ...opened, asked: { ...opened.asked, protocol } });
  if (!outcome.ok) return refusalReply(message.id, outcome);
  const { principal } = outcome.value;
  const { clock, random } = opened.gateway.ports;
  const { serverInfo, instructions } = introduce(outcome.value, opened.endpoint, opened.own);
  const result = {
    protocolVersion: protocol,
    capabilities: { tools: {} },
    serverInfo,
    ...(instructions === null ? {} : { instructions }),
  };
  const expiresMs = Math.ceil(clock.nowMs()) + SESSION_MS;
  const sessionId = sealSession(sessionKeys, { owner: ownerOf(principal), protocol, expiresMs }, random);
  const reply = resultReply(message.id, JSON.stringify(result), outcome.call);
  return { ...reply, headers: { ...reply.headers, "mcp-session-id": sessionId } };
}

/** Before anything is done in its name: expired, sealed by nobody we know, or another principal's is no session. */
async function resume(turn: Turn, { sessionKeys, opened }: LegacyOptions, sessionId: string): Promise<Session | Reply> {
  const outcome = await identify(turn.gateway, turn.asked);
  if (!outcome.ok) return refusalReply(idOf(turn.exchange.body), outcome);
  const session = reopenSession(sessionKeys, opened, sessionId);
  const isAlive = session !== null && session.expiresMs > turn.gateway.ports.clock.nowMs();
  if (isAlive && session.owner === ownerOf(outcome.value.principal)) return session;
  return refused(
    turn,
    new Refusal("invalid_request", "There is no such session.", { status: 404, rpc: { code: -32600 } }),
  );
}

/** In order, one after another: each element is a use of its own, with its own decision, limits and record. */
async function batch(legacy: Legacy, elements: readonly Json[]): Promise<Reply> {
  const { turn } = legacy;
  if (turn.dialect.protocol !== UNSAID) throw notRpc("This revision of the protocol has no batches.");
  if (elements.length === 0 || elements.length > BATCH_MAX) throw notRpc(`A batch holds 1 to ${BATCH_MAX} messages.`);
  const outcome = await identify(turn.gateway, turn.asked);
  if (!outcome.ok) return refusalReply(null, outcome);
  const bodies: string[] = [];
  for (const element of elements) {
    const own: Legacy = { ...legacy, turn: { ...turn, exchange: { ...turn.exchange, body: element }, stream: null } };
    const reply = await one(own, element);
    if (reply !== null && reply.body !== "") bodies.push(reply.body);
  }
  if (bodies.length === 0) return accepted(outcome.call);
  return { status: 200, headers: { "content-type": "application/json" }, body: `[${bodies.join(",")}]` };
}

async function one(legacy: Legacy, element: Json | undefined): Promise<Reply | null> {
  try {
    return await answer(legacy, readMessage(element));
  } catch (thrown) {
    return refused(legacy.turn, Refusal.from(thrown));
  }
}

async function answer({ turn, running, sessionId }: Legacy, message: Message): Promise<Reply | null> {
  const { exchange, dialect } = turn;
  const abort = new AbortController();
  const meta = message.kind === "request" ? metaOf(message.params) : null;
  const asked = { ...askedOf(exchange, { interface: "mcp", protocol: dialect.protocol, meta }), signal: abort.signal };
  const own: Turn = { ...turn, asked };
  if (message.kind !== "request") {
    const outcome = await identify(turn.gateway, asked);
    if (!outcome.ok) return refusalReply(null, outcome);
    if (message.kind === "notification" && message.method === "notifications/cancelled" && sessionId !== null) {
      running.get(runningKey(sessionId, message.params["requestId"]))?.abort();
    }
    return accepted(outcome.call);
  }
  const handler = Object.hasOwn(HANDLERS, message.method) ? HANDLERS[message.method] : undefined;
  if (handler === undefined) return declined(own, methodNotFound(200));
  if (sessionId === null || message.method !== "tools/call" || running.size >= RUNNING_MAX)
    return handler(own, message);
  const key = runningKey(sessionId, message.id);
  running.set(key, abort);
  try {
    return await handler(own, message);
  } finally {
    // a second call under the same id, which clients must not make, keeps its own entry
    if (running.get(key) === abort) running.delete(key);
  }
}

/** The session id is one principal's own, so nobody cancels another's call; the id's type is part of the id. */
function runningKey(sessionId: string, id: Json | undefined): string {
  return `${sessionId} ${JSON.stringify(id)}`;
}

async function ping(turn: Turn, { id }: Request): Promise<Reply> {
  const outcome = await enter(turn);
  return outcome.ok ? resultReply(id, "{}", outcome.call) : refusalReply(id, outcome);
}

async function refuseInBatch(): Promise<never> {
  throw notRpc("initialize cannot be part of a batch.");
}
