/**
 * Starts a gateway, or one of its planes: reads what the operator wrote, opens what outlives the process, lets the rooms meet, and listens.
 * What surprises: nothing waits for a server. The last good catalogue is served from the first moment, stale until
 * discovery says otherwise.
 */
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { recordEnd } from "./change-instances.ts";
import { checkConfig } from "./config-check.ts";
import { ConfigFault, NOT_IN_SIDECARS, readConfigFile } from "./config-file.ts";
import { configSchema } from "./config.ts";
import type { Config } from "./config.ts";
import type { Gateway } from "./gateway.ts";
import { checkHealth } from "./health.ts";
import { createInForce } from "./inforce.ts";
import { enforcedBy } from "./enforced.ts";
import { openDoors } from "./open-doors.ts";
import { operate } from "./operate.ts";
import type { Operation, Role } from "./operate.ts";
import { assertOperations } from "./operations.ts";
import { createPolicies } from "./policy/load.ts";
import type { Ports } from "./ports.ts";
import { measure } from "./metrics.ts";
import { followPeers, followRegistrations } from "./peers.ts";
import type { Peers } from "./peers.ts";
import { agreed } from "./registry/catalogue.ts";
import { isChange, stateOf } from "./registry/changes.ts";
import { inEffect } from "./registry/effect.ts";
import { createRequestMeter } from "./request-meter.ts";
import { openRooms } from "./rooms.ts";
import type { Rooms } from "./rooms.ts";
import { followControl, readControlPlane, shipTo } from "./sidecar-start.ts";
import type { Sidecar } from "./sidecar.ts";
import { createFeed } from "./snapshot/feed.ts";
import { openKeyring } from "./snapshot/keyring.ts";
import type { Agreed } from "./snapshot/shared-discoveries.ts";
import { aloneWith, openLocal } from "./snapshot/store.ts";
import type { Store } from "./snapshot/store.ts";
import { VERSION } from "./version.ts";

export type StartOptions = {
  /** Null where there is none: then every default. */
  readonly configFile: string | null;
  /** Default `serve`: both planes in one process. */
  readonly role?: Role;
  /** Instead of the file's `control.url` and `control.keyFile`. */
  readonly control?: { readonly url: string | null; readonly keyFile: string | null };
  /** Absolute: what is relative without a file is relative to this. */
  readonly cwd?: string;
  /** For `${ENV}` in the file, PATH of stdio servers, and PORTCULLIS_KEYRING; nothing else is read from it. */
  readonly env: { readonly [name: string]: string | undefined };
  readonly ports: Ports;
  /** In production there is no GraphiQL. */
  readonly production: boolean;
  /** Registers what must be done, at once, however the process ends. */
  readonly onExit: (listener: () => void) => void;
  /** Ends the wait of a sidecar for its first snapshot. */
  readonly signal?: AbortSignal;
};
export type Running = {
  readonly gateway: Gateway;
  readonly config: Config;
  /** As bound. */
  readonly traffic: string;
  readonly admin: string;
  readonly socket: string;
  readonly role: Role;
  readonly grpc: string | null;
  /** True where the store was empty: demo keys are issued then. */
  readonly firstStart: boolean;
  readonly reload: () => Promise<void>;
  /** Readiness off, no new calls, running ones finish within `drain`, everything written and closed. */
  readonly close: () => Promise<void>;
};

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
/** The policy that ships with the product, and the compiler. */
const SHIPPED = join(ROOT, "policies");

/** @throws ConfigFault, PolicyRefused, StoreFault, or an Error with code EADDRINUSE */
export async function start(options: StartOptions): Promise<Running> {
  assertOperations();
  const { ports, onExit, env, production, role = "serve" } = options;
  const { folder, read } = placeOf(options, role);
  const config = await read();
  const data = resolve(folder, config.data);
  const control = role === "sidecar" ? await readControlPlane(config, folder, options) : null;
  await ports.disk.mkdir(data, { recursive: true, mode: 0o700 });

  const lasting = await openLasting({ config, folder, data, role }, options);
  const { inForce, policies, sources, store, keyring, feed } = lasting;
  const { ack, writer = control?.keyId ?? "gateway" } = config.audit;
  // what Redis has is gathered from there
  const ship = control === null || ack === "redis" ? null : shipTo(control);
  const records = { ship, writer, gathers: control === null };
  const given = { config, folder, data, keyring, ...records, searchPath: env["PATH"] ?? "", version: VERSION };
  const rooms = await openRooms(given, ports);
  // stdio servers lead process groups of their own: nobody else would end them after a crash
  onExit(rooms.upstreams.abandon);
  const operation = operate(inForce, rooms, { read, ...sources, folder, role, hasTurn: store.hasTurn }, ports);
  sources.follow(operation.refresh);
  const peers = followPeers(
    {
      inForce,
      store,
      operation,
      sidecars: () => feed?.followers() ?? [],
      maxSilentMs: config.control.maxStaleness,
    },
    ports,
  );
  let sidecar: Sidecar | null = null;
  let endMetrics = (): Promise<void> => Promise.resolve();
  const stop = async (): Promise<void> => {
    await endMetrics();
    await sidecar?.close();
    peers.close();
    operation.close();
    sources.close();
    await rooms.close();
    await policies.close();
    await store.close();
  };
  const ready = (): boolean =>
    inForce.snapshot().policy !== null && rooms.audit.stats().writable && operation.settled();
  try {
    if (control !== null)
      sidecar = await followControl({ inForce, policies, operation, config, data, control }, options);
    const gateway = gatewayOf(lasting, rooms, operation, { ports, data, role, sidecar, peers });
    followRegistrations({ inForce, store, operation }, (one) => void recordEnd(gateway, one));
    endMetrics = await sendMetrics(gateway, config.metrics);
    const doors = await openDoors(gateway, { config, data, keyring, ready, production, role });
    const close = async (): Promise<void> => {
      await doors.close(inForce.config().drain);
      await stop();
    };
    const { firstStart } = lasting;
    return { gateway, config, role, ...doors.addresses, firstStart, reload: operation.reload, close };
  } catch (cause) {
    await stop();
    throw cause;
  }
}

/** Loaded only where it is used: it costs start-up time and memory. */
async function sendMetrics(
  gateway: Gateway,
  { otlp, headers, interval }: Config["metrics"],
): Promise<() => Promise<void>> {
  if (otlp === undefined) return () => Promise.resolve();
  const { exportMetrics } = await import("./metrics-export.ts");
  const options = { url: otlp, headers, intervalMs: interval, version: VERSION };
  return exportMetrics(options, gateway.control.metrics, gateway.ports.clock);
}

type Place = { readonly config: Config; readonly folder: string; readonly data: string; readonly role: Role };
type Lasting = Awaited<ReturnType<typeof openLasting>>;

/** What outlives the process, and what of it is in force. */
async function openLasting({ config, folder, data, role }: Place, { ports, env }: StartOptions) {
  const policies = createPolicies({
    compilerDir: join(SHIPPED, "compiler"),
    cacheDir: join(data, "compiled"),
    archiveDir: join(data, "policies"),
    ports,
  });
  const sources = enforcedBy(policies, { folder, shipped: SHIPPED, role, data }, ports);
  const place = { file: join(data, "keyring.json"), given: env["PORTCULLIS_KEYRING"] ?? null };
  // what one of them signs and seals, sidecars and the others must take
  if (config.store !== "sqlite" && place.given === null) throw new ConfigFault([KEYRING_NEEDED]);
  const store = await openStore(config.store, { file: join(data, "portcullis.db"), role }, ports);
  // whatever this folder was before, a sidecar knows of no changes but its control plane's
  const logged = role === "sidecar" ? [] : store.changes();
  const changes = stateOf(logged);
  const [policy = null, keyring] = await Promise.all([
    sources.compile(inEffect(config, changes), changes),
    openKeyring(place, ports),
  ]).catch(async (cause: unknown) => {
    await store.close();
    throw cause;
  });
  const inForce = createInForce({ config, policy }, { ...store, changes: () => logged }, ports);
  const revisions = () => ({ changes: inForce.changeRevision(), keys: inForce.keyRevision() });
  const { snapshot, onSnapshot } = inForce;
  onSnapshot((next) => void policies.keep(next));
  await policies.keep(snapshot());
  const feed =
    role === "sidecar"
      ? null
      : createFeed({ ...store, snapshot, onSnapshot, keys: keyring.snapshot, changes: revisions }, ports);
  const firstStart = role !== "sidecar" && logged.length === 0;
  return { policies, sources, store, place, keyring, inForce, feed, firstStart };
}

const KEYRING_NEEDED =
  "gateways that share a store share one keyring: put the text of one data/keyring.json into PORTCULLIS_KEYRING of each";

type Where = { readonly file: string; readonly role: Role };

/** A sidecar changes nothing: what it keeps is its own. */
async function openStore(said: Config["store"], { file, role }: Where, ports: Ports): Promise<Store> {
  const local = openLocal(file);
  if (said === "sqlite" || role === "sidecar") return aloneWith(local, ports.clock);
  const { shareStore } = await import("./snapshot/shared-store.ts");
  return await shareStore(local, { url: said, agreed: agreed as unknown as Agreed, understood: isChange }, ports);
}

/** Where the file is, and how it is read. */
function placeOf({ configFile, env, ports, cwd = "." }: StartOptions, role: Role) {
  if (configFile === null) {
    const { config } = checkConfig(configSchema.parse({}));
    return { folder: resolve(cwd), read: () => Promise.resolve(config) };
  }
  const file = resolve(configFile);
  const { disk, log } = ports;
  const read = async (): Promise<Config> => {
    const { config, warnings } = await readConfigFile(file, env, disk, role === "sidecar" ? NOT_IN_SIDECARS : []);
    for (const warning of warnings) log.warn({ warning }, "the configuration is taken, but");
    return config;
  };
  return { folder: dirname(file), read };
}

type About = {
  readonly ports: Ports;
  readonly data: string;
  readonly role: Role;
  readonly sidecar: Sidecar | null;
  readonly peers: Peers;
};

function gatewayOf(
  { inForce, policies, sources, store, keyring, place, feed }: Lasting,
  rooms: Rooms,
  { reload, append, prepare, exclusive, reloadFault }: Operation,
  { ports, data, role, sidecar, peers }: About,
): Gateway {
  const { snapshot, config, effective, changes, changeRevision, onSnapshot } = inForce;
  const gateway: Gateway = {
    ports,
    snapshot,
    ...rooms,
    requests: createRequestMeter(),
    carriesCalls: role !== "control",
    control: {
      config,
      effective,
      changes,
      changeRevision,
      feed,
      registrations: store.registrations,
      history: store.changes,
      sidecars: () => feed?.followers(store.sidecars()) ?? [],
      caughtUp: peers.caughtUp,
      append,
      prepare,
      exclusive,
      onSnapshot,
      reload,
      policies,
      shadows: () => policies.shadowStates(snapshot().policy),
      metrics: () => measure(gateway, rooms.exports),
      health: () =>
        checkHealth({
          gateway,
          rooms,
          store,
          keyring,
          place,
          data,
          sidecar,
          reloadFault,
          bundleFault: sources.bundleFault,
          peersFault: peers.fault,
        }),
    },
  };
  return gateway;
}
