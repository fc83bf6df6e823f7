/**
 * The one mutable cell: configuration, changes, catalogue and policy, and the snapshot made of them. Whatever part
 * moves, a whole new snapshot replaces the old in one assignment; a call in flight keeps the one it began with.
 */
import type { Config } from "./config.ts";
import type { Registration } from "./config-instance.ts";
import type { Discovery, JsonObject, Policy, Snapshot } from "./model.ts";
import type { Log, Ports } from "./ports.ts";
import { catalogue, discovered } from "./registry/catalogue.ts";
import type { Catalogue, Discovered } from "./registry/catalogue.ts";
import { NO_CHANGES, stateOf } from "./registry/changes.ts";
import { inEffect, withInstances } from "./registry/effect.ts";
import type { Change, ChangeState } from "./registry/changes.ts";
import { buildSnapshot } from "./snapshot/build.ts";
import { isLocal, withPublished } from "./snapshot/published.ts";
import type { Received } from "./snapshot/received.ts";
import type { Logged, Store } from "./snapshot/store.ts";

export type InForce = {
  readonly snapshot: () => Snapshot;
  /** As the file says. */
  readonly config: () => Config;
  /** As changed beside the file. */
  readonly effective: () => Config;
  readonly changes: () => ChangeState;
  /** Also while halted. */
  readonly policy: () => Policy | null;
  /** Of the last change; 0 before the first. */
  readonly changeRevision: () => number;
  /** Of the last change up to which the snapshot has all that was done to keys: they are ahead of the others. */
  readonly keyRevision: () => number;
  /** Without a policy, that in force stays. */
  readonly configure: (config: Config, policy?: Policy) => void;
  /** In a sidecar: what its control plane says, over its own file. Without a policy every call is refused. */
  readonly adopt: (received: Received, policy: Policy | null) => void;
  /**
   * `policy`: where the change needs another one than that in force. Resolves to the change's own revision, once it is in force.
   * @see Store.append, of what it throws
   */
  readonly append: (change: Change, by: string, policy?: Policy) => Promise<number>;
  /** What other gateways changed, in order; `policy` as above. */
  readonly take: (entries: readonly Logged[], policy?: Policy) => Promise<void>;
  /** Of what others changed and is not taken yet: a key that was revoked is no key any more. */
  readonly takeKeys: (entries: readonly Logged[]) => void;
  /** Those that registered themselves by now. */
  readonly register: (all: readonly Registration[]) => void;
  /** While halted there is no policy: every call is refused. */
  readonly halt: (halted: boolean) => void;
  readonly found: (server: string, version: string, discovery: Discovery) => void;
  /** What another gateway found, by `server@version`. */
  readonly told: (id: string, discovered: Discovered) => void;
  readonly failed: (server: string, version: string) => void;
  readonly onSnapshot: (listener: (snapshot: Snapshot) => void) => () => void;
};

/** What a snapshot is made of; a part is replaced, never changed. */
type Parts = {
  readonly config: Config;
  /** As changed beside the file: made anew only where one of the two moved. */
  readonly effective: Config;
  readonly policy: Policy | null;
  readonly halted: boolean;
  readonly changes: ChangeState;
  readonly registered: readonly Registration[];
  /** From the control plane; null where this is one. */
  readonly received: Received | null;
  /** The last good discovery of each `server@version`, and which of them the server gave since the start. */
  readonly known: ReadonlyMap<string, Discovered>;
  readonly fresh: ReadonlySet<string>;
};

export function createInForce(
  first: Pick<Parts, "config" | "policy">,
  store: Store,
  { clock, log: say }: Ports,
): InForce {
  const { announce, onSnapshot } = createListeners();
  const log = store.changes();
  const changes = stateOf(log);
  let parts: Parts = {
    ...first,
    halted: false,
    effective: withInstances(inEffect(first.config, changes), [], changes.entries.drains),
    changes,
    registered: [],
    received: null,
    known: store.discoveries() as unknown as ReadonlyMap<string, Discovered>,
    fresh: new Set(),
  };
  let current = snapshotOf(parts, say);
  const move = (moved: Partial<Parts>): void => {
    const next = withEffective(parts, { ...parts, ...moved });
    const snapshot = snapshotOf(next, say);
    // where a server stands, and with which secrets it is called, is no part of the revision
    const same =
      next.effective === parts.effective &&
      snapshot.policy === current.policy &&
      snapshot.revision === current.revision;
    parts = next;
    if (same) return;
    current = snapshot;
    announce(current);
  };
  const now = (): string => new Date(clock.nowMs()).toISOString();
  return {
    snapshot: () => current,
    config: () => parts.config,
    effective: () => parts.effective,
    changes: () => parts.changes,
    policy: () => parts.policy,
    configure: (config, policy) => move({ config, ...(policy === undefined ? {} : { policy }) }),
    adopt: (received, policy) => {
      const { keys, approved } = received;
      move({ received, policy, changes: { ...NO_CHANGES, keys, approved } });
    },
    ...logging({ parts: () => parts, move, store, now }, log.at(-1)?.revision ?? 0),
    register: (registered) => move({ registered }),
    halt: (halted) => move({ halted }),
    ...discoveries({ parts: () => parts, move, store, now }),
    onSnapshot,
  };
}

type Moving = {
  readonly parts: () => Parts;
  readonly move: (moved: Partial<Parts>) => void;
  readonly store: Store;
  readonly now: () => string;
};

type Entries = readonly Pick<Logged, "revision" | "change">[];

/** One after another: the change that was logged first is in force first. */
function logging(
  { parts, move, store, now }: Moving,
  first: number,
): Pick<InForce, "changeRevision" | "keyRevision" | "append" | "take" | "takeKeys"> {
  let changeRevision = first;
  /** As of that revision, and what was heard since. */
  let { keys } = parts().changes;
  let ahead: Entries = [];
  let last: Promise<unknown> = Promise.resolve();
  const inLine = <Value>(task: () => Value | Promise<Value>): Promise<Value> => {
    const done = last.then(task);
    last = done.catch(() => undefined);
    return done;
  };
  // told twice is made once
  const after = (revision: number, entries: Entries): Entries => entries.filter((one) => one.revision > revision);
  const fold = (entries: Entries, policy: Policy | undefined): void => {
    const fresh = after(changeRevision, entries);
    const revision = fresh.at(-1)?.revision ?? changeRevision;
    const next = stateOf(fresh, { ...parts().changes, keys });
    const rest = after(revision, ahead);
    // what was revoked meanwhile is not issued again
    move({ changes: { ...next, keys: stateOf(rest, next).keys }, ...(policy === undefined ? {} : { policy }) });
    // what could not be put in force is not done
    [changeRevision, keys, ahead] = [revision, next.keys, rest];
  };
  return {
    changeRevision: () => changeRevision,
    keyRevision: () => ahead.at(-1)?.revision ?? changeRevision,
    append: (change, by, policy) =>
      inLine(async () => {
        // on disk before in force: a revocation that a restart forgets would be worse than one that fails
        const entry = { at: now(), by, change: change as unknown as JsonObject };
        const revision = await store.append(entry, changeRevision);
        fold([{ revision, change: entry.change }], policy);
        return revision;
      }),
    take: (entries, policy) => inLine(() => fold(entries, policy)),
    takeKeys: (entries) => {
      const { changes } = parts();
      const fresh = after(ahead.at(-1)?.revision ?? changeRevision, entries);
      if (fresh.length === 0) return;
      const heard = [...ahead, ...fresh];
      move({ changes: { ...changes, keys: stateOf(heard, { ...changes, keys }).keys } });
      ahead = heard;
    },
  };
}

function discoveries({ parts, move, store, now }: Moving): Pick<InForce, "found" | "told" | "failed"> {
  return {
    told: (id, found) => move({ known: new Map(parts().known).set(id, found) }),
    found: (server, version, discovery) => {
      const id = `${server}@${version}`;
      const before = parts().known.get(id);
      const next = discovered(before, discovery, now());
      // on disk before in force: a restart that forgot a definition would accept another in its place
      if (next.discovery !== before?.discovery) store.saveDiscovery(id, next);
      move({ known: new Map(parts().known).set(id, next), fresh: new Set(parts().fresh).add(id) });
    },
    failed: (server, version) => {
      const fresh = new Set(parts().fresh);
      if (fresh.delete(`${server}@${version}`)) move({ fresh });
    },
  };
}

function createListeners(): Pick<InForce, "onSnapshot"> & { readonly announce: (snapshot: Snapshot) => void } {
  const listeners = new Set<(snapshot: Snapshot) => void>();
  return {
    announce: (snapshot) => {
      for (const listener of listeners) listener(snapshot);
    },
    onSnapshot: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function withEffective(before: Parts, next: Parts): Parts {
  const { config, changes, received, registered } = next;
  const same = before.config === config && before.changes.entries === changes.entries;
  if (same && before.received === received && before.registered === registered) return next;
  // where they are received, those that registered are among them
  if (received !== null) return { ...next, effective: withPublished(config, received) };
  return { ...next, effective: withInstances(inEffect(config, changes), registered, changes.entries.drains) };
}

/** A sidecar asks only the servers that it runs itself; of all others it knows what it was told. */
function knownOf({ effective, received, known, fresh }: Parts): Catalogue {
  if (received === null) return { discovered: known, fresh };
  const own = new Set(effective.servers.filter(isLocal).map(({ name, version }) => `${name}@${version}`));
  return {
    discovered: new Map([...received.discovered, ...[...known].filter(([id]) => own.has(id))]),
    fresh: new Set([...received.fresh, ...[...fresh].filter((id) => own.has(id))]),
  };
}

function snapshotOf(parts: Parts, log: Log): Snapshot {
  const { effective: config, changes } = parts;
  const policy = parts.halted ? null : parts.policy;
  const known = knownOf(parts);
  const { collisions, ...listed } = catalogue(config, known, changes.approved);
  if (collisions.length > 0) log.warn({ names: collisions.slice(0, 20) }, "tool names collide: none of them is served");
  const { keys: issuedKeys, approved } = changes;
  const received = parts.received?.parts ?? null;
  return buildSnapshot({ config, issuedKeys, approved, ...known, ...listed, policy, received });
}
