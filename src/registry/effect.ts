/**
 * What do the changes make of the file? An entry of the file's own name stands; what a change adds is held to the file's
 * rules. What surprises: a change is judged by what it makes wrong, since what was wrong before may be what it mends.
 */
import { ENFORCED, MANAGED } from "../config-bundle.ts";
import { checkConfig } from "../config-check.ts";
import { allowsOrigin, namesOf } from "../config-instance.ts";
import type { Registration } from "../config-instance.ts";
import { readable } from "../config-mask.ts";
import { TRAFFIC } from "../config-traffic.ts";
import type { Config, Problem, Registered, ServerConfig } from "../config.ts";
import type { Json } from "../model.ts";
import { instanceIdOf } from "./catalogue.ts";
import { apply } from "./changes.ts";
import type { Change, ChangeState, Entries, Section } from "./changes.ts";

/** Where an entry stands; the file's counts. */
export function originOf(
  config: Config,
  { entries }: ChangeState,
  { section, name }: { readonly section: Section; readonly name: string },
): "file" | "change" | null {
  if (inFile(config, section).has(name)) return "file";
  return entries[section].has(name) ? "change" : null;
}

export type Listed = { readonly name: string; readonly origin: "file" | "change"; readonly value: Json };

/** By name; values as the file would say them, without secrets. */
export function listSection(config: Config, { entries }: ChangeState, section: Section): readonly Listed[] {
  const own = [...inFile(config, section)].map(([name, value]) => ({
    name,
    origin: "file" as const,
    value: shownIn(section, value),
  }));
  const changed = beside(config, entries, section).map(([name, value]) => ({
    name,
    origin: "change" as const,
    value: shownIn(section, value),
  }));
  return [...own, ...changed].toSorted((one, other) => (one.name < other.name ? -1 : 1));
}

/** Policies are their author's to the byte. */
function shownIn(section: Section, value: unknown): Json {
  return section === "policies" ? (value as Json) : readable(value);
}

/** Of a server, all but its instances: what they run and carry is the file's alone. */
function inFile(config: Config, section: Section): ReadonlyMap<string, unknown> {
  switch (section) {
    case "principals":
      return new Map(config.principals.map((one) => [one.id, one]));
    case "roles":
      return new Map(Object.entries(config.roles));
    case "limits":
      return new Map(config.limits.map((one) => [one.name, one]));
    case "servers":
      return new Map(config.servers.map(({ instances: _instances, tools: _tools, ...one }) => [idOf(one), one]));
    case "routes":
      return new Map(Object.entries(config.routes));
    case "tools":
      return new Map(
        config.servers.flatMap((one) =>
          Object.entries(one.tools).map(([name, settings]) => [`${idOf(one)}/${name}`, settings]),
        ),
      );
    case "policies":
      // its text is the folder's
      return new Map([
        ...(config.policies === MANAGED ? [] : [[ENFORCED, null] as const]),
        ...config.shadow.map(({ name }) => [name, null] as const),
      ]);
    case "drains":
      // `weight: 0` is the file's way to say it
      return new Map();
  }
}

function beside<One extends Section>(
  config: Config,
  entries: ChangeState["entries"],
  section: One,
): readonly (readonly [string, Entries[One]])[] {
  const own = inFile(config, section);
  return [...entries[section]].filter(([name]) => !own.has(name));
}

/**
 * The file, and what was changed beside it: an entry of the file's own name stands. Of a server that nobody changed, the
 * same object.
 */
export function inEffect(config: Config, state: Pick<ChangeState, "entries">): Config {
  const whole = together(config, state);
  // which version of a server is its default is decided over all of them
  const { servers, routes } = state.entries;
  return servers.size + routes.size === 0 ? whole : checkConfig(whole).config;
}

function together(config: Config, { entries }: Pick<ChangeState, "entries">): Config {
  const of = <One extends Section>(section: One) => beside(config, entries, section);
  const roles = Object.fromEntries(of("roles").map(([role, permissions]) => [role, [...permissions]]));
  const added = of("servers").map(([, one]) => serverOf(config, one));
  const tools = Map.groupBy(of("tools"), ([name]) => name.slice(0, name.indexOf("/")));
  return {
    ...config,
    principals: principalsOf(config, entries),
    limits: [...config.limits, ...of("limits").map(([, one]) => one)],
    roles: { ...roles, ...config.roles },
    routes: { ...Object.fromEntries(of("routes")), ...config.routes },
    servers: [...config.servers, ...added].map((one) => withTools(one, tools.get(idOf(one)))),
  };
}

/**
 * With those that registered themselves where the file allows it, and without a new call for those that are drained. Of
 * a server that neither concerns, the same object.
 */
export function withInstances(
  config: Config,
  registered: readonly Registration[],
  drains: ChangeState["entries"]["drains"],
): Config {
  if (registered.length === 0 && drains.size === 0) return config;
  return { ...config, servers: config.servers.map((one) => drained(joined(one, registered), drains)) };
}

function joined(server: ServerConfig, registered: readonly Registration[]): ServerConfig {
  const { register, name, version } = server;
  if (register === undefined) return server;
  const { headers, allowPrivate } = register;
  // as the file says now: it may allow less than when they came
  const own = registered.filter((one) => one.server === name && one.version === version);
  const instances = own
    .filter(({ url }) => allowsOrigin(register, url))
    .toSorted((one, other) => (one.instance < other.instance ? -1 : 1))
    .map(({ instance, url, weight }) => ({ http: { url, headers, allowPrivate }, weight, name: instance }));
  return instances.length === 0 ? server : { ...server, instances: [...server.instances, ...instances] };
}

/** How one that registered itself is called beside those of the file, of which one may have its name. */
export function registeredId(server: ServerConfig, one: Registration): string {
  const { instances } = joined(server, [one]);
  return instanceIdOf(server, namesOf(instances).at(-1) ?? one.instance);
}

function drained(server: ServerConfig, drains: ChangeState["entries"]["drains"]): ServerConfig {
  if (drains.size === 0) return server;
  const ids = namesOf(server.instances).map((name) => instanceIdOf(server, name));
  if (!ids.some((id) => drains.has(id))) return server;
  const instances = server.instances.map((one, at) => (drains.has(ids[at] ?? "") ? { ...one, weight: 0 } : one));
  return { ...server, instances };
}

type Principals = Config["principals"];
const kept = new WeakMap<
  ReadonlyMap<string, Entries["principals"]>,
  { readonly own: Principals; readonly all: Principals }
>();

/** Of the same two lists, the same one: there may be ten thousand. */
function principalsOf(config: Config, entries: ChangeState["entries"]): Principals {
  const own = config.principals;
  if (entries.principals.size === 0) return own;
  const last = kept.get(entries.principals);
  if (last?.own === own) return last.all;
  const all = [...own, ...beside(config, entries, "principals").map(([, one]) => one)];
  kept.set(entries.principals, { own, all });
  return all;
}

function idOf({ name, version }: { readonly name: string; readonly version: string }): string {
  return `${name}@${version}`;
}

/** A private address is dialled only where the file allows that very origin for that server. */
function serverOf(config: Config, { instances, ...rest }: Registered): ServerConfig {
  const allowed = new Set(
    config.servers
      .filter(({ name }) => name === rest.name)
      .flatMap((one) => one.instances)
      .flatMap((one) => ("http" in one && one.http.allowPrivate ? [new URL(one.http.url).origin] : [])),
  );
  const dialled = instances.map(({ http: { url }, ...one }) => ({
    http: { url, headers: {}, allowPrivate: allowed.has(new URL(url).origin) },
    ...one,
  }));
  return { ...TRAFFIC, ...rest, instances: dialled, tools: {} };
}

function withTools(
  server: ServerConfig,
  settings: readonly (readonly [string, Entries["tools"]])[] | undefined,
): ServerConfig {
  if (settings === undefined) return server;
  const own = settings.map(([name, one]) => [name.slice(name.indexOf("/") + 1), one] as const);
  return { ...server, tools: { ...Object.fromEntries(own), ...server.tools } };
}

/** The issued keys that act as or for a principal whom this change takes away. */
export function keysEndedBy(config: Config, state: ChangeState, change: Change): readonly string[] {
  const left = new Set(principalsOf(config, apply(state, change).entries).map(({ id }) => id));
  const gone = new Set(principalsOf(config, state.entries).flatMap(({ id }) => (left.has(id) ? [] : [id])));
  return [...state.keys.values()]
    .filter(({ kind, revokedAt }) => kind !== "sidecar" && revokedAt === null)
    .filter(({ principal, onBehalfOf }) => gone.has(principal) || gone.has(onBehalfOf ?? ""))
    .map(({ id }) => id);
}

/** What this change would make wrong: not what was wrong before, which a removal may be there to mend. */
export function problemsAfter(config: Config, state: ChangeState, change: Change): readonly Problem[] {
  const before = new Set(problemsOf(config, state).map(({ message }) => message));
  return problemsOf(config, apply(state, change)).filter(({ message }) => !before.has(message));
}

function problemsOf(config: Config, state: ChangeState): readonly Problem[] {
  const whole = together(config, state);
  const servers = new Set(whole.servers.map(idOf));
  const lost = [...state.entries.tools.keys()].filter((name) => !servers.has(name.slice(0, name.indexOf("/"))));
  return [
    ...checkConfig(whole).problems,
    ...lost.map((name) => ({ path: ["tools", name], message: `there is no such server version: ${name}` })),
  ];
}
