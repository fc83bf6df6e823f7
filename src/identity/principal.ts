/**
 * As whom does a key act? A user's key as that user; an agent's key as the agent, with no more than the user it acts
 * for may do. What surprises: an agent need not be declared; if it is, its own roles cut the user's down further.
 */
import type { Key, Principal, Snapshot } from "../model.ts";
import { ADMIN_PERMISSIONS, SIDECAR_PERMISSIONS } from "../operations.ts";

/** The principal that a key stands for, or null where the configuration no longer knows who that is. */
export function principalOf(snapshot: Snapshot, key: Key): Principal | null {
  if (key.kind === "sidecar") return sidecar(key.principal);
  const declared = snapshot.principals.get(key.principal);
  if (key.kind === "user") return declared ?? null;
  // without a user behind it, an agent has only what it was declared with; a user's name is no agent
  if (key.onBehalfOf === null) return declared?.kind === "agent" ? declared : null;
  const user = snapshot.principals.get(key.onBehalfOf);
  if (user?.kind !== "user") return null;
  const known = agents.get(key)?.get(snapshot);
  if (known !== undefined) return known;
  const agent = agentFor(key.principal, user, declared);
  agents.set(key, new WeakMap([[snapshot, agent]]));
  return agent;
}

/** One object for as long as nothing changes: what is known of a principal is kept by it. */
const agents = new WeakMap<Key, WeakMap<Snapshot, Principal>>();

/** The owner of the machine's admin socket: everything but calling tools. */
export const LOCAL: Principal = {
  id: "local",
  kind: "user",
  roles: ["admin"],
  permissions: ADMIN_PERMISSIONS,
  tenant: "default",
  onBehalfOf: null,
  claims: {},
};

/** Needs no entry in the configuration: it is a part of the gateway, and acts for nobody. */
function sidecar(id: string): Principal {
  return {
    id,
    kind: "agent",
    roles: ["sidecar"],
    permissions: SIDECAR_PERMISSIONS,
    tenant: "default",
    onBehalfOf: null,
    claims: {},
  };
}

function agentFor(id: string, user: Principal, declared: Principal | undefined): Principal {
  return {
    id,
    kind: "agent",
    roles: shared(user.roles, declared?.roles),
    permissions: shared(user.permissions, declared?.permissions),
    tenant: user.tenant,
    onBehalfOf: user.id,
    claims: user.claims,
  };
}

function shared(users: readonly string[], agents: readonly string[] | undefined): readonly string[] {
  return agents === undefined ? users : users.filter((name) => agents.includes(name));
}
