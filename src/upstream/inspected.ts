/** How a version of a server does, for operators: state, never commands, environment or secrets. */
import type { JsonObject, ServerVersion } from "../model.ts";
import type { Upstreams } from "./forward.ts";

export type InspectedServer = Omit<ServerVersion, "tools" | "instances" | "accepted" | "gone"> & {
  /** Null where no instance is run here. */
  readonly traffic: Omit<ReturnType<Upstreams["traffic"]>[number], "server" | "version"> | null;
  readonly tools: number;
  readonly quarantined: readonly { readonly tool: string; readonly digest: string }[];
  readonly instances: readonly JsonObject[];
};

export function inspected(
  { tools, instances, accepted: _accepted, gone: _gone, ...one }: ServerVersion,
  upstreams: Upstreams,
): InspectedServer {
  const quarantined = [...tools.values()]
    .filter((tool) => tool.quarantined)
    .map(({ name, digest }) => ({ tool: name, digest }));
  const states = upstreams.status();
  const shown = instances.flatMap(({ id, kind }) => {
    // one for each address, where a name has several
    const run = states.filter((state) => state.id === id || state.id.startsWith(`${id}/`));
    return run.length === 0 ? [{ id, kind }] : run;
  });
  const found = upstreams.traffic().find(({ server, version }) => server === one.server && version === one.version);
  const { server: _server, version: _version, ...traffic } = found ?? {};
  return {
    ...one,
    traffic: found === undefined ? null : (traffic as InspectedServer["traffic"]),
    tools: tools.size,
    quarantined,
    instances: shown,
  };
}
