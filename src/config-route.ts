/**
 * Which version of a server answers whom, where the caller names none? Exact versions only: what a range means moves as
 * versions come, and no caller moves unless somebody moves the route. A route opens nothing: policy decides on the version.
 */
import { z } from "zod";
import type { Config, Problem } from "./config.ts";
import { share, shares, staying, version } from "./config-share.ts";
import type { Share } from "./config-share.ts";

const name = z.string().min(1).max(128);

const pin = z
  .strictObject({
    principal: name.optional().describe("It, and the agents that act for it."),
    role: name.optional(),
    tenant: name.optional(),
    version,
  })
  .refine(
    ({ principal, role, tenant }) => (principal ?? role ?? tenant) !== undefined,
    "a principal, a role or a tenant besides the version",
  );
export const routeSchema = z
  .strictObject({
    default: version.optional().describe("Before the version that says `default: true`, or else the highest."),
    canary: share
      .optional()
      .describe("So many of all principals, always the same ones; an agent goes with the user that it acts for."),
    canaries: shares
      .optional()
      .describe("Instead of one several, in this order: where the last one grows, nobody moves from another."),
    pins: z.array(pin).max(1000).default([]).describe("The first counts of which all fits, before the canaries."),
  })
  .refine(({ canary, canaries }) => canary === undefined || canaries === undefined, "canary or canaries, not both");
export type Route = z.output<typeof routeSchema>;
export type Pin = Route["pins"][number];

export function canariesOf({ canary, canaries }: Pick<Route, "canary" | "canaries">): readonly Share[] {
  return canaries ?? (canary === undefined ? [] : [canary]);
}

/** Who has a canary keeps it while its share does not shrink, whatever becomes of the others. */
export function routeAfter(before: Route, asked: Route): Route {
  const wanted = canariesOf(asked);
  const placed = staying(canariesOf(before), wanted);
  if (placed === wanted) return asked;
  const { canary: _, ...rest } = asked;
  return { ...rest, canaries: [...placed] };
}

export function checkRoutes({ routes, servers }: Pick<Config, "routes" | "servers">): Problem[] {
  const versions = Map.groupBy(servers, (server) => server.name);
  return Object.entries(routes).flatMap(([server, { default: first, canary, canaries = [], pins }]) => {
    const known = (versions.get(server) ?? []).map((one) => one.version);
    if (known.length === 0) return [{ path: ["routes", server], message: `there is no server ${server}` }];
    const missing = (wanted: string | undefined, ...path: (string | number)[]): Problem[] =>
      wanted === undefined || known.includes(wanted)
        ? []
        : [
            {
              path: ["routes", server, ...path],
              message: `server ${server} has no version ${wanted}`,
            },
          ];
    return [
      ...missing(first, "default"),
      ...missing(canary?.version, "canary", "version"),
      ...canaries.flatMap((one, index) => missing(one.version, "canaries", index, "version")),
      ...pins.flatMap((one, index) => missing(one.version, "pins", index, "version")),
    ];
  });
}
