/** The audit trail: a page at a time, in numbers, and as it is written; and its index built anew. */
import { z } from "zod";
import { STAT_FIELDS } from "../../audit/projection-stats.ts";
import { reindexAudit } from "../../change.ts";
import { followCalls, readCalls, readCallStats } from "../../view-calls.ts";
import { events, procedure, router, settle } from "./procedure.ts";

const text = z.string().min(1).max(256);
const epochMs = z.number().min(0);
const filter = z.strictObject({
  callId: text.exactOptional(),
  writer: text.exactOptional(),
  principal: text.exactOptional(),
  onBehalfOf: text.exactOptional(),
  tenant: text.exactOptional(),
  interface: text.exactOptional(),
  operation: text.exactOptional(),
  tool: text.exactOptional(),
  server: text.exactOptional(),
  version: text.exactOptional(),
  decision: z.enum(["allow", "deny"]).exactOptional(),
  outcome: z.enum(["success", "error", "refused", "unknown"]).exactOptional(),
  errorType: text.exactOptional(),
  reason: text.exactOptional(),
  policyRevision: text.exactOptional(),
  traceId: z
    .string()
    .regex(/^[0-9a-f]{32}$/, "32 hex digits")
    .exactOptional(),
  fromMs: epochMs.exactOptional(),
  toMs: epochMs.exactOptional(),
});
const page = z.strictObject({
  filter: filter.default({}),
  first: z.int().min(1).max(1000).default(50),
  after: z.string().max(1024).nullable().default(null),
  order: z.enum(["newest", "oldest"]).default("newest"),
  /** Count them all, too. */
  total: z.boolean().default(false),
});
const stats = z.strictObject({
  filter: filter.default({}),
  by: z.array(z.enum(STAT_FIELDS)).max(4).default([]),
  bucketMs: z.int().min(1000).nullable().default(null),
  first: z.int().min(1).max(1000).default(100),
});

export const auditRouter = router({
  calls: procedure.input(page).query(async ({ ctx, input: { total, ...query } }) => {
    const { total: count, ...shown } = await settle(ctx, readCalls(ctx.gateway, ctx.asked, query));
    return { ...shown, totalCount: total ? await count() : null };
  }),
  stats: procedure
    .input(stats)
    .query(({ ctx, input: { by, ...query } }) =>
      settle(ctx, readCallStats(ctx.gateway, ctx.asked, { ...query, by: [...new Set(by)] })),
    ),
  /** Calls as they end. */
  follow: procedure
    .input(z.strictObject({ filter: filter.default({}) }))
    .subscription(async ({ ctx, input }) =>
      events(ctx, await settle(ctx, followCalls(ctx.gateway, ctx.asked, input.filter))),
    ),
  reindex: procedure.mutation(({ ctx }) => settle(ctx, reindexAudit(ctx.gateway, ctx.asked))),
});
