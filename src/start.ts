/**
 * Starts a gateway: reads what the operator wrote, opens what outlives the process, lets the rooms meet, and listens.
 * What surprises: nothing waits for a server. The last good catalogue is served from the first moment, stale until
 * discovery says otherwise.
 */
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { readConfigFile } from "./config-file.ts";
import type { Config } from "./config.ts";
import type { Gateway } from "./gateway.ts";
import { checkHealth } from "./health.ts";
import { createInForce, stateOf } from "./inforce.ts";
import type { InForce } from "./inforce.ts";
import { openDoors } from "./open-doors.ts";
import { operate } from "./operate.ts";
import type { Operation } from "./operate.ts";
import { assertOperations } from "./operations.ts";
import { createPolicies } from "./policy/load.ts";
import type { Ports } from "./ports.ts";
import { inEffect } from "./registry/effect.ts";
import { openRooms } from "./rooms.ts";
import type { Rooms } from "./rooms.ts";
import { rolesOf } from "./snapshot/build.ts";
import { openKeyring } from "./snapshot/keyring.ts";
import type { Keyring } from "./snapshot/keyring.ts";
import { openStore } from "./snapshot/store.ts";
import type { Store } from "./snapshot/store.ts";
import { VERSION } from "./version.ts";

export type StartOptions = {
  readonly configFile: string;
  /** For `${ENV}` in the file and PATH of stdio servers; nothing else is read from it. */
  readonly env: { readonly [name: string]: string | undefined };
  readonly ports: Ports;
  /** In production there is no GraphiQL. */
  readonly production: boolean;
  /** Registers what must be done, at once, however the process ends. */
  readonly onExit: (listener: () => void) => void;
};
export type Running = {
  readonly gateway: Gateway;
  readonly config: Config;
  /** As bound. */
  readonly traffic: string;
  readonly admin: string;
  readonly socket: string;
  readonly grpc: string | null;
  /** True where the store was empty: demo keys are issued then. */
  readonly firstStart: boolean;
  readonly reload: () => Promise<void>;
  /** Readiness off, no new calls, running ones finish within `drain`, everything written and closed. */
  readonly close: () => Promise<void>;
};

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** @throws ConfigFault, PolicyRefused, or an Error with code EADDRINUSE */
export async function start({ configFile, env, ports, production, onExit }: StartOptions): Promise<Running> {
  assertOperations();
  const file = resolve(configFile);
  const folder = dirname(file);
  const read = () => readFile(file, env, ports);
  const config = await read();
  const data = resolve(folder, config.data);
  await ports.disk.mkdir(data, { recursive: true, mode: 0o700 });

  const policies = createPolicies({
    compilerDir: join(ROOT, "policies/compiler"),
    cacheDir: join(data, "compiled"),
    ports,
  });
  const compile = (from: Config) => policies.load(resolve(folder, from.policies), rolesOf(from));
  const withRoles = (from: Config) => policies.withRoles(rolesOf(from));
  const store = openStore(join(data, "portcullis.db"));
  const logged = store.changes();
  const firstStart = logged.length === 0;
  const [policy, keyring] = await Promise.all([
    compile(inEffect(config, stateOf(logged))),
    openKeyring(join(data, "keyring.json"), ports.disk, ports.random),
  ]).catch((cause: unknown) => {
    store.close();
    throw cause;
  });
  const inForce = createInForce({ config, policy }, store, ports);
  const rooms = await openRooms({ config, data, keyring, searchPath: env["PATH"] ?? "", version: VERSION }, ports);
  // stdio servers lead process groups of their own: nobody else would end them after a crash
  onExit(rooms.upstreams.abandon);
  const operation = operate(inForce, rooms, { read, compile, withRoles, folder }, ports);
  const gateway = gatewayOf(inForce, rooms, operation, { data, keyring, store, ports });
  const stop = async (): Promise<void> => {
    operation.close();
    await rooms.close();
    await policies.close();
    store.close();
  };
  const ready = (): boolean =>
    inForce.snapshot().policy !== null && rooms.audit.stats().writable && operation.settled();
  const doors = await openDoors(gateway, { config, data, keyring, ready, production }).catch(async (cause: unknown) => {
    await stop();
    throw cause;
  });
  const close = async (): Promise<void> => {
    await doors.close(inForce.config().drain);
    await stop();
  };
  return { gateway, config, ...doors.addresses, firstStart, reload: operation.reload, close };
}

function gatewayOf(
  inForce: InForce,
  rooms: Rooms,
  { reload, append, prepare, exclusive, reloadFault }: Operation,
  {
    ports,
    ...lasting
  }: { readonly data: string; readonly keyring: Keyring; readonly store: Store; readonly ports: Ports },
): Gateway {
  const { snapshot, config, effective, changes, changeRevision, onSnapshot } = inForce;
  const gateway: Gateway = {
    ports,
    snapshot,
    ...rooms,
    control: {
      config,
      effective,
      changes,
      changeRevision,
      history: lasting.store.changes,
      append,
      prepare,
      exclusive,
      onSnapshot,
      reload,
      health: () => checkHealth({ gateway, exports: rooms.exports, ...lasting, reloadFault }),
    },
  };
  return gateway;
}

async function readFile(file: string, env: StartOptions["env"], { disk, log }: Ports): Promise<Config> {
  const { config, warnings } = await readConfigFile(file, env, disk);
  for (const warning of warnings) log.warn({ warning }, "the configuration is taken, but");
  return config;
}
