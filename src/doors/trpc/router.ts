/** The admin API: one procedure per operation that `OPERATIONS` offers at this door. */
import { auditRouter } from "./audit.ts";
import { changesRouter } from "./changes.ts";
import { configRouter } from "./config.ts";
import { limitsRouter, policiesRouter, principalsRouter, rolesRouter, routesRouter } from "./entries.ts";
import { healthRouter } from "./health.ts";
import { keysRouter } from "./keys.ts";
import { router } from "./procedure.ts";
import { instancesRouter, serversRouter } from "./servers.ts";
import { sidecarsRouter, snapshotRouter } from "./snapshot.ts";
import { toolsRouter } from "./tools.ts";

export const adminRouter = router({
  keys: keysRouter,
  servers: serversRouter,
  instances: instancesRouter,
  routes: routesRouter,
  tools: toolsRouter,
  principals: principalsRouter,
  roles: rolesRouter,
  limits: limitsRouter,
  policies: policiesRouter,
  changes: changesRouter,
  audit: auditRouter,
  config: configRouter,
  health: healthRouter,
  snapshot: snapshotRouter,
  sidecars: sidecarsRouter,
});

/** For a typed client: `createTRPCClient<AdminRouter>`. */
export type AdminRouter = typeof adminRouter;
