/** The audit trail, newest first, a page at a time. */
import { z } from "zod";
import { readCalls } from "../../view.ts";
import { procedure, router, settle } from "./procedure.ts";

const text = z.string().min(1).max(256);
const epochMs = z.number().min(0);
const filter = z.strictObject({
  callId: text.exactOptional(),
  writer: text.exactOptional(),
  principal: text.exactOptional(),
  onBehalfOf: text.exactOptional(),
  interface: text.exactOptional(),
  operation: text.exactOptional(),
  tool: text.exactOptional(),
  server: text.exactOptional(),
  decision: z.enum(["allow", "deny"]).exactOptional(),
  outcome: z.enum(["success", "error", "refused", "unknown"]).exactOptional(),
  errorType: text.exactOptional(),
  fromMs: epochMs.exactOptional(),
  toMs: epochMs.exactOptional(),
});
const page = z.strictObject({
  filter: filter.default({}),
  first: z.int().min(1).max(1000).default(50),
  after: z.string().max(16_384).nullable().default(null),
});

export const auditRouter = router({
  /** A page may come back short, even empty, and still have a next one. */
  calls: procedure.input(page).query(({ ctx, input }) => settle(ctx, readCalls(ctx.gateway, ctx.asked, input))),
});
