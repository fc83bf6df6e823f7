/**
 * tools/call, in either era: one message becomes one CallRequest, and after this no line knows which era it was.
 * Progress opens an event stream when the first of it arrives; a call that is refused, or quiet, is answered as JSON.
 */
import { callTool } from "../../call.ts";
import { isObject } from "../../json.ts";
import type { CallRequest, Json, JsonObject } from "../../model.ts";
import type { SseStream } from "../exchange.ts";
import { callHeaders } from "../render.ts";
import { introduce, toolRef } from "./endpoint.ts";
import type { Endpoint } from "./endpoint.ts";
import { invalidParams, metaOf } from "./message.ts";
import type { Reply, Request } from "./message.ts";
import { useReply } from "./render.ts";
import { isThere, notThere, refused } from "./turn.ts";
import type { Turn } from "./turn.ts";

const VERSION_KEY = "portcullis/version";

export async function useTool(
  turn: Turn,
  request: Request,
  use: Use = readUse(request.params, turn.endpoint),
): Promise<Reply | null> {
  const { gateway, endpoint, asked, dialect } = turn;
  const { id } = request;
  // where servers are hidden, one that is not there looks like one that has no such tool
  if (!isThere(turn) && gateway.snapshot().settings.disclosure === "open") return refused(turn, notThere(), id);
  const progress = openProgress(use.meta?.["progressToken"], turn.stream);
  const onProgress = progress?.onProgress ?? null;
  const outcome = await callTool(gateway, { ...asked, ...use, requestId: String(id), onProgress });
  // the version that answered, whoever chose it
  const version = outcome.call.tool?.version ?? endpoint.version;
  const { serverInfo } = introduce(outcome.call, { ...endpoint, version }, turn.own);
  const reply = useReply({ id, dialect, serverInfo, own: turn.own }, outcome);
  const isCancelled = !outcome.ok && outcome.refusal.code === "cancelled";
  return progress?.finish(isCancelled ? null : reply.body) === true ? null : reply;
}

type Use = Pick<CallRequest, "tool" | "arguments" | "meta">;

/** @throws Refusal invalid_request with −32602 */
export function readUse(params: JsonObject, endpoint: Endpoint): Use {
  const { name, arguments: args = {} } = params;
  if (typeof name !== "string") throw invalidParams("params.name must be a string.", 200);
  if (!isObject(args)) throw invalidParams("params.arguments must be an object.", 200);
  const meta = metaOf(params);
  const version = meta?.[VERSION_KEY];
  if (version !== undefined && typeof version !== "string")
    throw invalidParams(`params._meta["${VERSION_KEY}"] must be a string.`, 200);
  return { tool: toolRef(endpoint, name, version ?? null), arguments: args, meta };
}

type Progress = {
  readonly onProgress: NonNullable<CallRequest["onProgress"]>;
  /** Ends the stream, if one was opened, with this message or, for a cancelled call, without one; says whether it was. */
  readonly finish: (body: string | null) => boolean;
};

/** Null where the caller gave no token or cannot read a stream. */
export function openProgress(token: Json | undefined, open: Turn["stream"]): Progress | null {
  if (open === null || (typeof token !== "string" && !Number.isSafeInteger(token))) return null;
  let stream: SseStream | null = null;
  let isFinished = false;
  return {
    onProgress: (params, call) => {
      // an upstream's late progress must not follow the answer
      if (isFinished) return;
      stream ??= open(callHeaders(call));
      stream.send(
        JSON.stringify({
          jsonrpc: "2.0",
          method: "notifications/progress",
          params: { ...params, progressToken: token },
        }),
      );
    },
    finish: (body) => {
      isFinished = true;
      if (body !== null) stream?.send(body);
      stream?.close();
      return stream !== null;
    },
  };
}
