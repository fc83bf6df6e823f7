/**
 * Which tools do sidecars hold back? A control plane does not know the servers that each sidecar runs itself. Of these,
 * and of no other, what a sidecar says counts; and it says no more than what an administrator then accepts by its digest.
 */
import type { Config } from "../config.ts";
import type { Quarantined } from "../snapshot/follower.ts";
import { gatewayName } from "./names.ts";

export type Reported = {
  readonly sidecar: string;
  /** Gateway name. */
  readonly name: string;
  readonly server: string;
  readonly version: string;
  readonly upstreamName: string;
  readonly digest: string;
};

export function reportedTools(
  { servers }: Config,
  said: readonly (Quarantined & { readonly sidecar: string })[],
): readonly Reported[] {
  const local = servers.filter(({ instances }) => instances.some((one) => "stdio" in one));
  return said
    .filter(({ server, version }) => local.some((one) => one.name === server && one.version === version))
    .map(({ tool, ...one }) => ({ ...one, name: gatewayName(one.server, tool), upstreamName: tool }));
}
