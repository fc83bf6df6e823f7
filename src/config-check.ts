/**
 * Do the sections of the file agree with each other? Names that must be unique, names that must exist, and which
 * version of a server is its default. What surprises: the default is also decided here, so that nobody below has to:
 * in the result exactly one version of each server has `default: true`, unless its route has another that is not there.
 */
import { sharedRedis } from "./config.ts";
import type { Config, Problem, ServerConfig } from "./config.ts";
import { checkRoutes } from "./config-route.ts";
import { isRemote } from "./config-bundle.ts";
import { hint } from "./nearest.ts";
import { normalOf, order } from "./version-range.ts";

export type Checked = {
  readonly config: Config;
  readonly problems: readonly Problem[];
  readonly warnings: readonly Problem[];
};

export function checkConfig(config: Config): Checked {
  const { servers, problems } = withDefaults(config);
  return {
    config: { ...config, servers },
    problems: [
      ...problems,
      ...checkListeners(config),
      ...checkAck(config),
      ...checkBundle(config),
      ...checkUnique(config.principals, "principals", "id"),
      ...checkUnique(config.limits, "limits", "name"),
      ...checkUnique(config.shadow, "shadow", "name"),
      ...checkLimits(config.limits),
      ...checkUnique(config.auth.keys, "auth.keys", "id"),
      ...checkUnique(config.auth.jwt, "auth.jwt", "issuer"),
      ...checkPrefixes(config.auth.jwt),
      ...checkResources(config.auth.jwt),
      ...checkPrincipals(config),
      ...checkInstances(config.servers),
      ...checkTools(config.servers),
      ...checkNamedLimits(config),
      ...checkRoutes(config),
    ],
    warnings: checkRoles(config),
  };
}

function withDefaults({ servers, routes }: Config): { servers: ServerConfig[]; problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const defaults = new Set<ServerConfig>();
  for (const [name, versions] of Map.groupBy(servers, (server) => server.name)) {
    const seen = new Set<string>();
    for (const server of versions) {
      const path = ["servers", servers.indexOf(server), "version"];
      if (seen.has(server.version))
        problems.push({ path, message: `server ${name}@${server.version} is already defined` });
      seen.add(server.version);
    }
    const marked = versions.filter((server) => server.default);
    for (const again of marked.slice(1)) {
      const path = ["servers", servers.indexOf(again), "default"];
      problems.push({ path, message: `server ${name} already has a default version, ${marked[0]?.version ?? ""}` });
    }
    const routed = routes[name]?.default;
    const chosen =
      routed === undefined ? (marked[0] ?? highest(versions)) : versions.find(({ version }) => version === routed);
    if (chosen != null) defaults.add(chosen);
    // a route's that is not there is told by the check of routes
    else if (chosen === null) {
      const path = ["servers", servers.indexOf(versions[0] as ServerConfig)];
      problems.push({
        path,
        message: `server ${name} has several versions that do not order; mark one \`default: true\``,
      });
    }
  }
  // the same object where nothing moved: its tools are kept by it
  const decided = servers.map((server) =>
    server.default === defaults.has(server) ? server : { ...server, default: !server.default },
  );
  return { servers: decided, problems };
}

/** null if two versions order alike, or one is not of the form `v?X[.Y[.Z]]` and so has no order. */
function highest(versions: readonly ServerConfig[]): ServerConfig | null {
  const [only] = versions;
  if (versions.length === 1 && only !== undefined) return only;
  if (versions.some(({ version }) => normalOf(version) === null)) return null;
  const [first, second] = versions.toSorted((one, other) => order(other.version, one.version));
  return first === undefined || second === undefined || order(first.version, second.version) === 0 ? null : first;
}

function checkListeners({ listen, admin, extAuthz, tls }: Config): Problem[] {
  const problems: Problem[] = [];
  // one listener for both would put the admin API where the agents are
  if (listen === admin && !listen.endsWith(":0"))
    problems.push({ path: ["admin"], message: "admin must be another address than listen" });
  // whoever asks there says for whom and from where: that may only be Envoy
  if (extAuthz !== "off" && !LOCAL.test(extAuthz.grpc) && tls?.clientCa === undefined)
    problems.push({ path: ["extAuthz", "grpc"], message: "an address that is not loopback needs tls with clientCa" });
  return problems;
}
const LOCAL = /^(?:off$|127\.\d+\.\d+\.\d+:|localhost:|\[::1\]:)/;

function checkAck(config: Config): Problem[] {
  if (config.audit.ack === "file" || sharedRedis(config) !== undefined) return [];
  return [{ path: ["audit", "ack"], message: "ack: redis needs to know which: set redis to a redis:// URL" }];
}

/** On its way it would be anybody's: what is enforced is signed, and not fetched in the clear but from this machine. */
export function checkBundle(config: Pick<Config, "policies" | "bundle">): Problem[] {
  if (!isRemote(config)) return [];
  const url = URL.canParse(config.policies) ? new URL(config.policies) : null;
  const plain = url?.protocol !== "https:" && !/^(?:localhost|\[::1\]|127(?:\.\d{1,3}){3})$/.test(url?.hostname ?? "");
  return [
    ...(plain ? [{ path: ["policies"], message: "an https URL, or http to loopback" }] : []),
    ...(config.bundle.publicKey === undefined
      ? [{ path: ["policies"], message: "a bundle from elsewhere must be signed: name the key in bundle.publicKey" }]
      : []),
  ];
}

function checkUnique<Field extends string>(
  rows: readonly { readonly [field in Field]: string }[],
  section: string,
  field: Field,
): Problem[] {
  const seen = new Set<string>();
  return rows.flatMap((row, index) => {
    const again = seen.has(row[field]);
    seen.add(row[field]);
    const path = [...section.split("."), index, field];
    return again ? [{ path, message: `${section} already has the ${field} ${row[field]}` }] : [];
  });
}

function checkPrincipals({ principals, auth }: Config): Problem[] {
  const known = principals.map(({ id }) => id);
  const missing = (id: string, path: Problem["path"]): Problem[] =>
    known.includes(id) ? [] : [{ path, message: `no principal ${id}${hint(id, known)}` }];
  const anonymous =
    auth.anonymous === "off" ? [] : missing(auth.anonymous.principal, ["auth", "anonymous", "principal"]);
  const owner = known.indexOf("local");
  return [
    ...(owner === -1
      ? []
      : [{ path: ["principals", owner, "id"], message: "local is the owner of the admin socket, and nobody else" }]),
    ...auth.keys.flatMap((key, index) => missing(key.principal, ["auth", "keys", index, "principal"])),
    ...anonymous,
  ];
}

/** Two issuers may both know an alice: where no prefix begins another, no two names are alike. */
/** The metadata of a resource is asked for by its path alone (RFC 9728): one answer cannot be two resources' own. */
function checkResources(issuers: Config["auth"]["jwt"]): Problem[] {
  const named = new Map<string, string>();
  return issuers.flatMap(({ audience, paths }, index) =>
    [audience[0] ?? "", ...Object.values(paths)]
      .filter((one) => URL.canParse(one))
      .flatMap((resource) => {
        const { pathname } = new URL(resource);
        const other = named.get(pathname) ?? resource;
        named.set(pathname, other);
        const message = `two audiences have the path ${pathname}: clients could not tell their metadata apart`;
        return other === resource ? [] : [{ path: ["auth", "jwt", index, "audience"], message }];
      }),
  );
}

function checkPrefixes(issuers: Config["auth"]["jwt"]): Problem[] {
  return issuers.flatMap(({ prefix }, index) => {
    const other = issuers.find((one, at) => at !== index && one.prefix.startsWith(prefix));
    const path = ["auth", "jwt", index, "prefix"];
    return other === undefined
      ? []
      : [{ path, message: "with several issuers, each needs a prefix that begins no other" }];
  });
}

/** Which keys a limit needs, and which would say nothing, depends on its kind. */
function checkLimits(limits: Config["limits"]): Problem[] {
  return limits.flatMap(({ kind, limit, window, burst, localShare }, index) => {
    const faults: readonly (readonly [key: string, message: string, fault: boolean])[] = [
      ["window", `window is missing: a ${kind} limit counts in one`, window === undefined && kind !== "concurrent"],
      ["window", "a concurrent limit has no window", window !== undefined && kind === "concurrent"],
      ["burst", "only a bucket has a burst", burst !== undefined && kind !== "bucket"],
      // a share of less than one call would be `closed` in disguise
      ["localShare", "localShare leaves not one call", (kind === "bucket" ? (burst ?? limit) : limit) * localShare < 1],
    ];
    return faults.filter(([, , fault]) => fault).map(([key, message]) => ({ path: ["limits", index, key], message }));
  });
}

function checkInstances(servers: readonly ServerConfig[]): Problem[] {
  return servers.flatMap(({ instances, register }, index) => {
    const path = ["servers", index, "instances"];
    const named = instances.flatMap(({ name }) => name ?? []);
    const twice = named.find((name, at) => named.indexOf(name) !== at);
    return [
      ...(instances.length === 0 && register === undefined
        ? [{ path, message: "at least one instance, or `register` for those that register themselves" }]
        : []),
      // who runs a server itself has no place for what runs elsewhere, and each sidecar would ask others
      ...(register !== undefined && instances.some((one) => "stdio" in one)
        ? [{ path: ["servers", index, "register"], message: "a server over stdio has none that register themselves" }]
        : []),
      ...(twice === undefined ? [] : [{ path, message: `two instances have the name ${twice}` }]),
    ];
  });
}

function checkTools(servers: readonly ServerConfig[]): Problem[] {
  return servers.flatMap(({ tools }, index) =>
    Object.entries(tools).flatMap(([name, { cost = 1, rateLimit = cost }]) => {
      const path = ["servers", index, "tools", name];
      // a section that would silently never apply
      const unnamed = name.length === 0 || name.length > 128 || /[\p{Cc}\s]/u.test(name);
      return [
        ...(unnamed ? [{ path, message: "expected a tool's name as the server gives it" }] : []),
        ...(cost > rateLimit ? [{ path: [...path, "cost"], message: "a cost above rateLimit could never pass" }] : []),
      ];
    }),
  );
}

/** That tools name. Of each it is said which: what one of them had wrong before is no excuse for another. */
export function checkNamedLimits({ servers, limits }: Pick<Config, "servers" | "limits">): Problem[] {
  const known = limits.map(({ name }) => name);
  return servers.flatMap(({ name: server, version, tools }, index) =>
    Object.entries(tools).flatMap(([tool, { limits: named = [] }]) =>
      named.flatMap((name, at) => {
        const path = ["servers", index, "tools", tool, "limits", at];
        const message = `no limit ${name} for ${server}@${version}/${tool}${hint(name, known)}`;
        return known.includes(name) ? [] : [{ path, message }];
      }),
    ),
  );
}

/** Legal, because a policy may ask for the role itself: but it carries no permission. */
function checkRoles({ principals, roles }: Config): Problem[] {
  const known = Object.keys(roles);
  return principals.flatMap((principal, index) =>
    principal.roles.flatMap((role, at) =>
      known.includes(role)
        ? []
        : [
            {
              path: ["principals", index, "roles", at],
              message: `the role ${role} has no permissions${hint(role, known)}`,
            },
          ],
    ),
  );
}
