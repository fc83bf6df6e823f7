/**
 * Which version of a server answers whom, where the caller names none? Exact versions only: what a range means moves as
 * versions come, and no caller moves unless somebody moves the route. A route opens nothing: policy decides on the version.
 */
import { z } from "zod";
import type { Config, Problem } from "./config.ts";

export const version = z
  .string()
  .regex(/^[^/\s]{1,64}$/, "a version: up to 64 characters, neither white space nor a slash among them");
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
const share = z.strictObject({ version, percent: z.int().min(0).max(100) });
export const routeSchema = z
  .strictObject({
    default: version.optional().describe("Before the version that says `default: true`, or else the highest."),
    canary: share
      .optional()
      .describe("So many of all principals, always the same ones; an agent goes with the user that it acts for."),
    canaries: z
      .array(share)
      .min(1)
      .max(16)
      .refine((all) => all.reduce((sum, { percent }) => sum + percent, 0) <= 100, "at most 100 percent together")
      .refine((all) => new Set(all.map((one) => one.version)).size === all.length, "each version once")
      .optional()
      .describe("Instead of one several, in this order: where the last one grows, nobody moves from another."),
    pins: z.array(pin).max(1000).default([]).describe("The first counts of which all fits, before the canaries."),
  })
  .refine(({ canary, canaries }) => canary === undefined || canaries === undefined, "canary or canaries, not both");
export type Route = z.output<typeof routeSchema>;
export type Pin = Route["pins"][number];
export type Share = z.output<typeof share>;

export function canariesOf({ canary, canaries }: Pick<Route, "canary" | "canaries">): readonly Share[] {
  return canaries ?? (canary === undefined ? [] : [canary]);
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
