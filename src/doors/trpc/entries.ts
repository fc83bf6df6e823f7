/**
 * What may be changed beside the file: principals, roles, limits, policies, one procedure each to list, put and remove. Every
 * change may name the revision that it was made against, and may be tried without being made.
 */
import { z } from "zod";
import { putEntry, rollBackRoute } from "../../change.ts";
import type { EntryWish } from "../../change.ts";
import { ENFORCED, shadowName } from "../../config-bundle.ts";
import { entrySchemas } from "../../config.ts";
import { listEntries, listPoliciesAt } from "../../view.ts";
import { lifeProcedures } from "./policy-life.ts";
import { procedure, router, settle } from "./procedure.ts";
import { terms } from "./terms.ts";

const name = z.string().min(1).max(128);
const removal = z.strictObject({ name, ...terms });

export const principalsRouter = router({
  list: procedure.query(({ ctx }) => settle(ctx, listEntries(ctx.gateway, ctx.asked, "principals"))),
  put: procedure
    .input(z.strictObject({ principal: entrySchemas.principals, ...terms }))
    .mutation(({ ctx, input: { principal, ...on } }) =>
      settle(
        ctx,
        putEntry(ctx.gateway, ctx.asked, { section: "principals", name: principal.id, value: principal }, on),
      ),
    ),
  remove: removing("principals"),
});

export const rolesRouter = router({
  list: procedure.query(({ ctx }) => settle(ctx, listEntries(ctx.gateway, ctx.asked, "roles"))),
  put: procedure
    .input(z.strictObject({ role: name, permissions: entrySchemas.roles, ...terms }))
    .mutation(({ ctx, input: { role, permissions, ...on } }) =>
      settle(ctx, putEntry(ctx.gateway, ctx.asked, { section: "roles", name: role, value: permissions }, on)),
    ),
  remove: removing("roles"),
});

export const limitsRouter = router({
  list: procedure.query(({ ctx }) => settle(ctx, listEntries(ctx.gateway, ctx.asked, "limits"))),
  put: procedure
    .input(z.strictObject({ limit: entrySchemas.limits, ...terms }))
    .mutation(({ ctx, input: { limit, ...on } }) =>
      settle(ctx, putEntry(ctx.gateway, ctx.asked, { section: "limits", name: limit.name, value: limit }, on)),
    ),
  remove: removing("limits"),
});

export const routesRouter = router({
  list: procedure.query(({ ctx }) => settle(ctx, listEntries(ctx.gateway, ctx.asked, "routes"))),
  put: procedure
    .input(z.strictObject({ server: name, route: entrySchemas.routes, ...terms }))
    .mutation(({ ctx, input: { server, route, ...on } }) =>
      settle(ctx, putEntry(ctx.gateway, ctx.asked, { section: "routes", name: server, value: route }, on)),
    ),
  remove: removing("routes"),
  rollback: procedure
    .input(z.strictObject({ server: name, ...terms }))
    .mutation(({ ctx, input: { server, ...on } }) =>
      settle(ctx, rollBackRoute(ctx.gateway, ctx.asked, { server }, on)),
    ),
});

/** `main` is enforced; any other decides in shadow. */
const bundleName = z.union([z.literal(ENFORCED), shadowName]);

export const policiesRouter = router({
  /** Now, or after an earlier change. */
  list: procedure
    .input(z.strictObject({ revision: z.int().min(0).nullable().default(null) }).default({ revision: null }))
    .query(({ ctx, input: { revision } }) =>
      settle(
        ctx,
        revision === null
          ? listEntries(ctx.gateway, ctx.asked, "policies")
          : listPoliciesAt(ctx.gateway, ctx.asked, revision),
      ),
    ),
  put: procedure
    .input(
      z.strictObject({
        name: bundleName.default(ENFORCED),
        value: entrySchemas.policies,
        coverage: z.number().min(0).max(100).nullable().default(null),
        ...terms,
      }),
    )
    .mutation(({ ctx, input: { name: which, value, ...on } }) =>
      settle(ctx, putEntry(ctx.gateway, ctx.asked, { section: "policies", name: which, value }, on)),
    ),
  ...lifeProcedures,
  /** Back to the policy that ships with the product; of a bundle in shadow, out of it. */
  remove: procedure
    .input(z.strictObject({ name: bundleName.default(ENFORCED), ...terms }))
    .mutation(({ ctx, input: { name: which, ...on } }) =>
      settle(ctx, putEntry(ctx.gateway, ctx.asked, { section: "policies", name: which, value: null }, on)),
    ),
});

function removing(section: EntryWish["section"]) {
  return procedure
    .input(removal)
    .mutation(({ ctx, input: { name: which, ...on } }) =>
      settle(ctx, putEntry(ctx.gateway, ctx.asked, { section, name: which, value: null }, on)),
    );
}
