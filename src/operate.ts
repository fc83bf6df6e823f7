/**
 * Keeps what is in force true to the file and to the servers: reloads on demand, one at a time, and turns what discovery
 * finds into snapshots. A file that cannot be taken leaves the old configuration in force.
 */
import type { Config } from "./config.ts";
import type { InForce } from "./inforce.ts";
import type { Policy, Snapshot } from "./model.ts";
import type { Ports } from "./ports.ts";
import { instancesOf } from "./registry/catalogue.ts";
import { apply, inEffect } from "./registry/changes.ts";
import type { Change } from "./registry/changes.ts";
import { createDiscoverer } from "./registry/discovery.ts";
import type { Rooms } from "./rooms.ts";

export type Operation = {
  readonly reload: () => Promise<void>;
  /** @see Control */
  readonly append: (change: Change, by: string, expected: number | null) => Promise<number>;
  /** What was wrong with the file at the last reload; null if it was taken. */
  readonly reloadFault: () => string | null;
  /** The servers' first discoveries are done, or two seconds old. */
  readonly settled: () => boolean;
  readonly close: () => void;
};
type Sources = {
  readonly read: () => Promise<Config>;
  readonly compile: (config: Config) => Promise<Policy>;
  /** Where stdio servers run. */
  readonly folder: string;
};

/** Read once, at start: a change of these takes a restart, and the log says so. */
const AT_START = [
  "listen",
  "admin",
  "tls",
  "hosts",
  "origins",
  "data",
  "redis",
  "audit",
  "maxBody",
  "maxResult",
] as const;

export function operate(inForce: InForce, rooms: Rooms, sources: Sources, ports: Ports): Operation {
  const { upstreams, validators } = rooms;
  const discoverer = createDiscoverer(
    upstreams.discover,
    {
      found: inForce.found,
      failed: (server, version, cause) => {
        ports.log.warn({ server, version, err: cause }, "discovery failed: the last good list stands, marked stale");
        inForce.failed(server, version);
      },
    },
    ports,
  );
  const reconcile = (): void => {
    const versions = inForce.effective().servers.map((one) => ({
      server: one.name,
      version: one.version,
      specs: instancesOf(one, sources.folder),
    }));
    upstreams.reconcile(
      versions.flatMap(({ server, version, specs }) => specs.map((spec) => ({ server, version, spec }))),
    );
    discoverer.reconcile(versions);
  };
  const prepare = (snapshot: Snapshot): void => void validators.prepare([...snapshot.tools.values()].flat());

  upstreams.onListChanged(discoverer.refresh);
  inForce.onSnapshot(prepare);
  prepare(inForce.snapshot());
  reconcile();
  return {
    ...createReload(inForce, sources, reconcile, ports),
    settled: discoverer.settled,
    close: discoverer.close,
  };
}

function createReload(
  inForce: InForce,
  { read, compile }: Sources,
  reconcile: () => void,
  ports: Ports,
): Pick<Operation, "reload" | "reloadFault" | "append"> {
  const { log } = ports;
  let fault: string | null = null;
  let last: Promise<void> = Promise.resolve();
  const reload = async (): Promise<void> => {
    try {
      const next = await read();
      warnOfRestart(inForce.config(), next, ports);
      inForce.configure(next, await compile(inEffect(next, inForce.changes())));
      reconcile();
      fault = null;
      log.info({ revision: inForce.snapshot().revision }, "reloaded");
    } catch (cause) {
      fault = cause instanceof Error ? cause.message : "unreadable";
      log.error({ err: cause }, "reload failed: the old configuration stays in force");
      throw cause;
    }
  };
  const append = async (change: Change, by: string, expected: number | null): Promise<number> => {
    const after = inEffect(inForce.config(), apply(inForce.changes(), change));
    const revision = inForce.append(change, by, expected, await compile(after));
    reconcile();
    return revision;
  };
  return {
    // two at once could put the older file in force last
    reload: () => (last = last.then(reload, reload)),
    append: async (change, by, expected) => {
      // a revocation waits for nothing
      if (!movesRoles(change)) {
        const revision = inForce.append(change, by, expected);
        if ("section" in change && change.section === "servers") reconcile();
        return revision;
      }
      const made = last.then(
        () => append(change, by, expected),
        () => append(change, by, expected),
      );
      last = made.then(
        () => undefined,
        () => undefined,
      );
      return await made;
    },
    reloadFault: () => fault,
  };
}

/** Policies see the map of roles as data: it is loaded with them. */
function movesRoles(change: Change): boolean {
  return change.type === "rollback" || ("section" in change && change.section === "roles");
}

function warnOfRestart(before: Config, next: Config, { log }: Ports): void {
  const changed = AT_START.filter((key) => JSON.stringify(before[key]) !== JSON.stringify(next[key]));
  if (changed.length > 0) log.warn({ keys: changed }, "these keys are read at start only: restart to apply them");
}
