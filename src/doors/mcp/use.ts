/**
 * tools/call, in either era: one message becomes one CallRequest, and after this no line knows which era it was.
 * Progress opens an event stream when the first of it arrives; a call that is refused or quick stays plain JSON.
 */
import { callTool, refuse } from "../../call.ts";
import { isObject } from "../../json.ts";
import type { CallRequest, Json, JsonObject, ToolRef } from "../../model.ts";
import type { Exchange, SseStream } from "../exchange.ts";
import { toolRef } from "./endpoint.ts";
import { introduce } from "./endpoint.ts";
import { invalidParams, metaOf } from "./message.ts";
import type { Reply, Request } from "./message.ts";
import { refusalReply, useReply } from "./render.ts";
import type { Turn } from "./turn.ts";

/** What the era adds to a use: where its cancellation comes from, and whether progress can be shown. */
export type Using = { readonly signal: AbortSignal; readonly stream: (() => SseStream) | null };

export async function useTool(turn: Turn, request: Request, { signal, stream }: Using): Promise<Reply> {
  const { gateway, endpoint, asked, dialect } = turn;
  const { params, id } = request;
  const meta = metaOf(params);
  const read = readUse(params, meta, endpoint);
  if ("fault" in read) {
    const outcome = await refuse(gateway, asked, invalidParams(read.fault, 200));
    return outcome.ok ? never() : refusalReply(id, outcome);
  }
  const progress = follow(meta?.["progressToken"], stream);
  const call: CallRequest = { ...asked, ...read, signal, meta, onProgress: progress?.onProgress ?? null };
  const outcome = await callTool(gateway, call);
  progress?.end();
  const { serverInfo } = introduce(outcome.call.snapshot, endpoint, turn.own);
  return useReply({ id, dialect, serverInfo }, outcome);
}
