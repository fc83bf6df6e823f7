/**
 * WHAT is there? Turns configuration and discoveries into servers and tools. A server that is down keeps its last good
 * list, marked stale; a definition that differs from the accepted one is quarantined; a name that two tools would
 * share belongs to neither.
 */
import { resolve as resolvePath } from "node:path";
import type { Config, ServerConfig } from "../config.ts";
import type { Discovery, InstanceSpec, JsonObject, Limit, Server, ServerVersion, Tool } from "../model.ts";
import { fingerprint } from "./fingerprint.ts";
import { gatewayName } from "./names.ts";

/** What is known of one server version, kept on disk between starts. */
export type Discovered = {
  readonly discovery: Discovery;
  readonly at: string;
  /** The digest under which each upstream name was first seen with this version: accepted, unless approval says otherwise. */
  readonly firstSeen: { readonly [upstreamName: string]: string };
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
    const version = serverVersion(one, config, known, approved);
    const versions = new Map(servers.get(one.name)?.versions).set(one.version, version);
    const defaultVersion = version.isDefault ? one.version : (servers.get(one.name)?.defaultVersion ?? one.version);
    servers.set(one.name, { name: one.name, defaultVersion, versions });
    for (const tool of version.tools.values()) byName.set(tool.name, [...(byName.get(tool.name) ?? []), tool]);
  }
  return { servers, ...withoutCollisions(byName, servers) };
}

/** Merges what a server says now with what was first seen of it. */
export function discovered(before: Discovered | undefined, discovery: Discovery, at: string): Discovered {
  const firstSeen: { [name: string]: string } = { ...before?.firstSeen };
  for (const definition of discovery.tools) firstSeen[String(definition["name"])] ??= fingerprint(definition);
  return { discovery, at, firstSeen };
}

/** Whether this version is the one that a call without a version gets. */
export function isDefault(server: ServerConfig, config: Config): boolean {
  const same = config.servers.filter(({ name }) => name === server.name);
  return server.default || same.length === 1;
}

function serverVersion(
  server: ServerConfig,
  config: Config,
  known: Catalogue,
  approved: ReadonlyMap<string, string>,
): ServerVersion {
  const id = `${server.name}@${server.version}`;
  const found = known.discovered.get(id);
  const stale = !known.fresh.has(id);
  const tools = new Map<string, Tool>();
  for (const definition of found?.discovery.tools ?? []) {
    const name = String(definition["name"]);
    const accepted = approved.get(`${id}/${name}`) ?? found?.firstSeen[name];
    tools.set(name, makeTool(server, definition, { stale, accepted }));
  }
  return {
    server: server.name,
    version: server.version,
    isDefault: isDefault(server, config),
    instances: instancesOf(server),
    discovery: found?.discovery ?? null,
    state: found === undefined ? "pending" : stale ? "stale" : "fresh",
    discoveredAt: found?.at ?? null,
    tools,
  };
}

/** stdio servers run in `folder`, that of the configuration file, unless they name their own. */
export function instancesOf(server: ServerConfig, folder = "."): readonly InstanceSpec[] {
  return server.instances.map((instance, index) => {
    const id = `${server.name}@${server.version}#${index}`;
    return "stdio" in instance
      ? { kind: "stdio", id, ...instance.stdio, cwd: resolvePath(folder, instance.stdio.cwd ?? ".") }
      : { kind: "http", id, ...instance.http };
  });
}

function makeTool(
  server: ServerConfig,
  definition: JsonObject,
  { stale, accepted }: { stale: boolean; accepted: string | undefined },
): Tool {
  const upstreamName = String(definition["name"]);
  const settings = server.tools[upstreamName] ?? {};
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
    limits: settings.rateLimit === undefined ? [] : [toolLimit(name, settings.rateLimit)],
    auditArguments: server.audit.arguments,
  };
  const { permissions, tags, version } = tool;
  return { ...tool, policyInput: { server: server.name, version, permissions, tags, annotations, digest } };
}

function toolLimit(name: string, limit: number): Limit {
  return {
    name: `tool:${name}`,
    always: false,
    key: ["principal", "tool"],
    limit,
    windowMs: RATE_WINDOW_MS,
    redisDown: "local",
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
