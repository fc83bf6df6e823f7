/** The configuration in force, secrets masked; and reading the file again. */
import { reload } from "../../change.ts";
import { showConfig } from "../../view.ts";
import { procedure, router, settle } from "./procedure.ts";

export const configRouter = router({
  show: procedure.query(({ ctx }) => settle(ctx, showConfig(ctx.gateway, ctx.asked))),
  reload: procedure.mutation(({ ctx }) => settle(ctx, reload(ctx.gateway, ctx.asked))),
});
