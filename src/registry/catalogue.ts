/**
 * WHAT is there? Turns configuration and discoveries into servers and tools. A server that is down keeps its last good
 * list, marked stale; a definition that differs from the accepted one is quarantined; a name that two tools would
 * share belongs to neither.
 */
import { resolve as resolvePath } from "node:path";
import type { Config, ServerConfig } from "../config.ts";
import { namesOf } from "../config-instance.ts";
import { canariesOf } from "../config-route.ts";
import type { Discovery, InstanceSpec, JsonObject, Limit, Server, ServerVersion, Tool } from "../model.ts";
import { canonical, fingerprint } from "./fingerprint.ts";
import { gatewayName } from "./names.ts";

/** What is known of one server version, kept on disk between starts. */
export type Discovered = {
  readonly discovery: Discovery;
  readonly at: string;
  /** The digest under which each upstream name was first seen with this version: accepted, unless approval says otherwise. */
  readonly firstSeen: { readonly [upstreamName: string]: string };
  /** Of tools that changed or went, their latest earlier definitions, oldest first: what an approval is compared with. */
  readonly earlier?: { readonly [upstreamName: string]: readonly JsonObject[] };
};
/** By `server@version`. `fresh` holds those whose last discovery succeeded. */
export type Catalogue = {
  readonly discovered: ReadonlyMap<string, Discovered>;
  readonly fresh: ReadonlySet<string>;
};
export type Listed = {
  readonly servers: ReadonlyMap<string, Server>;
  readonly tools: ReadonlyMap<string, readonly Tool[]>;
  /** Gateway names that two different tools would share: refused, for the log and `doctor`. */
  readonly collisions: readonly string[];
};

const RATE_WINDOW_MS = 60_000;

export function catalogue(config: Config, known: Catalogue, approved: ReadonlyMap<string, string>): Listed {
  const servers = new Map<string, Server>();
  const byName = new Map<string, Tool[]>();
  for (const one of config.servers) {
    const version = serverVersion(one, known, approved);
    const versions = new Map(servers.get(one.name)?.versions).set(one.version, version);
    const { default: first, pins = [], ...shares } = config.routes[one.name] ?? {};
    // a route's default that is gone is nobody else's part
    const defaultVersion =
      first ?? (version.isDefault ? one.version : (servers.get(one.name)?.defaultVersion ?? one.version));
    servers.set(one.name, { name: one.name, defaultVersion, canaries: canariesOf(shares), pins, versions });
    for (const tool of version.tools.values()) byName.set(tool.name, [...(byName.get(tool.name) ?? []), tool]);
  }
  return { servers, ...withoutCollisions(byName, servers) };
}

/** Merges what a server says now with what was first seen of it. Of a server that says the same again, the same object. */
export function discovered(before: Discovered | undefined, discovery: Discovery, at: string): Discovered {
  if (before !== undefined && JSON.stringify(before.discovery) === JSON.stringify(discovery)) return { ...before, at };
  // without a prototype: a tool may be called constructor
  const firstSeen = Object.assign(Object.create(null) as { [name: string]: string }, before?.firstSeen);
  for (const definition of discovery.tools) firstSeen[String(definition["name"])] ??= fingerprint(definition);
  const earlier = earlierOf(before, discovery);
  return { discovery, at, firstSeen, ...(earlier === undefined ? {} : { earlier }) };
}

const EARLIER_MAX = 3;
const EARLIER_CHARACTERS_MAX = 1024 * 1024;

function earlierOf(before: Discovered | undefined, now: Discovery): Discovered["earlier"] {
  const texts = new Map(now.tools.map((definition) => [String(definition["name"]), canonical(definition)]));
  const gone = before?.discovery.tools.filter((one) => texts.get(String(one["name"])) !== canonical(one)) ?? [];
  if (gone.length === 0) return before?.earlier;
  const earlier = new Map(Object.entries(before?.earlier ?? {}));
  for (const definition of gone) {
    const name = String(definition["name"]);
    const others = (earlier.get(name) ?? []).filter((one) => canonical(one) !== canonical(definition));
    earlier.delete(name);
    earlier.set(name, [...others, definition].slice(-EARLIER_MAX));
  }
  return latest(earlier);
}

/** A server that gives other names each time must not fill memory and disk. */
function latest(earlier: ReadonlyMap<string, readonly JsonObject[]>): Discovered["earlier"] {
  let left = EARLIER_CHARACTERS_MAX;
  const kept = [...earlier].toReversed().filter(([, known]) => (left -= JSON.stringify(known).length) >= 0);
  return Object.assign(
    Object.create(null) as { [name: string]: readonly JsonObject[] },
    Object.fromEntries(kept.toReversed()),
  );
}

/** Where two gateways saw different definitions first, neither is accepted until somebody approves one. */
const DISPUTED = "disputed";

/**
 * What two gateways know of one server version: what was said last, and of each tool the digest that was seen first.
 * Of the same, the same to the byte.
 */
export function agreed(mine: Discovered, theirs: Discovered): Discovered {
  const firstSeen = Object.assign(Object.create(null) as { [name: string]: string }, theirs.firstSeen);
  for (const [name, digest] of Object.entries(mine.firstSeen))
    firstSeen[name] = (firstSeen[name] ?? digest) === digest ? digest : DISPUTED;
  const { discovery, at } = mine.at > theirs.at ? mine : theirs;
  const earlier = { ...theirs.earlier, ...withoutThose(mine.earlier, theirs.earlier) };
  return { discovery, at, firstSeen, ...(Object.keys(earlier).length === 0 ? {} : { earlier }) };
}

function withoutThose(mine: Discovered["earlier"] = {}, theirs: Discovered["earlier"] = {}): Discovered["earlier"] {
  return Object.fromEntries(Object.entries(mine).filter(([name]) => !Object.hasOwn(theirs, name)));
}

function serverVersion(server: ServerConfig, known: Catalogue, approved: Approved): ServerVersion {
  const id = `${server.name}@${server.version}`;
  const found = known.discovered.get(id);
  const stale = !known.fresh.has(id);
  return {
    server: server.name,
    version: server.version,
    // config-check has decided it
    isDefault: server.default,
    instances: instancesOf(server),
    discovery: found?.discovery ?? null,
    state: found === undefined ? "pending" : stale ? "stale" : "fresh",
    discoveredAt: found?.at ?? null,
    tools: found === undefined ? NO_TOOLS : toolsOf(found, { server, stale, approved }),
    accepted: (name) => (found === undefined ? null : acceptedOf(found, name, approved.get(`${id}/${name}`))),
    gone: () => (found === undefined ? new Map() : goneOf(found, (name) => approved.get(`${id}/${name}`))),
  };
}

/** Null where it is not known any more. */
function acceptedOf(found: Discovered, name: string, approved: string | undefined): JsonObject | null {
  const digest = approved ?? own(found.firstSeen, name);
  const current = found.discovery.tools.filter((one) => one["name"] === name);
  const known = [...current, ...(own(found.earlier ?? {}, name) ?? [])];
  return known.find((one) => fingerprint(one) === digest) ?? null;
}

function goneOf(found: Discovered, approvedOf: (name: string) => string | undefined): ReadonlyMap<string, JsonObject> {
  const there = new Set(found.discovery.tools.map((one) => String(one["name"])));
  const gone = Object.entries(found.earlier ?? {}).filter(([name]) => !there.has(name));
  return new Map(
    gone.flatMap(([name, known]) => {
      const before = acceptedOf(found, name, approvedOf(name)) ?? known.at(-1);
      return before === undefined ? [] : [[name, before] as const];
    }),
  );
}

type Approved = ReadonlyMap<string, string>;
type Terms = { readonly server: ServerConfig; readonly stale: boolean; readonly approved: Approved };
type Tools = ServerVersion["tools"];

const NO_TOOLS: Tools = new Map();
type Kept = { readonly discovery: Discovery; readonly terms: Terms; readonly tools: Tools };
/** By server: two servers that say the same may hold one discovery between them. */
const kept = new WeakMap<ServerConfig, Kept>();

/** Made anew only where something moved: a server of thousands of tools must not slow down whatever another one says. */
function toolsOf({ discovery, firstSeen }: Discovered, terms: Terms): Tools {
  const { server, stale, approved } = terms;
  const last = kept.get(server);
  if (last?.discovery === discovery && last.terms.stale === stale && last.terms.approved === approved)
    return last.tools;
  const tools = new Map<string, Tool>();
  for (const definition of discovery.tools) {
    const name = String(definition["name"]);
    const accepted = approved.get(`${server.name}@${server.version}/${name}`) ?? own(firstSeen, name);
    tools.set(name, makeTool(server, definition, { stale, accepted }));
  }
  kept.set(server, { discovery, terms, tools });
  return tools;
}

/** stdio servers run in `folder`, that of the configuration file, unless they name their own. */
export function instancesOf(server: ServerConfig, folder = "."): readonly InstanceSpec[] {
  const names = namesOf(server.instances);
  return server.instances.map((instance, index) => {
    const id = instanceIdOf(server, names[index] ?? "");
    if ("stdio" in instance)
      return { kind: "stdio", id, ...instance.stdio, cwd: resolvePath(folder, instance.stdio.cwd ?? ".") };
    const { resolve: resolveMs, ...http } = instance.http;
    return { kind: "http", id, ...http, ...(resolveMs === undefined ? {} : { resolveMs }) };
  });
}

/** As operators see it, and say it where they drain one. */
export function instanceIdOf({ name, version }: Pick<ServerConfig, "name" | "version">, instance: string): string {
  return `${name}@${version}#${instance}`;
}

function makeTool(
  server: ServerConfig,
  definition: JsonObject,
  { stale, accepted }: { stale: boolean; accepted: string | undefined },
): Tool {
  const upstreamName = String(definition["name"]);
  const settings = own(server.tools, upstreamName) ?? {};
  const digest = fingerprint(definition);
  const annotations = (definition["annotations"] ?? {}) as JsonObject;
  const name = gatewayName(server.name, upstreamName);
  const tool = {
    id: `${server.name}@${server.version}/${upstreamName}`,
    name,
    server: server.name,
    version: server.version,
    upstreamName,
    definition,
    digest,
    quarantined: digest !== accepted,
    stale,
    permissions: settings.permissions ?? server.permissions ?? [`${server.name}:call`],
    tags: settings.tags ?? server.tags,
    annotations,
    // the operator's word first; a server's own hint counts, since only an accepted definition is ever called
    idempotent: settings.idempotent ?? (annotations["idempotentHint"] === true || annotations["readOnlyHint"] === true),
    timeoutMs: settings.timeout ?? server.timeout,
    cost: settings.cost ?? 1,
    idleTimeoutMs: settings.idleTimeout ?? server.idleTimeout ?? null,
    limits: settings.rateLimit === undefined ? [] : [toolLimit(name, settings.rateLimit)],
    namedLimits: settings.limits ?? [],
    auditArguments: settings.audit?.arguments ?? server.audit.arguments,
    // a control plane of before says nothing of results
    auditResults: settings.audit?.results ?? server.audit.results ?? "off",
  };
  const { permissions, tags, version } = tool;
  return { ...tool, policyInput: { server: server.name, version, permissions, tags, annotations, digest } };
}

function own<Value>(record: { readonly [name: string]: Value }, name: string): Value | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined;
}

function toolLimit(name: string, limit: number): Limit {
  return {
    name: `tool:${name}`,
    always: false,
    key: ["principal", "tool"],
    kind: "sliding",
    limit,
    windowMs: RATE_WINDOW_MS,
    burst: limit,
    redisDown: "local",
    localShare: 1,
  };
}

function withoutCollisions(
  byName: ReadonlyMap<string, readonly Tool[]>,
  servers: ReadonlyMap<string, Server>,
): Omit<Listed, "servers"> {
  const tools = new Map<string, readonly Tool[]>();
  const collisions: string[] = [];
  for (const name of [...byName.keys()].toSorted()) {
    const versions = byName.get(name) ?? [];
    const first = versions[0];
    if (first === undefined) continue;
    if (versions.some((tool) => tool.server !== first.server || tool.upstreamName !== first.upstreamName))
      collisions.push(name);
    else
      tools.set(
        name,
        versions.toSorted((a, b) => rank(b, servers) - rank(a, servers)),
      );
  }
  return { tools, collisions };
}

function rank(tool: Tool, servers: ReadonlyMap<string, Server>): number {
  return servers.get(tool.server)?.defaultVersion === tool.version ? 1 : 0;
}
