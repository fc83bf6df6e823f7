/** The life of a policy beside its text: what it would decide, in shadow and on what was recorded, and the way back. */
import { z } from "zod";
import { rollBackPolicy } from "../../change.ts";
import { entrySchemas } from "../../config.ts";
import { policyImpact, policyText, shadows } from "../../view-policy.ts";
import { unusedRules, whatMayBeCalled, whoMayCall } from "../../view-effective.ts";
import { why } from "../../view-why.ts";
import { terms } from "./terms.ts";
import { procedure, settle } from "./procedure.ts";

/** As a record names it, or so much of its beginning that there is no other. */
const revision = z.string().regex(/^[0-9a-f]{8,64}$/, "a policy's revision, or its first eight digits or more");

const name = z.string().min(1).max(256);
const page = { first: z.int().min(1).max(1000).default(100), after: name.nullable().default(null) };

export const lifeProcedures = {
  /** What the bundles in shadow said at this gateway since its start. */
  shadow: procedure.query(({ ctx }) => settle(ctx, shadows(ctx.gateway, ctx.asked))),
  /** Of a revision that was in force here; without one, of what is. */
  text: procedure
    .input(z.strictObject({ revision: revision.nullable().default(null) }))
    .query(({ ctx, input }) => settle(ctx, policyText(ctx.gateway, ctx.asked, input.revision))),
  /** What a candidate would change. `since` in milliseconds since 1970; a week ago where it is null. */
  impact: procedure
    .input(z.strictObject({ value: entrySchemas.policies, since: z.number().min(0).nullable().default(null) }))
    .query(({ ctx, input }) => settle(ctx, policyImpact(ctx.gateway, ctx.asked, input))),
  /** Why policy decided so on a recorded call. */
  why: procedure
    .input(z.strictObject({ callId: z.uuid() }))
    .query(({ ctx, input }) => settle(ctx, why(ctx.gateway, ctx.asked, input.callId))),
  /** Who may call a tool, as far as arguments are in order. */
  who: procedure
    .input(z.strictObject({ tool: name, version: name.nullable().default(null), ...page }))
    .query(({ ctx, input }) => settle(ctx, whoMayCall(ctx.gateway, ctx.asked, input))),
  /** What a principal may call, as far as arguments are in order. */
  what: procedure
    .input(z.strictObject({ principal: name, onBehalfOf: name.nullable().default(null), ...page }))
    .query(({ ctx, input }) => settle(ctx, whatMayBeCalled(ctx.gateway, ctx.asked, input))),
  /** Rules that hold for nobody and nothing, of all that can be asked. */
  unused: procedure.query(({ ctx }) => settle(ctx, unusedRules(ctx.gateway, ctx.asked))),
  /** To a change, by its number, or to a policy, by its revision. */
  rollback: procedure
    .input(z.strictObject({ to: z.union([z.int().min(0), revision]), ...terms }))
    .mutation(({ ctx, input: { to, ...on } }) => settle(ctx, rollBackPolicy(ctx.gateway, ctx.asked, { to }, on))),
};
