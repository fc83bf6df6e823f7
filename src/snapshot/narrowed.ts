/**
 * What of what is in force may still count, now that a later snapshot is known and its policy is not warm yet? All that
 * the later one takes away is gone at once: keys, principals, roles and permissions, issuers, the anonymous one. What it
 * gives waits, so that nothing counts that neither of the two allows.
 */
import type { Config } from "../config.ts";
import type { Key } from "../model.ts";
import type { PublishedAuth, Roles } from "./published.ts";
import type { Received } from "./received.ts";

/** Null where nothing is taken away. */
export function narrowed(now: Received, next: Received): Received | null {
  const less = {
    ...now,
    keys: keysOf(now.keys, next.keys),
    principals: principalsOf(now.principals, next.principals),
    settings: {
      ...now.settings,
      roles: rolesOf(now.settings.roles, next.settings.roles),
      auth: authOf(now.settings.auth, next.settings.auth),
    },
  };
  if (textOf(less) === textOf(now)) return null;
  // a revision of its own: what is in force is neither the one nor the other
  const between = next.parts.map(({ digest }) => digest).join();
  return { ...less, parts: [...now.parts, { name: "between", digest: between, local: false, text: () => "" }] };
}

function textOf({ keys, principals, settings }: Received): string {
  return JSON.stringify([[...keys], principals, settings]);
}

function keysOf(now: ReadonlyMap<string, Key>, next: ReadonlyMap<string, Key>): ReadonlyMap<string, Key> {
  return new Map([...now].filter(([id, { revokedAt }]) => revokedAt !== null || next.get(id)?.revokedAt === null));
}

/** Whoever is new is there without a role: a token in that name is refused from now on. */
function principalsOf(now: Config["principals"], next: Config["principals"]): Config["principals"] {
  const before = new Map(now.map((one) => [one.id, one]));
  return next.map((one) => {
    const own = before.get(one.id);
    if (own === undefined) return { ...one, roles: [] };
    const roles = own.roles.filter((role) => one.roles.includes(role));
    return roles.length === own.roles.length && own.kind === one.kind && own.tenant === one.tenant
      ? own
      : { ...one, roles };
  });
}

function rolesOf(now: Roles, next: Roles): Roles {
  const kept = Object.entries(now).filter(([role]) => Object.hasOwn(next, role));
  return Object.fromEntries(
    kept.map(([role, permissions]) => [role, permissions.filter((one) => next[role]?.includes(one) === true)]),
  );
}

function authOf(now: PublishedAuth, next: PublishedAuth): PublishedAuth {
  const inNext = new Set(next.jwt.map((issuer) => JSON.stringify(issuer)));
  return {
    ...now,
    jwt: now.jwt.filter((issuer) => inNext.has(JSON.stringify(issuer))),
    anonymous: JSON.stringify(now.anonymous) === JSON.stringify(next.anonymous) ? now.anonymous : "off",
  };
}
