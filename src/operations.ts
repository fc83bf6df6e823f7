/**
 * All that may be asked, with the permission that it needs and the doors that offer it. An operation that is not
 * in this table, or has no permission, stops the process at start (`assertOperations`).
 */
import type { Interface, Target } from "./model.ts";

type Operation = {
  readonly verb: "call" | "view" | "change";
  /** A permission `area:verb`; `tool`: the tool's own; `any`: any authenticated principal, shown only what policy lists. */
  readonly permission: string;
  readonly target: Target["kind"];
  readonly doors: readonly Interface[];
  /** A view that is recorded where it is granted, too; calls and changes always are, and so is every refusal. */
  readonly recorded?: true;
};

export const OPERATIONS = {
  // what a door could not make a request of: only ever refused
  "request/read": {
    verb: "view",
    permission: "any",
    target: "tool",
    doors: ["mcp", "rest", "graphql", "trpc", "ext_authz"],
  },
  "tools/call": {
    verb: "call",
    permission: "tool",
    target: "tool",
    doors: ["mcp", "rest", "graphql", "trpc", "ext_authz"],
  },
  "tools/list": {
    verb: "view",
    permission: "any",
    target: "tool",
    doors: ["mcp", "rest", "graphql", "trpc", "ext_authz"],
  },
  "tools/explain": { verb: "view", permission: "any", target: "tool", doors: ["graphql"] },
  "tools/diff": { verb: "view", permission: "any", target: "tool", doors: ["graphql", "trpc"] },
  "principal/read": {
    verb: "view",
    permission: "any",
    target: "server",
    doors: ["mcp", "graphql", "trpc", "ext_authz"],
  },
  "servers/list": { verb: "view", permission: "any", target: "server", doors: ["graphql", "trpc"] },
  // whoever looks at what others did is seen doing so
  "calls/read": { verb: "view", permission: "audit:read", target: "calls", doors: ["graphql", "trpc"], recorded: true },
  // each event of a stream that `calls/read` opened
  "calls/follow": { verb: "view", permission: "audit:read", target: "calls", doors: ["graphql", "trpc"] },
  "audit/reindex": { verb: "change", permission: "audit:index", target: "change", doors: ["trpc"] },
  "servers/inspect": { verb: "view", permission: "servers:read", target: "server", doors: ["rest", "trpc"] },
  "config/read": { verb: "view", permission: "config:read", target: "server", doors: ["trpc"] },
  "keys/list": { verb: "view", permission: "keys:read", target: "change", doors: ["trpc"] },
  "sidecars/list": { verb: "view", permission: "sidecars:read", target: "server", doors: ["trpc"] },
  "snapshot/follow": { verb: "view", permission: "snapshot:read", target: "server", doors: ["trpc"] },
  "audit/gather": { verb: "view", permission: "audit:ship", target: "calls", doors: ["rest"] },
  "metrics/read": { verb: "view", permission: "metrics:read", target: "server", doors: ["rest"] },
  "snapshot/report": { verb: "view", permission: "snapshot:read", target: "server", doors: ["trpc"] },
  "health/read": { verb: "view", permission: "config:read", target: "server", doors: ["trpc"] },
  "keys/issue": { verb: "change", permission: "keys:write", target: "change", doors: ["trpc"] },
  "keys/revoke": { verb: "change", permission: "keys:write", target: "change", doors: ["trpc"] },
  "keys/rotate": { verb: "change", permission: "keys:write", target: "change", doors: ["trpc"] },
  "tools/approve": { verb: "change", permission: "tools:approve", target: "change", doors: ["trpc"] },
  "principals/list": { verb: "view", permission: "principals:read", target: "change", doors: ["trpc"] },
  "principals/put": { verb: "change", permission: "principals:write", target: "change", doors: ["trpc"] },
  "principals/remove": { verb: "change", permission: "principals:write", target: "change", doors: ["trpc"] },
  "roles/list": { verb: "view", permission: "roles:read", target: "change", doors: ["trpc"] },
  "roles/put": { verb: "change", permission: "roles:write", target: "change", doors: ["trpc"] },
  "roles/remove": { verb: "change", permission: "roles:write", target: "change", doors: ["trpc"] },
  "limits/list": { verb: "view", permission: "limits:read", target: "change", doors: ["trpc"] },
  "limits/put": { verb: "change", permission: "limits:write", target: "change", doors: ["trpc"] },
  "limits/remove": { verb: "change", permission: "limits:write", target: "change", doors: ["trpc"] },
  "servers/put": { verb: "change", permission: "servers:write", target: "change", doors: ["trpc"] },
  "servers/remove": { verb: "change", permission: "servers:write", target: "change", doors: ["trpc"] },
  "routes/list": { verb: "view", permission: "routes:read", target: "change", doors: ["trpc"] },
  "routes/put": { verb: "change", permission: "routes:write", target: "change", doors: ["trpc"] },
  "routes/remove": { verb: "change", permission: "routes:write", target: "change", doors: ["trpc"] },
  "routes/rollback": { verb: "change", permission: "routes:write", target: "change", doors: ["trpc"] },
  "tools/put": { verb: "change", permission: "tools:write", target: "change", doors: ["trpc"] },
  "tools/remove": { verb: "change", permission: "tools:write", target: "change", doors: ["trpc"] },
  // what takes calls no more, and does again
  "drains/put": { verb: "change", permission: "servers:drain", target: "change", doors: ["trpc"] },
  "drains/remove": { verb: "change", permission: "servers:drain", target: "change", doors: ["trpc"] },
  // a view, since a heartbeat changes nothing and is not recorded; the first word of an instance is, and the end
  "instances/register": { verb: "view", permission: "instances:register", target: "server", doors: ["trpc"] },
  "instances/deregister": { verb: "view", permission: "instances:register", target: "server", doors: ["trpc"] },
  "policies/list": { verb: "view", permission: "policies:read", target: "change", doors: ["trpc"] },
  "policies/put": { verb: "change", permission: "policies:write", target: "change", doors: ["trpc"] },
  "policies/remove": { verb: "change", permission: "policies:write", target: "change", doors: ["trpc"] },
  "policies/why": { verb: "view", permission: "audit:read", target: "calls", doors: ["graphql", "trpc"] },
  "policies/effective": { verb: "view", permission: "policies:read", target: "change", doors: ["trpc"] },
  "policies/rollback": { verb: "change", permission: "policies:write", target: "change", doors: ["trpc"] },
  // compiles what it is given, and shows calls of anybody
  "policies/impact": { verb: "view", permission: "policies:write", target: "change", doors: ["trpc"] },
  "policies/shadow": { verb: "view", permission: "policies:read", target: "change", doors: ["trpc"] },
  "changes/list": { verb: "view", permission: "changes:read", target: "change", doors: ["trpc"] },
  "changes/rollback": { verb: "change", permission: "changes:write", target: "change", doors: ["trpc"] },
  "config/reload": { verb: "change", permission: "config:write", target: "change", doors: ["trpc"] },
} as const satisfies { readonly [name: string]: Operation };

export type OperationName = keyof typeof OPERATIONS;

/** What a sidecar's own key is good for, and no administrator's: nobody else writes a trail in a sidecar's name. */
export const SIDECAR_PERMISSIONS: readonly string[] = ["audit:ship", "snapshot:read"];

/** What the owner of the machine's admin socket may do: everything but call tools, or be a sidecar. */
export const ADMIN_PERMISSIONS: readonly string[] = [
  ...new Set(
    Object.values(OPERATIONS)
      .map(({ permission }) => permission)
      .filter((text) => text.includes(":") && !SIDECAR_PERMISSIONS.includes(text)),
  ),
].toSorted();

/** What these roles may do together; sorted, each once. A role that the map does not know adds nothing. */
export function permissionsOf(
  map: { readonly [role: string]: readonly string[] },
  roles: readonly string[],
): readonly string[] {
  return [...new Set(roles.flatMap((role) => (Object.hasOwn(map, role) ? (map[role] ?? []) : [])))].toSorted();
}

/** @throws Error naming the operation that nothing guards */
export function assertOperations(operations: { readonly [name: string]: Operation } = OPERATIONS): void {
  for (const [name, { permission, doors }] of Object.entries(operations)) {
    if (!/^(tool|any|[a-z]+:[a-z]+)$/.test(permission))
      throw new Error(`The operation ${name} declares no permission.`);
    if (doors.length === 0) throw new Error(`The operation ${name} has no door.`);
  }
}
