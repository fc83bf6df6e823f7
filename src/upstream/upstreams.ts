/**
 * All instances of all servers: which there are, and which is next. What surprises: an instance whose definition did
 * not change lives through a reload, connection, child and all; one that is gone finishes its calls first.
 */
import { isIP } from "node:net";
import { TRAFFIC } from "../config-traffic.ts";
import type { Discovery, InstanceSpec } from "../model.ts";
import type { Ports } from "../ports.ts";
import { Refusal } from "../refusal.ts";
import type { Resolve } from "./address.ts";
import { slownessAt } from "./balance.ts";
import type { Connect } from "./connection.ts";
import type { InstancesOf, InstanceStatus, TrafficStatus, Upstreams } from "./forward.ts";
import { createGroup } from "./group.ts";
import type { Group } from "./group.ts";
import { connectHttp } from "./http.ts";
import { openInstance } from "./instance.ts";
import type { Instance } from "./instance.ts";
import { followNames } from "./names.ts";
import { connectStdio } from "./stdio.ts";

export type UpstreamOptions = {
  /** Bytes of one answer; what all answers of one instance may take together is four times as much. */
  readonly resultBytesMax: number;
  /** PATH of stdio children: the only variable besides those of the file. */
  readonly searchPath: string;
  /** Working directory of children whose instance names none; without it the gateway's own. */
  readonly cwd?: string;
  readonly connectTimeoutMs?: number;
  readonly backoffFirstMs?: number;
  readonly backoffMaxMs?: number;
  /** Instead of the system's resolver. */
  readonly resolve?: Resolve;
};

type Away = { readonly instance: Instance; readonly timer: NodeJS.Timeout };
type Fleet = {
  readonly instances: Map<string, Instance>;
  /** By `server@version`. */
  readonly groups: Map<string, Group>;
  /** Addresses that a name does not have now, with what is to be remembered of them if it has them again. */
  readonly away: Map<string, Away>;
  /** Those that finish their last calls. */
  readonly leaving: Map<Instance, Promise<void>>;
};

export function createUpstreams(options: UpstreamOptions, ports: Ports): Upstreams {
  const listeners: ((server: string, version: string) => void)[] = [];
  const fleet: Fleet = { instances: new Map(), groups: new Map(), away: new Map(), leaving: new Map() };
  const { instances, groups } = fleet;
  const { resultBytesMax, searchPath, cwd = null } = options;
  const open: Open = (spec, { server, version }, group) =>
    openInstance(
      spec,
      { server, version },
      {
        connect: connector(options),
        connection: { resultBytesMax, searchPath, cwd, ports },
        fitness: {
          backoffFirstMs: options.backoffFirstMs ?? 500,
          backoffMaxMs: options.backoffMaxMs ?? 30_000,
          terms: () => group.terms().outlierDetection,
          mayEject: group.mayEject,
          onTurn: group.turned,
        },
        maySpare: group.maySpare,
        onListChanged: (instance) => {
          if (instances.get(keyOf(instance)) === instance) for (const listener of listeners) listener(server, version);
        },
      },
    );
  let asked: readonly InstancesOf[] = [];
  const settle = (): void => reconcile(fleet, names.expand(asked), { open, ports });
  const names = followNames(settle, options.resolve);
  return {
    reconcile: (wanted) => {
      asked = wanted;
      settle();
    },
    discover: (server, version, signal) => discoverFirst(groups.get(`${server}@${version}`)?.instances() ?? [], signal),
    onListChanged: (listener) => void listeners.push(listener),
    status: () => [...instances.values()].map((one) => statusOf(one, ports.clock.monotonicMs())),
    traffic: () => [...groups.values()].map(trafficOf),
    stderr: (id) => [...instances.values()].find(({ spec }) => spec.id === id)?.stderr() ?? "",
    group: (server, version) => groups.get(`${server}@${version}`),
    resultBytesMax,
    close: async () => {
      names.close();
      reconcile(fleet, [], { open, ports });
      await Promise.all(fleet.leaving.values());
    },
    abandon: () => {
      for (const instance of [...instances.values(), ...awayOf(fleet), ...fleet.leaving.keys()]) instance.abandon();
    },
  };
}

type Open = (spec: InstanceSpec, of: Of, group: Group) => Instance;
type Of = Pick<InstancesOf, "server" | "version">;
type Making = { readonly open: Open; readonly ports: Ports };

function reconcile(fleet: Fleet, wanted: readonly InstancesOf[], { open, ports }: Making): void {
  const { instances, groups } = fleet;
  const keep = new Set(wanted.flatMap((one) => one.specs.map((spec) => keyOf({ ...one, spec }))));
  const names = new Set(wanted.flatMap((one) => one.specs.map((spec) => nameKeyOf({ ...one, spec }))));
  for (const [key, { instance, timer }] of fleet.away) {
    if (names.has(nameKeyOf(instance)) && !keep.has(key)) continue;
    clearTimeout(timer);
    fleet.away.delete(key);
    if (keep.has(key)) instances.set(key, instance);
    else leave(fleet, key, instance);
  }
  for (const [key, instance] of instances) {
    if (keep.has(key)) continue;
    if (names.has(nameKeyOf(instance)) && isRemembered(instance)) setAway(fleet, key, instance);
    else leave(fleet, key, instance);
  }
  const before = new Map(groups);
  groups.clear();
  for (const { specs, weights = [], terms = TRAFFIC, ...of } of wanted) {
    if (specs.length === 0) continue;
    const id = `${of.server}@${of.version}`;
    const group = before.get(id) ?? createGroup(terms, ports);
    groups.set(id, group);
    const opened = specs.map((spec, at) => {
      const key = keyOf({ ...of, spec });
      const instance = instances.get(key) ?? open(spec, of, group);
      instances.set(key, instance);
      instance.load.weight = weights[at] ?? 1;
      return instance;
    });
    group.adopt([...new Set(opened)], terms);
    before.delete(id);
  }
  for (const gone of before.values()) gone.adopt([], TRAFFIC);
}

const REMEMBERED_MS = 300_000;
const REMEMBERED_MAX = 256;

/** A resolver that gives some of many addresses each time must not bring one that was sent away back as a new one. */
function isRemembered({ spec, fitness }: Instance): boolean {
  return "address" in spec && (fitness.breaker() !== "closed" || fitness.ejections() > 0);
}

function setAway(fleet: Fleet, key: string, instance: Instance): void {
  fleet.instances.delete(key);
  const forget = (): void => {
    fleet.away.delete(key);
    leave(fleet, key, instance);
  };
  if (fleet.away.size >= REMEMBERED_MAX) return forget();
  fleet.away.set(key, { instance, timer: setTimeout(forget, REMEMBERED_MS).unref() });
}

function awayOf({ away }: Fleet): readonly Instance[] {
  return [...away.values()].map(({ instance }) => instance);
}

function leave({ instances, leaving }: Fleet, key: string, instance: Instance): void {
  instances.delete(key);
  const left = instance.drain().catch(() => {});
  leaving.set(instance, left);
  void left.then(() => leaving.delete(instance));
}

/** Healthy ones first; those set aside are asked too, for a discovery that succeeds is as good as a probe. */
async function discoverFirst(group: readonly Instance[], signal: AbortSignal): Promise<Discovery> {
  let failure = new Refusal("upstream_unavailable", "The server has no instance.");
  for (const instance of group.toSorted(
    (a, b) => Number(a.fitness.state() === "set_aside") - Number(b.fitness.state() === "set_aside"),
  )) {
    try {
      return await instance.discover(signal);
    } catch (thrown) {
      failure = Refusal.from(thrown);
      if (failure.code === "cancelled") break;
    }
  }
  throw failure;
}

function statusOf(instance: Instance, nowMs: number): InstanceStatus {
  const { spec, server, version, load, fitness } = instance;
  return {
    id: spec.id,
    server,
    version,
    kind: spec.kind,
    state: fitness.state(),
    breaker: fitness.breaker(),
    weight: load.weight,
    inFlight: load.inFlight,
    ewma: Math.round(slownessAt(load, nowMs) * 100) / 100,
    ejections: fitness.ejections(),
    lastError: fitness.lastError(),
  };
}

function trafficOf({ instances, bulkhead, retries, tools }: Group): TrafficStatus {
  const { server = "", version = "" } = instances()[0] ?? {};
  return {
    server,
    version,
    running: bulkhead.running(),
    waiting: bulkhead.waiting(),
    retries,
    openTools: tools.open(),
  };
}

function connector({ connectTimeoutMs = 5000, resolve }: UpstreamOptions): Connect {
  return (spec, connection) => {
    if (spec.kind === "stdio") return connectStdio(spec, connection);
    const found = spec.address === undefined ? resolve : only(spec.address);
    return connectHttp(spec, { ...connection, connectTimeoutMs, ...(found === undefined ? {} : { resolve: found }) });
  };
}

/** Whatever the name says by now; it is checked as if it had said so. */
function only(address: string): Resolve {
  return (_host, _options, done) => done(null, [{ address, family: isIP(address) }]);
}

/** Everything that makes an instance what it is: change one word of it and it is another. */
function keyOf({ server, version, spec }: { server: string; version: string; spec: InstanceSpec }): string {
  return JSON.stringify([server, version, spec]);
}

/** The same for all addresses of one name. */
function nameKeyOf({ server, version, spec }: { server: string; version: string; spec: InstanceSpec }): string {
  if (spec.kind === "stdio" || spec.address === undefined) return keyOf({ server, version, spec });
  const { address, ...rest } = spec;
  return keyOf({ server, version, spec: { ...rest, id: spec.id.slice(0, -address.length - 1) } });
}
