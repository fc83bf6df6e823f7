/**
 * As whom does a key or a token act? A user's key as that user; an agent's key as the agent, with no more than the user
 * it acts for may do. What surprises: an agent need not be declared; if it is, its own roles cut the user's down further.
 * And a token is never a declared principal's: who is declared has keys, and a token in that name is refused.
 */
import type { Key, Principal, Snapshot } from "../model.ts";
import { ADMIN_PERMISSIONS, SIDECAR_PERMISSIONS, permissionsOf } from "../operations.ts";
import type { TokenFacts } from "./claims.ts";

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

/**
 * The principal that a token stands for; null where the name is another's: of a declared principal, of an agent or a
 * sidecar with a key, of the machine's owner. Roles are the token's, as far as the configuration knows them; what they
 * may do is the configuration's alone.
 */
export function principalOfToken(snapshot: Snapshot, facts: TokenFacts): Principal | null {
  const { principals, roles: known } = snapshot;
  const { subject, actor, isClient, tenant, claims } = facts;
  if (principals.has(subject) || subject === LOCAL.id || agentsOf(snapshot).has(subject)) return null;
  const roles = facts.roles.filter((role) => Object.hasOwn(known, role));
  const permissions = permissionsOf(known, roles);
  const kind = isClient ? "agent" : "user";
  const own: Principal = { id: subject, kind, roles, permissions, tenant, onBehalfOf: null, claims };
  if (actor === null) return own;
  const declared = principals.get(actor);
  return declared?.kind === "user" || actor === LOCAL.id ? null : agentFor(actor, own, declared);
}

const agentNames = new WeakMap<Snapshot, ReadonlySet<string>>();

/** Agents and sidecars that have keys, declared or not. */
function agentsOf(snapshot: Snapshot): ReadonlySet<string> {
  let names = agentNames.get(snapshot);
  if (names === undefined) {
    const agentKeys = [...snapshot.keys.values()].filter(({ kind }) => kind !== "user");
    agentNames.set(snapshot, (names = new Set(agentKeys.map(({ principal }) => principal))));
  }
  return names;
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
