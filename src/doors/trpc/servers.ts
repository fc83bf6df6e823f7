/** The registered servers as an operator sees them: versions, instances, discovery; never commands or secrets. */
import { z } from "zod";
import { putEntry } from "../../change.ts";
import { entrySchemas } from "../../config.ts";
import { inspectServers } from "../../view.ts";
import { terms } from "./terms.ts";
import { procedure, router, settle } from "./procedure.ts";

const word = z.string().min(1).max(64);

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
});
