/** Does each part of the gateway work? */
import { health } from "../../view.ts";
import { procedure, router, settle } from "./procedure.ts";

export const healthRouter = router({
  check: procedure.query(({ ctx }) => settle(ctx, health(ctx.gateway, ctx.asked))),
});
