/**
 * Keeps what is in force true to the file and to the servers: reloads on demand, one at a time, and turns what discovery
 * finds into snapshots. A file that cannot be taken leaves the old configuration in force.
 */
import { ENFORCED, MANAGED } from "./config-bundle.ts";
import type { Config, ServerConfig } from "./config.ts";
import type { InForce } from "./inforce.ts";
import type { InstanceSpec, Policy, Snapshot } from "./model.ts";
import { PolicyRefused } from "./policy/diagnostic.ts";
import { refusalOf } from "./policy/refused.ts";
import type { Bundle } from "./policy/sources.ts";
import type { Ports } from "./ports.ts";
import { instancesOf } from "./registry/catalogue.ts";
import { apply } from "./registry/changes.ts";
import { inEffect } from "./registry/effect.ts";
import type { Change, ChangeState, Section } from "./registry/changes.ts";
import { createDiscoverer } from "./registry/discovery.ts";
import { Refusal } from "./refusal.ts";
import type { Rooms } from "./rooms.ts";
import { isLocal } from "./snapshot/published.ts";

export type Operation = {
  readonly reload: () => Promise<void>;
  /** The policy that the configuration names is another one now. @throws PolicyRefused; that in force stays */
  readonly refresh: () => Promise<void>;
  /** @see Control, of these three */
  readonly exclusive: <Value>(task: () => Promise<Value>) => Promise<Value>;
  readonly prepare: (change: Change, coverage?: number | null) => Promise<Policy | undefined>;
  /** The same of changes that were made and proved elsewhere. @throws PolicyRefused */
  readonly policyAfter: (changes: readonly Change[]) => Promise<Policy | undefined>;
  readonly append: (change: Change, by: string, policy?: Policy) => Promise<number>;
  /** What was wrong with the file at the last reload; null if it was taken. */
  readonly reloadFault: () => string | null;
  /** Servers may have come, gone or moved. */
  readonly reconcile: () => void;
  /** The servers' first discoveries are done, or two seconds old. */
  readonly settled: () => boolean;
  readonly close: () => void;
};
type Proof = { readonly coverage: number | null; readonly shadow: boolean };
export type Sources = {
  readonly read: () => Promise<Config>;
  /** The enforced policy: the folder's, or, where it is managed, that of the changes. Undefined where neither says it. */
  readonly compile: (config: Config, changes: ChangeState) => Promise<Policy | undefined>;
  /** Runs the bundle's own tests, which reach so many percent of it. @throws PolicyRefused */
  readonly prove: (bundle: Bundle, config: Config, wanted: Proof) => Promise<void>;
  /** What is compiled already, with this configuration's roles. */
  readonly warm: (policy: Policy, config: Config) => Promise<Policy>;
  /** The same policy, with those beside it that the configuration and the changes name. */
  readonly shadow: (policy: Policy, config: Config, changes: ChangeState) => Promise<Policy>;
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
  "overload",
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
    const asked = versions.map(standing).filter(({ local }) => role === "serve" || local === (role === "sidecar"));
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

/**
 * Where a version stands, for discovery: what its instances said before they moved is no longer what they say. Those that
 * register themselves come and go, and say the same; only the first of them is news.
 */
function standing<One extends { readonly specs: readonly InstanceSpec[]; readonly terms: ServerConfig }>(
  one: One,
): One {
  return one.terms.register === undefined ? one : { ...one, specs: one.specs.length === 0 ? [] : [SOMEWHERE] };
}

const SOMEWHERE: InstanceSpec = { kind: "http", id: "", url: "", headers: {}, allowPrivate: false };

function createReload(
  inForce: InForce,
  sources: Sources,
  reconcile: () => void,
  ports: Ports,
): Pick<Operation, "reload" | "refresh" | "reloadFault" | "append" | "prepare" | "policyAfter" | "exclusive"> {
  const { log } = ports;
  let fault: string | null = null;
  let last: Promise<unknown> = Promise.resolve();
  let waiting = 0;
  const reload = async (): Promise<void> => {
    try {
      const next = await sources.read();
      warnOfRestart(inForce.config(), next, ports);
      inForce.configure(next, await sources.compile(inEffect(next, inForce.changes()), inForce.changes()));
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
    refresh: () =>
      exclusive(async () => {
        const effective = inEffect(inForce.config(), inForce.changes());
        inForce.configure(inForce.config(), await sources.compile(effective, inForce.changes()));
        log.info({ revision: inForce.snapshot().revision }, "another policy is in force");
      }),
    prepare: async (change, coverage = null) => {
      try {
        const policy = await policyAfter([change], inForce, sources);
        await prove(change, coverage, { inForce, sources });
        return policy;
      } catch (cause) {
        throw cause instanceof PolicyRefused ? refusalOf(cause, "The policy cannot be put in force.") : cause;
      }
    },
    policyAfter: (changes) => policyAfter(changes, inForce, sources),
    append: async (change, by, policy) => {
      const revision = await inForce.append(change, by, policy);
      if (moves(change, "servers") || moves(change, "drains")) reconcile();
      return revision;
    },
    reloadFault: () => fault,
  };
}

/** Changes and reloads in line. */
const WAITING_MAX = 100;

/** Undefined where that in force will do. @throws PolicyRefused */
async function policyAfter(
  changes: readonly Change[],
  inForce: InForce,
  sources: Sources,
): Promise<Policy | undefined> {
  const after = changes.reduce(apply, inForce.changes());
  const config = inEffect(inForce.config(), after);
  const applied = changes.some((change) => moves(change, "policies"));
  if (config.policies === MANAGED && applied) return await sources.compile(config, after);
  const policy = inForce.policy();
  if (policy === null) return undefined;
  // policies see the map of roles as data: it is loaded with them
  const warm = changes.some((change) => moves(change, "roles")) ? await sources.warm(policy, config) : policy;
  // a folder is read again at a reload, and not for what was applied beside it
  if (applied) return await sources.shadow(warm, config, after);
  return warm === policy ? undefined : warm;
}

/** By the tests that an applied bundle brings along; also in shadow. @throws PolicyRefused */
async function prove(
  change: Change,
  coverage: number | null,
  { inForce, sources }: { readonly inForce: InForce; readonly sources: Sources },
): Promise<void> {
  if (change.type !== "entry.put" || change.section !== "policies") return;
  const config = inEffect(inForce.config(), apply(inForce.changes(), change));
  if (change.name !== ENFORCED || config.policies === MANAGED)
    await sources.prove(change.value, config, { coverage, shadow: change.name !== ENFORCED });
}

function moves(change: Change, section: Section): boolean {
  return change.type === "rollback" || ("section" in change && change.section === section);
}

function warnOfRestart(before: Config, next: Config, { log }: Ports): void {
  const changed = AT_START.filter((key) => JSON.stringify(before[key]) !== JSON.stringify(next[key]));
  if (changed.length > 0) log.warn({ keys: changed }, "these keys are read at start only: restart to apply them");
}
