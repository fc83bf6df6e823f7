/**
 * The one mutable cell: configuration, changes, catalogue and policy, and the snapshot made of them. Whatever part
 * moves, a whole new snapshot replaces the old in one assignment; a call in flight keeps the one it began with.
 */
import type { Config } from "./config.ts";
import type { Discovery, Policy, Snapshot } from "./model.ts";
import type { Clock, Log } from "./ports.ts";
import { catalogue, discovered } from "./registry/catalogue.ts";
import type { Discovered } from "./registry/catalogue.ts";
import { apply, NO_CHANGES } from "./registry/changes.ts";
import type { Change } from "./registry/changes.ts";
import { buildSnapshot } from "./snapshot/build.ts";
import type { Store } from "./snapshot/store.ts";

export type InForce = {
  readonly snapshot: () => Snapshot;
  readonly config: () => Config;
  readonly configure: (config: Config, policy: Policy | null) => void;
  readonly append: (change: Change, by: string) => void;
  readonly found: (server: string, version: string, discovery: Discovery) => void;
  readonly failed: (server: string, version: string) => void;
  readonly onSnapshot: (listener: (snapshot: Snapshot) => void) => () => void;
};

export function createInForce(
  first: { config: Config; policy: Policy | null },
  store: Store,
  ports: { clock: Clock; log: Log },
): InForce {
  const listeners = new Set<(snapshot: Snapshot) => void>();
  const known = new Map([...store.discoveries()].map(([id, found]) => [id, found as unknown as Discovered] as const));
  const fresh = new Set<string>();
  let { config, policy } = first;
  let changes = (store.changes() as unknown as readonly Change[]).reduce(apply, NO_CHANGES);
  let current = build();

  function build(): Snapshot {
    const { collisions, ...listed } = catalogue(config, { discovered: known, fresh }, changes.approved);
    if (collisions.length > 0)
      ports.log.warn({ names: collisions.slice(0, 20) }, "tool names collide: none of them is served");
    return buildSnapshot({ config, issuedKeys: changes.keys, ...listed, policy });
  }
  const swap = (): void => {
    const next = build();
    if (next.revision === current.revision) return;
    current = next;
    for (const listener of listeners) listener(current);
  };
  return {
    snapshot: () => current,
    config: () => config,
    configure: (nextConfig, nextPolicy) => {
      config = nextConfig;
      policy = nextPolicy;
      swap();
    },
    append: (change, by) => {
      // on disk before in force: a revocation that a restart forgets would be worse than one that fails
      store.append(change, by, new Date(ports.clock.nowMs()).toISOString());
      changes = apply(changes, change);
      swap();
    },
    found: (server, version, discovery) => {
      const id = `${server}@${version}`;
      const next = discovered(known.get(id), discovery, new Date(ports.clock.nowMs()).toISOString());
      known.set(id, next);
      fresh.add(id);
      store.saveDiscovery(id, next);
      swap();
    },
    failed: (server, version) => {
      if (fresh.delete(`${server}@${version}`)) swap();
    },
    onSnapshot: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}
