/**
 * What of the configuration leaves this process? All that decides, nothing that is secret: a server's commands,
 * environment, headers and whatever its URL may hide stay in the file of whoever dials it. A sidecar puts the two
 * together again. What surprises: a secret of a sidecar's own file goes only to the URL that this file names for it.
 */
import type { Config, ServerConfig } from "../config.ts";
import { allowsOrigin } from "../config-instance.ts";
import { TRAFFIC } from "../config-traffic.ts";
import type { Snapshot } from "../model.ts";
import { ADMIN_PERMISSIONS } from "../operations.ts";

/** Of `auth`, all but keys, which travel as keys, and what a listener does with strangers. */
export type PublishedAuth = Omit<Config["auth"], "keys" | "addressLimit">;
export type PublishedSettings = Pick<Config, "disclosure" | "refusals" | "limits"> & {
  readonly roles: Roles;
  readonly auth: PublishedAuth;
  /** A control plane of before has none. */
  readonly routes?: Config["routes"];
};
export type Roles = { readonly [role: string]: readonly string[] };
/** `weight`: not where the control plane is older. */
type PublishedInstance = { readonly weight?: number; readonly name?: string | undefined } & (
  | { readonly stdio: true }
  | { readonly http: { readonly url: string; readonly allowPrivate: boolean; readonly resolve?: number | undefined } }
);
export type PublishedServer = Omit<ServerConfig, "instances"> & { readonly instances: readonly PublishedInstance[] };
/** A configuration as a snapshot carries it. */
export type Published = {
  readonly settings: PublishedSettings;
  readonly principals: Config["principals"];
  readonly servers: readonly PublishedServer[];
};

export function publishSettings(config: Config): PublishedSettings {
  const { disclosure, refusals, limits, routes } = config;
  const { keys: _keys, addressLimit: _limit, ...auth } = config.auth;
  return { disclosure, refusals, limits, routes, roles: rolesOf(config), auth };
}

/** The file's map; `admin` holds every administrative permission unless the file says otherwise. */
export function rolesOf({ roles }: Pick<Config, "roles">): Roles {
  return { admin: ADMIN_PERMISSIONS, ...roles };
}

export function publishServer({ instances, register, ...rest }: ServerConfig): PublishedServer {
  const places = instances.map((instance): PublishedInstance => {
    const { weight, name } = instance;
    if ("stdio" in instance) return { stdio: true, weight, name };
    const { url, allowPrivate, resolve } = instance.http;
    return { http: { url: bareUrl(url), allowPrivate, resolve }, weight, name };
  });
  return { ...rest, ...(register === undefined ? {} : { register: { ...register, headers: {} } }), instances: places };
}

/** Whether each sidecar runs the server itself: what it says there, nobody else can ask. */
export function isLocal({ instances }: { readonly instances: readonly object[] }): boolean {
  return instances.some((instance) => "stdio" in instance);
}

/** A sidecar's own file, with what was published in force over it. */
export function withPublished(own: Config, { settings, principals, servers }: Published): Config {
  const { auth, roles, routes = {}, ...rest } = settings;
  return {
    ...own,
    ...rest,
    routes,
    roles: Object.fromEntries(Object.entries(roles).map(([role, permissions]) => [role, [...permissions]])),
    auth: { ...own.auth, ...auth, keys: [] },
    principals,
    servers: servers.map((server) => dialled(own, server)),
  };
}

const kept = new WeakMap<PublishedServer, { readonly own: Config["servers"]; readonly made: ServerConfig }>();

/** Of the same server, the same object: its tools are kept by it. */
function dialled(own: Config, server: PublishedServer): ServerConfig {
  const known = kept.get(server);
  if (known?.own === own.servers) return known.made;
  const made = { ...TRAFFIC, ...server, instances: instancesOf(own, server) };
  kept.set(server, { own: own.servers, made });
  return made;
}

function instancesOf(own: Config, { name, version, instances }: PublishedServer): ServerConfig["instances"] {
  const mine = own.servers.filter((one) => one.name === name && one.version === version);
  const known = mine.flatMap((one) => one.instances);
  const local = instances.some((instance) => "stdio" in instance) ? known.filter((one) => "stdio" in one) : [];
  const remote = instances.flatMap((instance) => {
    if ("stdio" in instance) return [];
    const { weight = 1, name: called } = instance;
    const { url, ...terms } = instance.http;
    const same = known.find((one) => "http" in one && bareUrl(one.http.url) === url);
    const itself = same !== undefined && "http" in same ? same.http : { url, headers: headersFor(mine, url) };
    return [{ http: { ...itself, ...terms }, weight, name: called }];
  });
  return [...remote, ...local];
}

/** Of one that registered itself: as this file says for such at this origin. */
function headersFor(mine: readonly ServerConfig[], url: string): { [name: string]: string } {
  const allowing = mine.find(({ register }) => register !== undefined && allowsOrigin(register, url));
  return allowing?.register?.headers ?? {};
}

/** Without user, password and query: they may be secrets. */
export function bareUrl(text: string): string {
  const { origin, pathname } = new URL(text);
  return `${origin}${pathname}`;
}

/** URL by `server@version`, without what may be a secret. */
export function urlsOf(snapshot: Snapshot): ReadonlyMap<string, string> {
  const versions = [...snapshot.servers.values()].flatMap((server) => [...server.versions.values()]);
  return new Map(
    versions.map(({ server, version, instances }) => {
      const first = instances[0];
      return [`${server}@${version}`, first?.kind === "http" ? bareUrl(first.url) : "stdio:"] as const;
    }),
  );
}
