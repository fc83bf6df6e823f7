/**
 * Keeps what is in force true to the file and to the servers: reloads on demand, one at a time, and turns what discovery
 * finds into snapshots. A file that cannot be taken leaves the old configuration in force.
 */
import type { Config } from "./config.ts";
import type { InForce } from "./inforce.ts";
import type { Policy, Snapshot } from "./model.ts";
import type { Ports } from "./ports.ts";
import { instancesOf } from "./registry/catalogue.ts";
import { apply } from "./registry/changes.ts";
import { inEffect } from "./registry/effect.ts";
import type { Change } from "./registry/changes.ts";
import { createDiscoverer } from "./registry/discovery.ts";
import { Refusal } from "./refusal.ts";
import type { Rooms } from "./rooms.ts";
import { isLocal } from "./snapshot/published.ts";

export type Operation = {
  readonly reload: () => Promise<void>;
  /** @see Control, of these three */
  readonly exclusive: <Value>(task: () => Promise<Value>) => Promise<Value>;
  readonly prepare: (...changes: readonly Change[]) => Promise<Policy | undefined>;
  readonly append: (change: Change, by: string, policy?: Policy) => Promise<number>;
  /** What was wrong with the file at the last reload; null if it was taken. */
  readonly reloadFault: () => string | null;
  /** Servers may have come, gone or moved. */
  readonly reconcile: () => void;
  /** The servers' first discoveries are done, or two seconds old. */
  readonly settled: () => boolean;
  readonly close: () => void;
};
type Sources = {
  readonly read: () => Promise<Config>;
  /** Undefined where it is not the file's to say. */
  readonly compile: (config: Config) => Promise<Policy | undefined>;
  /** The policy in force, with this configuration's roles. */
  readonly withRoles: (config: Config) => Promise<Policy>;
  /** Where stdio servers run. */
  readonly folder: string;
  readonly role: Role;
  /** @see Store */
  readonly hasTurn: () => boolean;
};

/** Both planes; or one alone: the control plane asks the servers over HTTP, each sidecar those that it runs itself. */
export type Role = "serve" | "control" | "sidecar";

/** Read once, at start: a change of these takes a restart, and the log says so. */
const AT_START = [
  "listen",
  "admin",
  "extAuthz",
  "tls",
  "hosts",
  "origins",
  "data",
  "store",
  "redis",
  "audit",
  "control",
  "maxBody",
  "maxResult",
] as const;

export function operate(inForce: InForce, rooms: Rooms, sources: Sources, ports: Ports): Operation {
  const { upstreams, validators } = rooms;
  const { role } = sources;
  const discoverer = createDiscoverer(
    { ask: upstreams.discover, hasTurn: sources.hasTurn },
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
      local: isLocal(one),
      specs: instancesOf(one, sources.folder),
      weights: one.instances.map(({ weight }) => weight),
      terms: one,
    }));
    upstreams.reconcile(versions.filter(({ local }) => role !== "control" || !local));
    const asked = versions.filter(({ local }) => role === "serve" || local === (role === "sidecar"));
    for (const { server, version } of discoverer.reconcile(asked)) inForce.failed(server, version);
  };
  const prepare = (snapshot: Snapshot): void => void validators.prepare([...snapshot.tools.values()].flat());

  upstreams.onListChanged(discoverer.refresh);
  inForce.onSnapshot(prepare);
  prepare(inForce.snapshot());
  reconcile();
  return {
    ...createReload(inForce, sources, reconcile, ports),
    reconcile,
    settled: discoverer.settled,
    close: discoverer.close,
  };
}

function createReload(
  inForce: InForce,
  { read, compile, withRoles }: Sources,
  reconcile: () => void,
  ports: Ports,
): Pick<Operation, "reload" | "reloadFault" | "append" | "prepare" | "exclusive"> {
  const { log } = ports;
  let fault: string | null = null;
  let last: Promise<unknown> = Promise.resolve();
  let waiting = 0;
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
  const exclusive: Operation["exclusive"] = async (task) => {
    if (waiting >= WAITING_MAX)
      throw new Refusal("overloaded", "Too many changes wait for their turn.", { retryAfterMs: 1000 });
    waiting++;
    const done = last.then(task, task);
    last = done.catch(() => undefined);
    return await done.finally(() => waiting--);
  };
  return {
    exclusive,
    // two at once could put the older file in force last
    reload: () => exclusive(reload),
    prepare: async (...changes) => {
      if (!changes.some(movesRoles)) return undefined;
      const after = changes.reduce(apply, inForce.changes());
      return await withRoles(inEffect(inForce.config(), after)).catch((cause: unknown) => {
        throw new Refusal("invalid_request", "The policy in force cannot be loaded with these roles.", { cause });
      });
    },
    append: async (change, by, policy) => {
      const revision = await inForce.append(change, by, policy);
      if (change.type === "rollback" || ("section" in change && change.section === "servers")) reconcile();
      return revision;
    },
    reloadFault: () => fault,
  };
}

/** Changes and reloads in line. */
const WAITING_MAX = 100;

/** Policies see the map of roles as data: it is loaded with them. */
function movesRoles(change: Change): boolean {
  return change.type === "rollback" || ("section" in change && change.section === "roles");
}

function warnOfRestart(before: Config, next: Config, { log }: Ports): void {
  const changed = AT_START.filter((key) => JSON.stringify(before[key]) !== JSON.stringify(next[key]));
  if (changed.length > 0) log.warn({ keys: changed }, "these keys are read at start only: restart to apply them");
}
