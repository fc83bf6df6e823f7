/** What does the fixture answer? Both eras' methods over one state, apart from how the bytes travel. */
import { DEFINITIONS, runTool } from "./fixture-tools.ts";
import type { Definition, Fields, Handler, Json, Outcome } from "./fixture-tools.ts";

export const MODERN = "2026-07-28";
const LEGACY = new Set(["2025-11-25", "2025-06-18", "2025-03-26"]);
const SERVER_INFO = { name: "fixture", version: "1.0.0", odd: true };
const CAPABILITIES = { tools: { listChanged: true }, odd: { kept: 1 } };

export type Rpc = { readonly id?: string | number; readonly method: string; readonly params: Fields };
/** Every tools/call that arrived. */
export type Arrival = {
  readonly name: string;
  readonly arguments: Fields;
  readonly meta: Fields;
  readonly headers: { readonly [name: string]: unknown };
};
export type State = {
  readonly era: "legacy" | "modern" | "both";
  /** Tools of one page of tools/list; all on one page if null. */
  readonly pageSize: number | null;
  /** `loop`: the same cursor for ever; `endless`: always a new one. */
  readonly cursors: "honest" | "loop" | "endless";
  readonly protocol: string;
  tools: readonly Definition[];
  /** By name, before the fixture's own. */
  readonly handlers: { readonly [name: string]: Handler };
  readonly arrivals: Arrival[];
  /** Names of tools whose call was cancelled. */
  readonly cancelled: string[];
  /** What clients answered to the server's own requests. */
  readonly replies: unknown[];
  handshakes: number;
};
export type Way = {
  readonly modern: boolean;
  readonly headers: { readonly [name: string]: unknown };
  readonly notify: (method: string, params: unknown) => void;
  readonly ask: (id: string, method: string) => void;
  readonly signal: AbortSignal;
};
export type StateOptions = Partial<Pick<State, "era" | "pageSize" | "cursors" | "protocol" | "tools" | "handlers">>;

export function newState(options: StateOptions): State {
  return {
    era: options.era ?? "both",
    pageSize: options.pageSize ?? null,
    cursors: options.cursors ?? "honest",
    protocol: options.protocol ?? "2025-11-25",
    tools: options.tools ?? DEFINITIONS,
    handlers: options.handlers ?? {},
    arrivals: [],
    cancelled: [],
    replies: [],
    handshakes: 0,
  };
}

export async function answer(state: State, rpc: Rpc, way: Way): Promise<Outcome> {
  switch (rpc.method) {
    case "initialize":
      return state.era === "modern" ? unknown() : initialize(state, rpc.params);
    case "server/discover":
      if (state.era === "legacy") return unknown();
      state.handshakes++;
      return {
        result: complete({
          supportedVersions: [MODERN],
          capabilities: CAPABILITIES,
          instructions: "Be kind.",
          ttlMs: 0,
          cacheScope: "public",
        }),
      };
    case "ping":
      return way.modern ? unknown() : { result: {} };
    case "tools/list":
      return list(state, rpc.params["cursor"], way.modern);
    case "tools/call":
      return call(state, rpc, way);
    default:
      return unknown();
  }
}

function initialize(state: State, params: Fields): Outcome {
  const wanted = params["protocolVersion"];
  const protocolVersion =
    typeof wanted === "string" && LEGACY.has(wanted) && state.protocol === "2025-11-25" ? wanted : state.protocol;
  state.handshakes++;
  return { result: { protocolVersion, capabilities: CAPABILITIES, serverInfo: SERVER_INFO, instructions: "Be kind." } };
}

function list(state: State, cursor: Json | undefined, modern: boolean): Outcome {
  const size = state.pageSize ?? state.tools.length;
  // the second page's cursor is empty on purpose: only an absent one is the end
  const from = cursor === undefined ? 0 : cursor === "" ? size : Number(cursor);
  if (!Number.isSafeInteger(from)) return { error: { code: -32602, message: "Invalid cursor" } };
  const tools = state.tools.slice(from, from + size);
  const next = from + size < state.tools.length ? (from === 0 ? "" : String(from + size)) : undefined;
  const nextCursor = state.cursors === "loop" ? "0" : state.cursors === "endless" ? String(from + 1) : next;
  const page = { tools: state.cursors === "endless" ? [] : tools, ...(nextCursor === undefined ? {} : { nextCursor }) };
  return { result: modern ? complete({ ...page, ttlMs: 0, cacheScope: "public" }) : page };
}

async function call(state: State, rpc: Rpc, way: Way): Promise<Outcome> {
  const {
    name,
    arguments: args = {},
    _meta: meta = {},
  } = rpc.params as { name: string; arguments?: Fields; _meta?: Fields };
  state.arrivals.push({ name, arguments: args, meta, headers: way.headers });
  way.signal.addEventListener("abort", () => state.cancelled.push(name), { once: true });
  const turn = {
    id: rpc.id ?? 0,
    args,
    progressToken: meta["progressToken"],
    notify: way.notify,
    ask: way.ask,
    replies: state.replies,
    signal: way.signal,
  };
  const outcome = await (state.handlers[name]?.(turn) ?? runTool(name, turn));
  if (!way.modern || !("result" in outcome)) return outcome;
  return { result: complete(outcome.result as { readonly [key: string]: unknown }) };
}

/** Results of the modern era say so, and who made them. */
function complete(result: { readonly [key: string]: unknown }): unknown {
  return { resultType: "complete", ...result, _meta: { "io.modelcontextprotocol/serverInfo": SERVER_INFO } };
}

function unknown(): Outcome {
  return { error: { code: -32601, message: "Method not found" } };
}
