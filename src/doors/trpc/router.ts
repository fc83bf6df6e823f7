/** The admin API: one procedure per operation that `OPERATIONS` offers at this door. */
import { auditRouter } from "./audit.ts";
import { configRouter } from "./config.ts";
import { healthRouter } from "./health.ts";
import { keysRouter } from "./keys.ts";
import { router } from "./procedure.ts";
import { serversRouter } from "./servers.ts";
import { toolsRouter } from "./tools.ts";

export const adminRouter = router({
  keys: keysRouter,
  servers: serversRouter,
  tools: toolsRouter,
  audit: auditRouter,
  config: configRouter,
  health: healthRouter,
});

/** For a typed client: `createTRPCClient<AdminRouter>`. */
export type AdminRouter = typeof adminRouter;
