/** The audit trail, newest first, a page at a time. */
import { z } from "zod";
import { readCalls } from "../../view.ts";
import { procedure, router, settle } from "./procedure.ts";

const text = z.string().min(1).max(256);
const filter = z.strictObject({
  principal: text.optional(),
  tool: text.optional(),
  server: text.optional(),
  outcome: text.optional(),
  callId: text.optional(),
});
const page = z.strictObject({
  filter: filter.default({}),
  first: z.int().min(1).max(1000).default(50),
  after: z.string().max(512).nullable().default(null),
});

export const auditRouter = router({
  calls: procedure.input(page).query(({ ctx, input }) => settle(ctx, readCalls(ctx.gateway, ctx.asked, input))),
});
