/**
 * The one mutable cell: configuration, changes, catalogue and policy, and the snapshot made of them. Whatever part
 * moves, a whole new snapshot replaces the old in one assignment; a call in flight keeps the one it began with.
 */
import type { Config } from "./config.ts";
import type { Discovery, Policy, Snapshot } from "./model.ts";
import type { Log, Ports } from "./ports.ts";
import { catalogue, discovered } from "./registry/catalogue.ts";
import type { Discovered } from "./registry/catalogue.ts";
import { apply, NO_CHANGES } from "./registry/changes.ts";
import type { Change, ChangeState } from "./registry/changes.ts";
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

/** What a snapshot is made of; a part is replaced, never changed. */
type Parts = {
  readonly config: Config;
  readonly policy: Policy | null;
  readonly changes: ChangeState;
  /** The last good discovery of each `server@version`, and which of them the server gave since the start. */
  readonly known: ReadonlyMap<string, Discovered>;
  readonly fresh: ReadonlySet<string>;
};

export function createInForce(first: Pick<Parts, "config" | "policy">, store: Store, { clock, log }: Ports): InForce {
  const listeners = new Set<(snapshot: Snapshot) => void>();
  let parts: Parts = {
    ...first,
    changes: (store.changes() as unknown as readonly Change[]).reduce(apply, NO_CHANGES),
    known: store.discoveries() as unknown as ReadonlyMap<string, Discovered>,
    fresh: new Set(),
  };
  let current = snapshotOf(parts, log);
  const move = (moved: Partial<Parts>): void => {
    const next = { ...parts, ...moved };
    const snapshot = snapshotOf(next, log);
    parts = next;
    if (snapshot.revision === current.revision) return;
    current = snapshot;
    for (const listener of listeners) listener(current);
  };
  const now = (): string => new Date(clock.nowMs()).toISOString();
  return {
    snapshot: () => current,
    config: () => parts.config,
    configure: (config, policy) => move({ config, policy }),
    append: (change, by) => {
      // on disk before in force: a revocation that a restart forgets would be worse than one that fails
      store.append(change, by, now());
      move({ changes: apply(parts.changes, change) });
    },
    found: (server, version, discovery) => {
      const id = `${server}@${version}`;
      const before = parts.known.get(id);
      const next = discovered(before, discovery, now());
      // on disk before in force: a restart that forgot a definition would accept another in its place
      if (next.discovery !== before?.discovery) store.saveDiscovery(id, next);
      move({ known: new Map(parts.known).set(id, next), fresh: new Set(parts.fresh).add(id) });
    },
    failed: (server, version) => {
      const fresh = new Set(parts.fresh);
      if (fresh.delete(`${server}@${version}`)) move({ fresh });
    },
    onSnapshot: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function snapshotOf({ config, policy, changes, known, fresh }: Parts, log: Log): Snapshot {
  const { collisions, ...listed } = catalogue(config, { discovered: known, fresh }, changes.approved);
  if (collisions.length > 0) log.warn({ names: collisions.slice(0, 20) }, "tool names collide: none of them is served");
  return buildSnapshot({ config, issuedKeys: changes.keys, ...listed, policy });
}
