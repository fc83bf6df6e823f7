/** The life of a policy beside its text: what it would decide, in shadow and on what was recorded. */
import { shadows } from "../../view-policy.ts";
import { procedure, settle } from "./procedure.ts";

export const lifeProcedures = {
  /** What the bundles in shadow said at this gateway since its start. */
  shadow: procedure.query(({ ctx }) => settle(ctx, shadows(ctx.gateway, ctx.asked))),
};
