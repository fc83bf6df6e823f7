/** What sidecars follow, what they say of it, and who they are. */
import { z } from "zod";
import { followSnapshot, listSidecars, reportSnapshot } from "../../view-sidecars.ts";
import { QUARANTINED_MAX, TOOL_CHARACTERS_MAX } from "../../snapshot/follower.ts";
import { events, procedure, router, settle } from "./procedure.ts";

const revision = z.string().regex(/^sha256:[0-9a-f]{64}$/, "a digest");
const word = z.string().min(1).max(128);
const server = z.strictObject({ id: word, state: word, tools: z.int().min(0) });
const tool = z.string().min(1).max(TOOL_CHARACTERS_MAX);
const quarantined = z.strictObject({ server: word, version: word, tool, digest: revision });

export const snapshotRouter = router({
  follow: procedure
    .input(
      z.strictObject({
        have: revision.nullable(),
        // an older sidecar does not say
        changes: z.int().min(0).optional(),
        keys: z.int().min(0).optional(),
        formats: z.array(z.int().min(1)).min(1).max(8),
      }),
    )
    .subscription(async ({ ctx, input }) =>
      events(ctx, await settle(ctx, followSnapshot(ctx.gateway, ctx.asked, input))),
    ),
  report: procedure
    .input(
      z.strictObject({
        revision,
        accepted: z.boolean(),
        reason: z.string().max(1000).nullable(),
        // of these two an older sidecar does not say
        inForce: revision.nullish(),
        version: word,
        servers: z.array(server).max(1000),
        quarantined: z.array(quarantined).max(QUARANTINED_MAX).default([]),
      }),
    )
    .mutation(({ ctx, input }) => settle(ctx, reportSnapshot(ctx.gateway, ctx.asked, input))),
});

export const sidecarsRouter = router({
  list: procedure.query(({ ctx }) => settle(ctx, listSidecars(ctx.gateway, ctx.asked))),
});
