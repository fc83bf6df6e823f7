/** API keys: issued, listed, revoked, rotated. */
import { z } from "zod";
import { issueKey, revokeKey, rotateKey } from "../../change.ts";
import { listKeys } from "../../view.ts";
import { procedure, router, settle } from "./procedure.ts";

const name = z.string().min(1).max(128);
const key = z.strictObject({ id: z.string().min(1).max(32) });
const wish = z.union([
  z.strictObject({ principal: name }),
  z.strictObject({ agent: name, onBehalfOf: name.nullable().default(null) }),
  z.strictObject({ sidecar: z.string().regex(/^[a-z0-9][a-z0-9.-]{0,62}$/, "a name such as edge-1") }),
]);

export const keysRouter = router({
  list: procedure.query(({ ctx }) => settle(ctx, listKeys(ctx.gateway, ctx.asked))),
  issue: procedure.input(wish).mutation(({ ctx, input }) => settle(ctx, issueKey(ctx.gateway, ctx.asked, input))),
  revoke: procedure.input(key).mutation(({ ctx, input }) => settle(ctx, revokeKey(ctx.gateway, ctx.asked, input))),
  rotate: procedure.input(key).mutation(({ ctx, input }) => settle(ctx, rotateKey(ctx.gateway, ctx.asked, input))),
});
