/**
 * What has been changed by administrators? Every change, and the pure fold that makes the state of a list of them.
 * Changes hold no secret: a key travels as its hash. What surprises: a roll back carries the state that it goes back to,
 * so that the fold needs no memory; and it leaves keys alone, since a revoked key must not come back.
 */
import { checkConfig } from "../config-check.ts";
import type { Config, Problem, Registered, ServerConfig } from "../config.ts";
import { readable } from "../config-mask.ts";
import type { Json, JsonObject, Key } from "../model.ts";

/** The sections of the configuration that are open to changes, by what their entries are. */
export type Entries = {
  readonly principals: Config["principals"][number];
  readonly roles: readonly string[];
  readonly limits: Config["limits"][number];
  /** By `server@version`. */
  readonly servers: Registered;
  /** By `server@version/tool`, the name as the server gives it. */
  readonly tools: ServerConfig["tools"][string];
};
export const SECTIONS = [
  "principals",
  "roles",
  "limits",
  "servers",
  "tools",
] as const satisfies readonly (keyof Entries)[];
export type Section = (typeof SECTIONS)[number];

type Put = {
  [One in Section]: {
    readonly type: "entry.put";
    readonly section: One;
    readonly name: string;
    readonly value: Entries[One];
  };
}[Section];
export type Change =
  | { readonly type: "key.issue"; readonly key: Key }
  | { readonly type: "key.revoke"; readonly id: string; readonly at: string }
  | { readonly type: "key.rotate"; readonly key: Key; readonly revoked: string; readonly at: string }
  | {
      readonly type: "tool.approve";
      readonly server: string;
      readonly version: string;
      readonly tool: string;
      readonly digest: string;
    }
  | Put
  | { readonly type: "entry.remove"; readonly section: Section; readonly name: string }
  | { readonly type: "rollback"; readonly to: number; readonly state: Restorable };

/** What a roll back brings back, as it stands in the log. */
export type Restorable = {
  readonly approved: { readonly [tool: string]: string };
  readonly entries: { readonly [One in Section]: { readonly [name: string]: Entries[One] } };
};

export type ChangeState = {
  /** Issued keys, revoked ones included, by id. */
  readonly keys: ReadonlyMap<string, Key>;
  /** Accepted digest by `server@version/tool`. */
  readonly approved: ReadonlyMap<string, string>;
  readonly entries: { readonly [One in Section]: ReadonlyMap<string, Entries[One]> };
};

export const NO_CHANGES: ChangeState = {
  keys: new Map(),
  approved: new Map(),
  entries: { principals: new Map(), roles: new Map(), limits: new Map(), servers: new Map(), tools: new Map() },
};

export function apply(state: ChangeState, change: Change): ChangeState {
  switch (change.type) {
    case "key.issue":
      return { ...state, keys: new Map(state.keys).set(change.key.id, change.key) };
    case "key.revoke":
      return { ...state, keys: revoke(state.keys, change.id, change.at) };
    case "key.rotate":
      return { ...state, keys: new Map(revoke(state.keys, change.revoked, change.at)).set(change.key.id, change.key) };
    case "tool.approve":
      return {
        ...state,
        approved: new Map(state.approved).set(`${change.server}@${change.version}/${change.tool}`, change.digest),
      };
    case "entry.put":
    case "entry.remove":
      return { ...state, entries: { ...state.entries, [change.section]: sectionAfter(state, change) } };
    case "rollback":
      return { ...state, ...restored(change.state) };
  }
}

function revoke(keys: ChangeState["keys"], id: string, at: string): ChangeState["keys"] {
  const key = keys.get(id);
  return key === undefined ? keys : new Map(keys).set(id, { ...key, revokedAt: at });
}

function sectionAfter(
  { entries }: ChangeState,
  change: Put | Extract<Change, { type: "entry.remove" }>,
): ReadonlyMap<string, Entries[Section]> {
  const section = new Map<string, Entries[Section]>(entries[change.section]);
  if (change.type === "entry.put") section.set(change.name, change.value);
  else section.delete(change.name);
  return section;
}

function restored({ approved, entries }: Restorable): Omit<ChangeState, "keys"> {
  const mapOf = <Value>(record: { readonly [name: string]: Value }) => new Map(Object.entries(record));
  return {
    approved: mapOf(approved),
    entries: {
      principals: mapOf(entries.principals),
      roles: mapOf(entries.roles),
      limits: mapOf(entries.limits),
      servers: mapOf(entries.servers),
      tools: mapOf(entries.tools),
    },
  };
}

/** All but the keys, to be written into a roll back. */
export function restorable({ approved, entries }: ChangeState): Restorable {
  return {
    approved: Object.fromEntries(approved),
    entries: {
      principals: Object.fromEntries(entries.principals),
      roles: Object.fromEntries(entries.roles),
      limits: Object.fromEntries(entries.limits),
      servers: Object.fromEntries(entries.servers),
      tools: Object.fromEntries(entries.tools),
    },
  };
}

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
    value: readable(value),
  }));
  const changed = beside(config, entries, section).map(([name, value]) => ({
    name,
    origin: "change" as const,
    value: readable(value),
  }));
  return [...own, ...changed].toSorted((one, other) => (one.name < other.name ? -1 : 1));
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
    case "tools":
      return new Map(
        config.servers.flatMap((one) =>
          Object.entries(one.tools).map(([name, settings]) => [`${idOf(one)}/${name}`, settings]),
        ),
      );
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

/** As anybody may see it: a key's hash stays in the log. */
export function shown(change: Change): JsonObject {
  if (!("key" in change)) return readable(change) as JsonObject;
  const { hash: _, ...key } = change.key;
  return { ...change, key };
}

/**
 * The file, and what was changed beside it: an entry of the file's own name stands. Of a server that nobody changed, the
 * same object.
 */
export function inEffect(config: Config, state: Pick<ChangeState, "entries">): Config {
  const whole = together(config, state);
  // which version of a server is its default is decided over all of them
  return state.entries.servers.size === 0 ? whole : checkConfig(whole).config;
}

function together(config: Config, { entries }: Pick<ChangeState, "entries">): Config {
  const of = <One extends Section>(section: One) => beside(config, entries, section);
  const roles = Object.fromEntries(of("roles").map(([role, permissions]) => [role, [...permissions]]));
  const added = of("servers").map(([, one]) => serverOf(config, one));
  const tools = Map.groupBy(of("tools"), ([name]) => name.slice(0, name.indexOf("/")));
  return {
    ...config,
    principals: [...config.principals, ...of("principals").map(([, one]) => one)],
    limits: [...config.limits, ...of("limits").map(([, one]) => one)],
    roles: { ...roles, ...config.roles },
    servers: [...config.servers, ...added].map((one) => withTools(one, tools.get(idOf(one)))),
  };
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
  const dialled = instances.map(({ http: { url } }) => ({
    http: { url, headers: {}, allowPrivate: allowed.has(new URL(url).origin) },
  }));
  return { ...rest, instances: dialled, tools: {} };
}

function withTools(
  server: ServerConfig,
  settings: readonly (readonly [string, Entries["tools"]])[] | undefined,
): ServerConfig {
  if (settings === undefined) return server;
  const own = settings.map(([name, one]) => [name.slice(name.indexOf("/") + 1), one] as const);
  return { ...server, tools: { ...Object.fromEntries(own), ...server.tools } };
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
