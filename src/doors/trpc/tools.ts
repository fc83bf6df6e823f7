/** The catalogue, one call of a tool, and the acceptance of a changed definition. */
import { z } from "zod";
import { callTool } from "../../call.ts";
import { approveTool, putEntry } from "../../change.ts";
import { entrySchemas } from "../../config.ts";
import { isObject } from "../../json.ts";
import { limitsOf } from "../../limits/charge.ts";
import type { CallRequest, Json, JsonObject, Snapshot, Tool } from "../../model.ts";
import { diffServer, inspectTools, listTools } from "../../view.ts";
import { withoutUpstreamError } from "../render.ts";
import { terms } from "./terms.ts";
import { procedure, router, settle } from "./procedure.ts";
import type { Context } from "./procedure.ts";

const name = z.string().min(1).max(256);
const version = z.string().min(1).max(64).nullable().default(null);
const digest = z
  .string()
  .regex(/^sha256:[0-9a-f]{64}$/, "a digest")
  .nullable()
  .default(null);
const filter = z.strictObject({
  server: name.nullable().default(null),
  version,
  permission: name.nullable().default(null),
  tag: name.nullable().default(null),
});
// the value was parsed strictly at the listener: here only its kind is left to check
const args = z.custom<JsonObject>((value) => isObject(value as Json), "expected an object");

/** A tool by the name that its server gives it. */
const one = { server: name, version: z.string().min(1).max(64), tool: name };

export const toolsRouter = router({
  list: procedure.input(filter).query(async ({ ctx, input }) => {
    const { tools, snapshot } = await settle(ctx, listTools(ctx.gateway, ctx.asked, input));
    return { tools: tools.map((tool) => row(snapshot, tool)) };
  }),
  inspect: procedure.input(filter).query(async ({ ctx, input }) => {
    const { tools, snapshot } = await settle(ctx, inspectTools(ctx.gateway, ctx.asked, input));
    return { tools: tools.map((tool) => row(snapshot, tool)) };
  }),
  /** Between two versions of a server; without them, what of it awaits approval or is gone. */
  diff: procedure
    .input(z.strictObject({ server: name, between: z.tuple([one.version, one.version]).nullable().default(null) }))
    .query(({ ctx, input }) => settle(ctx, diffServer(ctx.gateway, ctx.asked, input))),
  callTool: procedure
    .input(z.strictObject({ tool: name, version, arguments: args }))
    .mutation(({ ctx, input }) => call(ctx, input)),
  /** Settings of one tool, where the file has none: its permissions, tags, limits, deadline, and whether it is idempotent. */
  put: procedure
    .input(z.strictObject({ ...one, settings: entrySchemas.tools, ...terms }))
    .mutation(({ ctx, input: { server, version: which, tool, settings, ...on } }) => {
      const wish = { section: "tools" as const, name: `${server}@${which}/${tool}`, value: settings };
      return settle(ctx, putEntry(ctx.gateway, ctx.asked, wish, on));
    }),
  remove: procedure
    .input(z.strictObject({ ...one, ...terms }))
    .mutation(({ ctx, input: { server, version: which, tool, ...on } }) => {
      const wish = { section: "tools" as const, name: `${server}@${which}/${tool}`, value: null };
      return settle(ctx, putEntry(ctx.gateway, ctx.asked, wish, on));
    }),
  approve: procedure
    .input(z.strictObject({ tool: name, version, digest }))
    .mutation(({ ctx, input }) => settle(ctx, approveTool(ctx.gateway, ctx.asked, input))),
});

type Asking = { readonly tool: string; readonly version: string | null; readonly arguments: JsonObject };

async function call(ctx: Context, asking: Asking): Promise<JsonObject> {
  const request: CallRequest = {
    ...ctx.asked,
    tool: { kind: "name", name: asking.tool, version: asking.version },
    arguments: asking.arguments,
    meta: null,
    onProgress: null,
  };
  const outcome = await callTool(ctx.gateway, request);
  return settle(ctx, Promise.resolve(withoutUpstreamError(outcome)));
}

function row(snapshot: Snapshot, tool: Tool) {
  const { id, name, server, version, upstreamName, definition, digest, quarantined, stale } = tool;
  const { permissions, tags, annotations, idempotent, timeoutMs } = tool;
  const limits = limitsOf(snapshot, tool).map((one) => ({ name: one.name, limit: one.limit, windowMs: one.windowMs }));
  const identity = { id, name, server, version, upstreamName, digest };
  return { ...identity, definition, quarantined, stale, permissions, tags, annotations, idempotent, timeoutMs, limits };
}
