/** WHAT IS IN FORCE? Configuration, changes, catalogue and policy become one immutable snapshot with one revision. */
import { hash } from "node:crypto";
import type { Config } from "../config.ts";
import type { Issuer } from "../config-jwt.ts";
import type { Key, Limit, Policy, Principal, Server, Snapshot, Tool } from "../model.ts";
import { ADMIN_PERMISSIONS, permissionsOf } from "../operations.ts";

export type Sources = {
  readonly config: Config;
  readonly issuedKeys: ReadonlyMap<string, Key>;
  readonly servers: ReadonlyMap<string, Server>;
  readonly tools: ReadonlyMap<string, readonly Tool[]>;
  readonly policy: Policy | null;
};

export function buildSnapshot(sources: Sources): Snapshot {
  const { config, servers, tools, policy } = sources;
  const roles = rolesOf(config);
  const keys = new Map([...sources.issuedKeys, ...config.auth.keys.map((key) => [key.id, fileKey(key)] as const)]);
  const { refusals, disclosure } = config;
  const anonymous = config.auth.anonymous === "off" ? null : config.auth.anonymous;
  const limits = new Map(config.limits.map((limit) => [limit.name, limitOf(limit)]));
  const principals = new Map(config.principals.map((one) => [one.id, principalOf(one, roles)]));
  return {
    revision: revisionOf(sources, keys),
    settings: { refusals, disclosure, anonymous, issuers: config.auth.jwt.map(issuerOf) },
    tools,
    servers,
    principals,
    roles,
    keys,
    limits,
    policy,
  };
}

/** The file's map; `admin` holds every administrative permission unless the file says otherwise. */
export function rolesOf(config: Config): Snapshot["roles"] {
  return { admin: ADMIN_PERMISSIONS, ...config.roles };
}

function principalOf(one: Config["principals"][number], roles: Snapshot["roles"]): Principal {
  return {
    id: one.id,
    kind: one.kind,
    roles: one.roles,
    permissions: permissionsOf(roles, one.roles),
    tenant: one.tenant,
    onBehalfOf: null,
    claims: {},
  };
}

function fileKey({ id, principal, agent, hash: digest }: Config["auth"]["keys"][number]): Key {
  const whose =
    agent === undefined
      ? { principal, kind: "user" as const, onBehalfOf: null }
      : { principal: agent, kind: "agent" as const, onBehalfOf: principal };
  return { id, ...whose, hash: digest, origin: "file", createdAt: null, revokedAt: null };
}

function issuerOf({ audience, paths, clockTolerance, ...one }: Config["auth"]["jwt"][number]): Issuer {
  const [first, ...others] = audience;
  if (first === undefined) throw new Error("An issuer without an audience.");
  const own = Object.entries(paths).map(([path, named]) => ({ path, accepted: [named] as const }));
  const longestFirst = own.toSorted((a, b) => b.path.length - a.path.length);
  return {
    ...one,
    audiences: [...longestFirst, { path: "/", accepted: [first, ...others] }],
    roles: one.roles ?? null,
    tenant: one.tenant ?? null,
    jwks: one.jwks ?? null,
    clockToleranceMs: clockTolerance,
  };
}

function limitOf({ window, ...limit }: Config["limits"][number]): Limit {
  return { ...limit, windowMs: window };
}

/** Over everything that decides: a record that names it can be judged again. Secrets enter as part of a hash only. */
function revisionOf({ config, servers, policy }: Sources, keys: ReadonlyMap<string, Key>): string {
  const listed = [...servers.values()].flatMap(({ versions }) =>
    [...versions.values()].map(({ tools }) => toolsDigest(tools)),
  );
  return digestOf([2, configDigest(config), [...keys.values()], listed, policy?.revision ?? null]);
}

/** Of a part that most snapshots share with the one before. */
function digestOnce<Part extends object>(contents: (part: Part) => unknown): (part: Part) => string {
  const digests = new WeakMap<Part, string>();
  return (part) => {
    const digest = digests.get(part) ?? digestOf(contents(part));
    digests.set(part, digest);
    return digest;
  };
}

const configDigest = digestOnce((config: Config) => config);
const toolsDigest = digestOnce((tools: ReadonlyMap<string, Tool>) =>
  [...tools.values()].map(({ id, digest, quarantined, stale }) => [id, digest, quarantined, stale]),
);

function digestOf(value: unknown): string {
  return `sha256:${hash("sha256", JSON.stringify(value), "hex")}`;
}
