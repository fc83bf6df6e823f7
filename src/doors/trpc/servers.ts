/** The registered servers as an operator sees them: versions, instances, discovery; never commands or secrets. */
import { z } from "zod";
import { deregisterInstance, drainInstance, registerInstance, undrainInstance } from "../../change-instances.ts";
import { putEntry } from "../../change.ts";
import { entrySchemas, withoutSecrets } from "../../config.ts";
import { instanceName } from "../../config-instance.ts";
import { weight } from "../../config-traffic.ts";
import { inspectServers } from "../../view.ts";
import { terms } from "./terms.ts";
import { procedure, router, settle } from "./procedure.ts";

const word = z.string().min(1).max(64);
/** Of the default version where none is named; the instance by its id, or by what of it is its own. */
const drained = { server: word, version: word.nullable().default(null), instance: z.string().min(1).max(256) };

export const serversRouter = router({
  list: procedure.query(({ ctx }) => settle(ctx, inspectServers(ctx.gateway, ctx.asked))),
  /** A version of a server over HTTP; what needs a command, an environment or a secret stands in the file. */
  put: procedure
    .input(z.strictObject({ server: entrySchemas.servers, ...terms }))
    .mutation(({ ctx, input: { server, ...on } }) => {
      const name = `${server.name}@${server.version}`;
      return settle(ctx, putEntry(ctx.gateway, ctx.asked, { section: "servers", name, value: server }, on));
    }),
  remove: procedure
    .input(z.strictObject({ server: word, version: word, ...terms }))
    .mutation(({ ctx, input: { server, version, ...on } }) => {
      const name = `${server}@${version}`;
      return settle(ctx, putEntry(ctx.gateway, ctx.asked, { section: "servers", name, value: null }, on));
    }),
  /** The instance takes no new call; here, elsewhere and after a reload, until it is undrained. */
  drain: procedure
    .input(z.strictObject({ ...drained, ...terms }))
    .mutation(({ ctx, input: { expect, dryRun, ...wish } }) =>
      settle(ctx, drainInstance(ctx.gateway, ctx.asked, wish, { expect, dryRun })),
    ),
  undrain: procedure
    .input(z.strictObject({ ...drained, ...terms }))
    .mutation(({ ctx, input: { expect, dryRun, ...wish } }) =>
      settle(ctx, undrainInstance(ctx.gateway, ctx.asked, wish, { expect, dryRun })),
    ),
});

const own = { server: word, version: word, instance: instanceName };

export const instancesRouter = router({
  /** Here it is, still: to be said again before its term is over. */
  register: procedure
    .input(z.strictObject({ ...own, url: withoutSecrets, weight }))
    .mutation(({ ctx, input }) => settle(ctx, registerInstance(ctx.gateway, ctx.asked, input))),
  deregister: procedure
    .input(z.strictObject(own))
    .mutation(({ ctx, input }) => settle(ctx, deregisterInstance(ctx.gateway, ctx.asked, input))),
});
