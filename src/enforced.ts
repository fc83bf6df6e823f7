/**
 * Which policy do the configuration and the changes name? A folder's, or the applied one; and beside it, those in
 * shadow, the file's and applied ones. What surprises: what cannot be enforced stops a start or a change; what cannot
 * be run in shadow stops nothing, unless it is what the change itself brings.
 */
import { resolve } from "node:path";
import { ENFORCED, MANAGED, SHADOW_STEPS, SHADOWS_MAX } from "./config-bundle.ts";
import type { Config } from "./config.ts";
import type { Policy } from "./model.ts";
import type { Role, Sources } from "./operate.ts";
import { fault, PolicyRefused } from "./policy/diagnostic.ts";
import type { Policies, ShadowWish } from "./policy/load.ts";
import type { ChangeState } from "./registry/changes.ts";
import { rolesOf } from "./snapshot/published.ts";

type Place = {
  /** Of the configuration file. */
  readonly folder: string;
  /** Of the policy that ships with the product. */
  readonly shipped: string;
  readonly role: Role;
};
type Compiling = Pick<Sources, "compile" | "prove" | "warm" | "shadow">;

export function enforcedBy(policies: Policies, { folder, shipped, role }: Place): Compiling {
  const shadow: Compiling["shadow"] = async (policy, config, changes) => ({
    ...policy,
    shadows: await policies.shadows(shadowsOf(config, changes, folder), rolesOf(config)),
  });
  return {
    compile: async (config, changes) => {
      if (role === "sidecar") return undefined;
      const managed = config.policies === MANAGED;
      const named = managed ? shipped : resolve(folder, config.policies);
      const applied = managed ? changes.entries.policies.get(ENFORCED) : undefined;
      return await shadow(await policies.load(applied ?? named, rolesOf(config)), config, changes);
    },
    prove: async (bundle, config, coverage) => {
      await policies.load(bundle, rolesOf(config));
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
