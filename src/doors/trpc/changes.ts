/** The log of changes, newest first, and the way back to an earlier revision. */
import { z } from "zod";
import { rollBack } from "../../change.ts";
import { listChanges } from "../../view.ts";
import { terms } from "./terms.ts";
import { procedure, router, settle } from "./procedure.ts";

const page = z.strictObject({
  first: z.int().min(1).max(1000).default(50),
  before: z.int().min(1).nullable().default(null),
});

export const changesRouter = router({
  list: procedure.input(page).query(({ ctx, input }) => settle(ctx, listChanges(ctx.gateway, ctx.asked, input))),
  rollback: procedure
    .input(z.strictObject({ to: z.int().min(0), ...terms }))
    .mutation(({ ctx, input: { to, ...on } }) => settle(ctx, rollBack(ctx.gateway, ctx.asked, { to }, on))),
});
