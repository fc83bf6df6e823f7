/**
 * What does an instance offer? Its greeting and every page of its tools, as it said them, unknown fields kept. What
 * surprises: an empty `nextCursor` is not the end, only its absence is; and a list has bounds, since the server decides
 * how long it goes on.
 */
import { isObject } from "../json.ts";
import type { Discovery, Json, JsonObject } from "../model.ts";
import { Refusal } from "../refusal.ts";
import { ask, newExchange, patiently, within } from "./connection.ts";
import type { Connection, Greeting } from "./connection.ts";
import { headerParameters } from "./header-parameters.ts";

/** Two handshakes, the second in the other era, and a slow start. */
const OPEN_MS = 30_000;
const PAGES_MAX = 100;
const TOOLS_MAX = 5000;
/** All pages together: reading them is work that calls wait for. */
const LIST_BYTES_MAX = 4 * 1024 * 1024;
const METHOD_NOT_FOUND = -32601;

/** @throws Refusal upstream_*, cancelled */
export async function discover(connection: Connection, bytesMax: number, signal: AbortSignal): Promise<Discovery> {
  const opening = newExchange("open", {}, 0);
  const greeting = await within(opening, OPEN_MS, signal, () => patiently(opening, connection.open()));
  const tools = await listTools(connection, greeting, Math.min(bytesMax, LIST_BYTES_MAX), signal);
  // a modern client has to drop what breaks the rules of header parameters; a legacy one knows no such rules
  const usable = greeting.era === "modern" ? tools.filter((tool) => headerParameters(tool) !== null) : tools;
  return { ...greeting, tools: usable };
}

async function listTools(
  connection: Connection,
  greeting: Greeting,
  bytesMax: number,
  signal: AbortSignal,
): Promise<readonly JsonObject[]> {
  const tools: JsonObject[] = [];
  const cursors = new Set<string>();
  let cursor: string | null = null;
  let bytes = 0;
  for (let page = 0; page < PAGES_MAX; page++) {
    const exchange = newExchange("tools/list", cursor === null ? {} : { cursor }, bytesMax - bytes);
    const answer = await ask(connection, exchange, signal);
    if (answer.kind === "error") {
      if (answer.error.code === METHOD_NOT_FOUND && !isObject(greeting.capabilities["tools"])) return [];
      throw broken("The server refuses to list its tools.");
    }
    bytes += exchange.bytes;
    addTools(tools, answer.result["tools"]);
    if (tools.length > TOOLS_MAX) break;
    const next: Json | undefined = answer.result["nextCursor"];
    if (next === undefined || next === null) return tools;
    if (typeof next !== "string" || cursors.has(next)) throw broken("The server's list of tools does not end.");
    cursors.add(next);
    cursor = next;
    if (bytes >= bytesMax) break;
  }
  throw broken("The server's list of tools is too long.");
}

function addTools(tools: JsonObject[], page: Json | undefined): void {
  if (!Array.isArray(page)) throw broken("The server's list of tools is not a list.");
  for (const tool of page as readonly Json[]) {
    if (!isObject(tool) || typeof tool["name"] !== "string" || tool["name"] === "")
      throw broken("The server lists something that is no tool.");
    tools.push(tool);
  }
}

function broken(message: string): Refusal {
  return new Refusal("upstream_error", message);
}
