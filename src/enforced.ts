/**
 * Which policy do the configuration and the changes name? A folder's, or the applied one; and beside it, those in
 * shadow, the file's and applied ones. What surprises: what cannot be enforced stops a start or a change; what cannot
 * be run in shadow stops nothing, unless it is what the change itself brings.
 */
import { join, resolve } from "node:path";
import { ENFORCED, isRemote, MANAGED, SHADOW_STEPS, SHADOWS_MAX } from "./config-bundle.ts";
import type { Config } from "./config.ts";
import type { Policy } from "./model.ts";
import type { Role, Sources } from "./operate.ts";
import { bytesOf, isBundleFile, verifyKeyOf } from "./policy/bundle-place.ts";
import { fault, PolicyRefused } from "./policy/diagnostic.ts";
import type { Policies, ShadowWish } from "./policy/load.ts";
import { createRemote } from "./policy/remote-bundle.ts";
import type { Remote } from "./policy/remote-bundle.ts";
import type { VerifyKey } from "./policy/signed-bundle.ts";
import { textsOf } from "./policy/sources.ts";
import type { Texts } from "./policy/sources.ts";
import type { Ports } from "./ports.ts";
import type { ChangeState } from "./registry/changes.ts";
import { rolesOf } from "./snapshot/published.ts";
import { askDocument } from "./upstream/document.ts";

type Place = {
  /** Of the configuration file. */
  readonly folder: string;
  /** Of the policy that ships with the product. */
  readonly shipped: string;
  readonly role: Role;
  /** Where the last good bundle of a server is kept. */
  readonly data: string;
};
type Compiling = Pick<Sources, "compile" | "prove" | "warm" | "shadow">;
export type Enforced = Compiling & {
  /** Null, or why what a bundle server says is not in force. */
  readonly bundleFault: () => string | null;
  /** Whenever a bundle server has another one. */
  readonly follow: (changed: () => Promise<void>) => void;
  readonly close: () => void;
};

export function enforcedBy(policies: Policies, place: Place, ports: Ports): Enforced {
  const { folder, shipped, role } = place;
  const files = createFiles(place, policies.readFile, ports);
  const enforced = async (config: Config, changes: ChangeState): Promise<Policy> => {
    const applied = changes.entries.policies.get(ENFORCED);
    const managed = applied === undefined ? shipped : textsOf(applied);
    const from = config.policies === MANAGED ? files.none(managed) : await files.bundleOf(config);
    return await policies.load(from, rolesOf(config));
  };
  /** A bundle of a server's that cannot be enforced at a start gives way to the last good one. */
  const loaded = async (config: Config, changes: ChangeState): Promise<Policy> => {
    try {
      const policy = await enforced(config, changes);
      await files.accepted();
      return policy;
    } catch (cause) {
      const kept = await files.instead(cause);
      if (kept === null) {
        files.undone();
        throw cause;
      }
      return await policies.load(kept, rolesOf(config));
    }
  };
  const shadow: Compiling["shadow"] = async (policy, config, changes) => ({
    ...policy,
    shadows: await policies.shadows(shadowsOf(config, changes, folder), rolesOf(config)),
  });
  return {
    compile: async (config, changes) => {
      if (role === "sidecar") return undefined;
      return await shadow(await loaded(config, changes), config, changes);
    },
    prove: async (applied, config, { coverage, shadow: isShadow }) => {
      const bundle = textsOf(applied);
      await policies.load(bundle, rolesOf(config), { shadow: isShadow });
      await policies.prove(bundle, rolesOf(config), coverage);
    },
    warm: async ({ source, shadows = [] }, config): Promise<Policy> => {
      const roles = rolesOf(config);
      const wanted = shadows.flatMap(({ name, policy, stepsMax }) =>
        policy === null ? [] : [{ name, from: policy.source, stepsMax }],
      );
      const broken = shadows.filter(({ policy }) => policy === null);
      return {
        ...(await policies.warm(source, roles)),
        shadows: [...(await policies.shadows(wanted, roles)), ...broken],
      };
    },
    shadow,
    ...files,
  };
}

type BundleFiles = Pick<Enforced, "bundleFault" | "follow" | "close"> & {
  /** A folder, or what the file or the server that it names holds. @throws PolicyRefused */
  readonly bundleOf: (config: Config) => Promise<string | Texts>;
  /** No file and no server, but this. */
  readonly none: <From>(from: From) => From;
  /** What was read last is in force: whoever was asked before is asked no more. */
  readonly accepted: Remote["accepted"];
  readonly instead: Remote["instead"];
  /** What was read last is not in force: whoever was asked before still is. */
  readonly undone: () => void;
};

/** Which server is asked, and by which terms. */
type Asked = { readonly remote: Remote | null; readonly terms: string };
const NOBODY: Asked = { remote: null, terms: "" };

function createFiles({ folder, data }: Place, readFile: Policies["readFile"], ports: Ports): BundleFiles {
  let now: Asked = NOBODY;
  let before: Asked = NOBODY;
  let changed: (() => Promise<void>) | null = null;
  const turnTo = (next: Asked): void => {
    if (now !== before && now !== next) now.remote?.close();
    now = next;
  };
  const close = (): void => {
    for (const { remote } of [now, before]) remote?.close();
    now = before = NOBODY;
  };
  const remoteOf = async ({ policies: url, bundle }: Config, key: VerifyKey): Promise<Remote> => {
    const wanted = JSON.stringify([url, bundle, key]);
    const known = [now, before].find(({ terms }) => terms === wanted);
    if (known?.remote != null) {
      turnTo(known);
      return known.remote;
    }
    const { headers, allowPrivate, poll: pollMs } = bundle;
    const ask = { ...ports, ask: askDocument, readFile };
    const next = createRemote({ url, key, headers, allowPrivate, pollMs }, join(data, "bundle"), ask);
    await next.current();
    turnTo({ remote: next, terms: wanted });
    return next;
  };
  return {
    bundleOf: async (config) => {
      const key = await verifyKeyOf(config.bundle, folder, ports.disk);
      if (isRemote(config) && key !== null) return await (await remoteOf(config, key)).current();
      turnTo(NOBODY);
      const path = resolve(folder, config.policies);
      return isBundleFile(path) ? await readFile(await bytesOf(path, ports.disk), key) : path;
    },
    none: (from) => {
      turnTo(NOBODY);
      return from;
    },
    bundleFault: () => now.remote?.fault() ?? null,
    accepted: async () => {
      if (now !== before) {
        before.remote?.close();
        if (changed !== null) now.remote?.follow(changed);
        before = now;
      }
      await now.remote?.accepted();
    },
    instead: async (cause) => {
      const kept = (await now.remote?.instead(cause)) ?? null;
      if (kept !== null) before = now;
      return kept;
    },
    undone: () => turnTo(before),
    follow: (listener) => {
      changed = listener;
      now.remote?.follow(listener);
    },
    close,
  };
}

/** The file's counts where both have the name. @throws PolicyRefused where there are too many */
function shadowsOf({ shadow }: Config, { entries }: ChangeState, folder: string): readonly ShadowWish[] {
  const wanted = new Map<string, ShadowWish>();
  for (const [name, from] of entries.policies)
    if (name !== ENFORCED) wanted.set(name, { name, from, stepsMax: SHADOW_STEPS });
  for (const { name, policies, steps } of shadow)
    wanted.set(name, { name, from: resolve(folder, policies), stepsMax: steps });
  if (wanted.size > SHADOWS_MAX) {
    const message = `there are at most ${SHADOWS_MAX} bundles in shadow, and with this one ${wanted.size}`;
    throw new PolicyRefused([fault("too_many_shadows", message)]);
  }
  return [...wanted.values()].toSorted((one, other) => (one.name < other.name ? -1 : 1));
}
