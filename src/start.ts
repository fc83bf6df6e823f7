/**
 * Starts a gateway: reads what the operator wrote, opens what outlives the process, lets the rooms meet, and listens.
 * What surprises: nothing waits for a server. The last good catalogue is served from the first moment, stale until
 * discovery says otherwise.
 */
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { createAudit } from "./audit/audit.ts";
import { startExports } from "./audit/export.ts";
import { readConfigFile } from "./config-file.ts";
import type { Config } from "./config.ts";
import type { Gateway } from "./gateway.ts";
import { checkHealth } from "./health.ts";
import { createIdentity } from "./identity/authenticate.ts";
import { createInForce } from "./inforce.ts";
import { createLimits } from "./limits/limit.ts";
import type { Snapshot } from "./model.ts";
import { assertOperations } from "./operations.ts";
import { openDoors } from "./open-doors.ts";
import type { Doors } from "./open-doors.ts";
import { createPolicies } from "./policy/load.ts";
import type { Ports } from "./ports.ts";
import { instancesOf } from "./registry/catalogue.ts";
import { createDiscoverer } from "./registry/discovery.ts";
import { createValidators } from "./registry/validate.ts";
import { rolesOf } from "./snapshot/build.ts";
import { openKeyring } from "./snapshot/keyring.ts";
import { openStore } from "./snapshot/store.ts";
import { createUpstreams } from "./upstream/upstreams.ts";

export type StartOptions = {
  readonly configFile: string;
  /** For `${ENV}` in the file and PATH of stdio servers; nothing else is read from it. */
  readonly env: { readonly [name: string]: string | undefined };
  readonly ports: Ports;
};
export type Running = {
  readonly gateway: Gateway;
  readonly config: Config;
  /** As bound. */
  readonly traffic: string;
  readonly admin: string;
  readonly socket: string;
  /** True where the store was empty: demo keys are issued then. */
  readonly firstStart: boolean;
  readonly reload: () => Promise<void>;
  /** Readiness off, no new calls, running ones finish within `drain`, everything written and closed. */
  readonly close: () => Promise<void>;
};

export const VERSION = "0.1.0";
const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** @throws ConfigFault, PolicyRefused, or an Error with code EADDRINUSE */
export async function start({ configFile, env, ports }: StartOptions): Promise<Running> {
  assertOperations();
  const file = resolve(configFile);
  const base = dirname(file);
  const config = await readFile(file, env, ports);
  const data = resolve(base, config.data);
  await ports.disk.mkdir(data, { recursive: true, mode: 0o700 });
  const policies = createPolicies({
    compilerDir: join(ROOT, "policies/compiler"),
    cacheDir: join(data, "compiled"),
    ports,
  });
  const load = (from: Config) => policies.load(resolve(base, from.policies), rolesOf(from));
  const [policy, keyring] = await Promise.all([
    load(config),
    openKeyring(join(data, "keyring.json"), ports.disk, ports.random),
  ]);
  const store = openStore(join(data, "portcullis.db"));
  const firstStart = store.changes().length === 0;
  const inForce = createInForce({ config, policy }, store, ports);
  const audit = createAudit(
    { directory: join(data, "audit"), flush: config.audit.flush, keyedDigestKey: keyring.digest.key, version: VERSION },
    ports,
  );
  const exports = await startExports(
    { directory: join(data, "audit"), targets: config.audit.export, version: VERSION },
    ports,
  );
  const upstreams = createUpstreams({ resultBytesMax: config.maxResult, searchPath: env["PATH"] ?? "" }, ports);
  const validators = createValidators({}, ports);
  const limits = await createLimits({ redisUrl: config.redis }, ports);
  const { failures, window } = config.auth.addressLimit;
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
  let reloadFault: string | null = null;

  const reload = async (): Promise<void> => {
    try {
      const next = await readFile(file, env, ports);
      inForce.configure(next, await load(next));
      reconcile(next);
      reloadFault = null;
      ports.log.info({ revision: inForce.snapshot().revision }, "reloaded");
    } catch (cause) {
      reloadFault = cause instanceof Error ? cause.message : "unreadable";
      ports.log.error({ err: cause }, "reload failed: the old configuration stays in force");
      throw cause;
    }
  };
  const reconcile = (from: Config): void => {
    const versions = from.servers.map((one) => ({
      server: one.name,
      version: one.version,
      instances: instancesOf(one, base),
    }));
    upstreams.reconcile(
      versions.flatMap(({ server, version, instances }) => instances.map((spec) => ({ server, version, spec }))),
    );
    discoverer.reconcile(versions);
  };
  const prepare = (snapshot: Snapshot): void => {
    const tools = [...snapshot.tools.values()].flat();
    validators
      .prepare(tools)
      .catch((cause: unknown) => ports.log.warn({ err: cause }, "schemas are prepared when they are needed"));
  };
  const control: Gateway["control"] = {
    config: inForce.config,
    append: inForce.append,
    reload,
    onSnapshot: inForce.onSnapshot,
    health: () => checkHealth({ gateway, exports, data, reloadFault: () => reloadFault }),
  };
  const identity = createIdentity({ failures, windowMs: window }, ports);
  const gateway: Gateway = {
    ports,
    snapshot: inForce.snapshot,
    identity,
    validators,
    limits,
    upstreams,
    audit,
    control,
  };

  upstreams.onListChanged(discoverer.refresh);
  inForce.onSnapshot(prepare);
  prepare(inForce.snapshot());
  const stopAll = async (): Promise<void> => {
    discoverer.close();
    await upstreams.close();
    limits.close();
    await Promise.all([validators.close(), policies.close(), exports.close()]);
    await audit.close();
    store.close();
  };
  const ready = (): boolean => inForce.snapshot().policy !== null && audit.stats().writable && discoverer.settled();
  const doors: Doors = await openDoors(gateway, { config, data, keyring, ready }).catch(async (cause: unknown) => {
    await stopAll();
    throw cause;
  });
  reconcile(config);
  const close = async (): Promise<void> => {
    await doors.close(inForce.config().drain);
    await stopAll();
  };
  return { gateway, config, ...doors.addresses, firstStart, reload, close };
}

async function readFile(file: string, env: StartOptions["env"], { disk, log }: Ports): Promise<Config> {
  const { config, warnings } = await readConfigFile(file, env, disk);
  for (const warning of warnings) log.warn({ warning }, "the configuration is taken, but");
  return config;
}
