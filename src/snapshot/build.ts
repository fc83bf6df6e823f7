/** WHAT IS IN FORCE? Configuration, changes, catalogue and policy become one immutable snapshot with one revision. */
import type { Config } from "../config.ts";
import type { Issuer } from "../config-jwt.ts";
import type { Key, Limit, Policy, Principal, Server, Snapshot, SnapshotPart, Tool } from "../model.ts";
import { permissionsOf } from "../operations.ts";
import type { Catalogue } from "../registry/catalogue.ts";
import { localParts, publishedParts, revisionOf } from "./parts.ts";
import { rolesOf } from "./published.ts";

export type Sources = Catalogue & {
  readonly config: Config;
  readonly issuedKeys: ReadonlyMap<string, Key>;
  readonly approved: ReadonlyMap<string, string>;
  readonly servers: ReadonlyMap<string, Server>;
  readonly tools: ReadonlyMap<string, readonly Tool[]>;
  readonly policy: Policy | null;
  /** As they were received; null where they are made here. */
  readonly received: readonly SnapshotPart[] | null;
};

export function buildSnapshot(sources: Sources): Snapshot {
  const { config, servers, tools, policy } = sources;
  const roles = rolesOf(config);
  const keys = keysOf(sources.issuedKeys, config.auth.keys);
  const { refusals, disclosure } = config;
  const anonymous = config.auth.anonymous === "off" ? null : config.auth.anonymous;
  const limits = new Map(config.limits.map((limit) => [limit.name, limitOf(limit)]));
  const parts = [...(sources.received ?? publishedParts({ ...sources, keys })), ...localParts(sources)];
  return {
    revision: revisionOf(parts),
    parts,
    settings: { refusals, disclosure, anonymous, issuers: config.auth.jwt.map(issuerOf) },
    tools,
    servers,
    principals: principalsOf(config.principals, roles),
    roles,
    keys,
    limits,
    policy,
  };
}

type Kept<Terms, Value> = { readonly terms: Terms; readonly value: Value };
const keptPrincipals = new WeakMap<Config["principals"], Kept<string, Snapshot["principals"]>>();
const keptKeys = new WeakMap<Snapshot["keys"], Kept<FileKeys, Snapshot["keys"]>>();
type FileKeys = Config["auth"]["keys"];

/** The same objects for as long as they are the same: ten thousand of them are not made anew for each new snapshot. */
function principalsOf(principals: Config["principals"], roles: Snapshot["roles"]): Snapshot["principals"] {
  const terms = JSON.stringify(roles);
  const kept = keptPrincipals.get(principals);
  if (kept?.terms === terms) return kept.value;
  const value = new Map(principals.map((one) => [one.id, keptPrincipal(one, { terms, roles })]));
  keptPrincipals.set(principals, { terms, value });
  return value;
}

const keptOnes = new WeakMap<Config["principals"][number], Kept<string, Principal>>();

function keptPrincipal(
  one: Config["principals"][number],
  { terms, roles }: { readonly terms: string; readonly roles: Snapshot["roles"] },
): Principal {
  const kept = keptOnes.get(one);
  if (kept?.terms === terms) return kept.value;
  const value = principalOf(one, roles);
  keptOnes.set(one, { terms, value });
  return value;
}

function keysOf(issued: Snapshot["keys"], inFile: FileKeys): Snapshot["keys"] {
  const kept = keptKeys.get(issued);
  if (kept?.terms === inFile) return kept.value;
  const value = new Map([...issued, ...inFile.map((key) => [key.id, fileKey(key)] as const)]);
  keptKeys.set(issued, { terms: inFile, value });
  return value;
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

function limitOf({ window = 0, ...limit }: Config["limits"][number]): Limit {
  return { ...limit, burst: limit.burst ?? limit.limit, windowMs: window };
}
