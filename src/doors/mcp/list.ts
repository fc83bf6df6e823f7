/**
 * tools/list: the tools that policy lets this principal see, at `/mcp` under their gateway names, else as the server
 * gave them. Which tools is decided for every request; only each definition's text is kept, since turning 300 of
 * them into JSON again cost more than all the rest.
 */
import type { Tool } from "../../model.ts";
import { page } from "../page.ts";
import { introduce } from "./endpoint.ts";
import { invalidParams } from "./message.ts";
import type { Reply, Request } from "./message.ts";
import { refusalReply, resultReply } from "./render.ts";
import { refused, visible } from "./turn.ts";
import type { Turn } from "./turn.ts";

const PAGE_TOOLS = 500;
const BAD_CURSOR = "The cursor is not one of ours.";

export async function listPage(turn: Turn, { id, params }: Request): Promise<Reply> {
  const { cursor } = params;
  if (cursor !== undefined && typeof cursor !== "string") throw invalidParams(BAD_CURSOR, 200);
  const outcome = await visible(turn);
  if (!outcome.ok) return refusalReply(id, outcome);
  const { tools } = outcome.value;
  const slice = page(tools, (tool) => tool.id, { after: cursor ?? null, first: PAGE_TOOLS });
  if (slice === null) return refused(turn, invalidParams(BAD_CURSOR, 200), id);
  const text = turn.endpoint.server === null ? gatewayText : ownText;
  const { serverInfo } = introduce(outcome.value, turn.endpoint, turn.own);
  const rest = JSON.stringify({
    ...(slice.next === null ? {} : { nextCursor: slice.next }),
    ...turn.dialect.cacheable(serverInfo),
  });
  const result = `{"tools":[${slice.items.map(text).join(",")}]${rest === "{}" ? "" : `,${rest.slice(1, -1)}`}}`;
  return resultReply(id, result, outcome.call);
}

const ownTexts = new WeakMap<Tool, string>();
const gatewayTexts = new WeakMap<Tool, string>();

function ownText(tool: Tool): string {
  return kept(ownTexts, tool, () => JSON.stringify(tool.definition));
}

function gatewayText(tool: Tool): string {
  return kept(gatewayTexts, tool, () => JSON.stringify({ ...tool.definition, name: tool.name }));
}

function kept(texts: WeakMap<Tool, string>, tool: Tool, make: () => string): string {
  const known = texts.get(tool);
  if (known !== undefined) return known;
  const text = make();
  texts.set(tool, text);
  return text;
}
