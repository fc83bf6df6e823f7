/**
 * All instances of all servers: which there are, and which is next. What surprises: an instance whose definition did
 * not change lives through a reload, connection, child and all; one that is gone finishes its calls first.
 */
import type { Discovery, InstanceSpec } from "../model.ts";
import type { Ports } from "../ports.ts";
import { Refusal } from "../refusal.ts";
import type { Resolve } from "./address.ts";
import type { Connect } from "./connection.ts";
import type { InstanceOf, InstanceStatus, Upstreams } from "./forward.ts";
import { connectHttp } from "./http.ts";
import { openInstance } from "./instance.ts";
import type { Instance } from "./instance.ts";
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

type Fleet = {
  readonly instances: Map<string, Instance>;
  /** By `server@version`. */
  readonly groups: Map<string, Instance[]>;
  /** Those that finish their last calls. */
  readonly leaving: Map<Instance, Promise<void>>;
};

export function createUpstreams(options: UpstreamOptions, ports: Ports): Upstreams {
  const listeners: ((server: string, version: string) => void)[] = [];
  const fleet: Fleet = { instances: new Map(), groups: new Map(), leaving: new Map() };
  const { instances, groups } = fleet;
  const { resultBytesMax, searchPath, cwd = null } = options;
  const open = ({ spec, server, version }: InstanceOf): Instance =>
    openInstance(
      spec,
      { server, version },
      {
        connect: connector(options),
        connection: { resultBytesMax, searchPath, cwd, ports },
        backoffFirstMs: options.backoffFirstMs ?? 500,
        backoffMaxMs: options.backoffMaxMs ?? 30_000,
        onListChanged: (instance) => {
          if (instances.get(keyOf(instance)) === instance) for (const listener of listeners) listener(server, version);
        },
      },
    );
  return {
    reconcile: (wanted) => reconcile(fleet, wanted, open),
    discover: (server, version, signal) => discoverFirst(groups.get(`${server}@${version}`) ?? [], signal),
    onListChanged: (listener) => void listeners.push(listener),
    status: () => [...instances.values()].map(statusOf),
    stderr: (id) => [...instances.values()].find(({ spec }) => spec.id === id)?.stderr() ?? "",
    pick: (server, version, tried) => leastBusy(groups.get(`${server}@${version}`), tried, ports),
    resultBytesMax,
    close: async () => {
      reconcile(fleet, [], open);
      await Promise.all(fleet.leaving.values());
    },
    abandon: () => {
      for (const instance of [...instances.values(), ...fleet.leaving.keys()]) instance.abandon();
    },
  };
}

function reconcile(fleet: Fleet, wanted: readonly InstanceOf[], open: (one: InstanceOf) => Instance): void {
  const { instances, groups, leaving } = fleet;
  const keep = new Map(wanted.map((one) => [keyOf(one), one]));
  for (const [key, instance] of instances) {
    if (keep.has(key)) continue;
    instances.delete(key);
    const left = instance.drain().catch(() => {});
    leaving.set(instance, left);
    void left.then(() => leaving.delete(instance));
  }
  groups.clear();
  for (const [key, one] of keep) {
    const instance = instances.get(key) ?? open(one);
    instances.set(key, instance);
    const group = `${one.server}@${one.version}`;
    groups.set(group, [...(groups.get(group) ?? []), instance]);
  }
}

/** Healthy ones first; those set aside are asked too, for a discovery that succeeds is as good as a probe. */
async function discoverFirst(group: readonly Instance[], signal: AbortSignal): Promise<Discovery> {
  let failure = new Refusal("upstream_unavailable", "The server has no instance.");
  for (const instance of group.toSorted(
    (a, b) => Number(a.state() === "set_aside") - Number(b.state() === "set_aside"),
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

/** Ties are broken by chance: gateways that all count from the first would all hit the first. */
function leastBusy(group: readonly Instance[] | undefined, tried: readonly Instance[], ports: Ports): Instance | null {
  let best: Instance | null = null;
  let ties = 1;
  for (const instance of group ?? []) {
    if (instance.state() === "set_aside" || tried.includes(instance)) continue;
    const ahead = best === null ? -1 : instance.inFlight() - best.inFlight();
    if (ahead > 0) continue;
    ties = ahead === 0 ? ties + 1 : 1;
    if (ahead < 0 || ports.random.fraction() < 1 / ties) best = instance;
  }
  return best;
}

function statusOf(instance: Instance): InstanceStatus {
  const { spec, server, version } = instance;
  return {
    id: spec.id,
    server,
    version,
    kind: spec.kind,
    state: instance.state(),
    inFlight: instance.inFlight(),
    lastError: instance.lastError(),
  };
}

function connector(options: UpstreamOptions): Connect {
  const http = {
    connectTimeoutMs: options.connectTimeoutMs ?? 5000,
    ...(options.resolve === undefined ? {} : { resolve: options.resolve }),
  };
  return (spec, connection) =>
    spec.kind === "stdio" ? connectStdio(spec, connection) : connectHttp(spec, { ...connection, ...http });
}

/** Everything that makes an instance what it is: change one word of it and it is another. */
function keyOf({ server, version, spec }: { server: string; version: string; spec: InstanceSpec }): string {
  return JSON.stringify([server, version, spec]);
}
