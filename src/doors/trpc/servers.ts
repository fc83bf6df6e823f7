/** The registered servers as an operator sees them: versions, instances, discovery; never commands or secrets. */
import { inspectServers } from "../../view.ts";
import { procedure, router, settle } from "./procedure.ts";

export const serversRouter = router({
  list: procedure.query(({ ctx }) => settle(ctx, inspectServers(ctx.gateway, ctx.asked))),
});
