/**
 * What has been changed by administrators? Every change, and the pure fold that makes the state of a list of them.
 * Changes hold no secret: a key travels as its hash. What surprises: a roll back carries the state that it goes back to,
 * so that the fold needs no memory; and it brings back no key, since a revoked one must not come back. Whatever takes a
 * principal away names the keys that end with it: who has that name later is somebody else.
 */
import type { Config, Registered, ServerConfig } from "../config.ts";
import { readable } from "../config-mask.ts";
import type { Route } from "../config-route.ts";
import type { JsonObject, Key } from "../model.ts";
import type { Bundle } from "../policy/sources.ts";
import type { Logged } from "../snapshot/store.ts";
import { digestsOf } from "./files.ts";

/** The sections of the configuration that are open to changes, by what their entries are. */
export type Entries = {
  readonly principals: Config["principals"][number];
  readonly roles: readonly string[];
  readonly limits: Config["limits"][number];
  /** By `server@version`. */
  readonly servers: Registered;
  /** By server. */
  readonly routes: Route;
  /** By `server@version/tool`, the name as the server gives it. */
  readonly tools: ServerConfig["tools"][string];
  /** `main` is enforced. */
  readonly policies: Bundle;
  /** By the instance's id: it takes no new call. */
  readonly drains: true;
};
export const SECTIONS = [
  "principals",
  "roles",
  "limits",
  "servers",
  "routes",
  "tools",
  "policies",
  "drains",
] as const satisfies readonly (keyof Entries)[];
export type Section = (typeof SECTIONS)[number];

type Put = {
  [One in Section]: {
    readonly type: "entry.put";
    readonly section: One;
    readonly name: string;
    readonly value: Entries[One];
    /** Of a first route, the version that answered before. */
    readonly was?: string;
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
  | ({ readonly type: "entry.remove"; readonly section: Section; readonly name: string } & Revoking)
  | ({ readonly type: "rollback"; readonly to: number; readonly state: Restorable } & Revoking);

/** Keys that end with the principals that they act as or for. */
type Revoking = { readonly revoked?: { readonly ids: readonly string[]; readonly at: string } };

/** What a roll back brings back, as it stands in the log. */
export type Restorable = {
  readonly approved: { readonly [tool: string]: string };
  /** Without the sections that were not there yet. */
  readonly entries: { readonly [One in Section]?: { readonly [name: string]: Entries[One] } };
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
  entries: ofEach(() => new Map<string, never>()),
};

export function apply(state: ChangeState, change: Change): ChangeState {
  return applied(state, change, (map) => new Map(map));
}

/** One after another. Each map is copied once, not once for each change: there may be ten thousand of both. */
export function applyAll(state: ChangeState, changes: readonly Change[]): ChangeState {
  const own = new WeakSet<object>();
  const copyOnce: Copy = (map) => {
    if (own.has(map)) return map as Map<never, never>;
    const copy = new Map(map);
    own.add(copy);
    return copy;
  };
  return changes.reduce((now, change) => applied(now, change, copyOnce), state);
}

/** What may be written to, of a map that stays as it is. */
type Copy = <Key, Value>(map: ReadonlyMap<Key, Value>) => Map<Key, Value>;

function applied(state: ChangeState, change: Change, copy: Copy): ChangeState {
  switch (change.type) {
    case "key.issue":
      return { ...state, keys: copy(state.keys).set(change.key.id, change.key) };
    case "key.revoke":
      return { ...state, keys: revoke(state.keys, change, copy) };
    case "key.rotate": {
      const keys = revoke(state.keys, { id: change.revoked, at: change.at }, copy);
      return { ...state, keys: copy(keys).set(change.key.id, change.key) };
    }
    case "tool.approve": {
      const { server, version, tool, digest } = change;
      return { ...state, approved: copy(state.approved).set(`${server}@${version}/${tool}`, digest) };
    }
    case "entry.put":
      return { ...state, entries: entriesAfter(state, change, copy) };
    case "entry.remove":
      return { ...withoutKeys(state, change, copy), entries: entriesAfter(state, change, copy) };
    case "rollback":
      return { ...withoutKeys(state, change, copy), ...restored(change.state) };
    default:
      throw new Error("A change that this version does not know.");
  }
}

/** Of what stands in a log that others write too, maybe with a newer version. */
export function isChange(change: JsonObject): boolean {
  const { section } = change;
  if (section !== undefined && !SECTIONS.some((one) => one === section)) return false;
  try {
    apply(NO_CHANGES, change as unknown as Change);
    return true;
  } catch {
    return false;
  }
}

function withoutKeys(state: ChangeState, { revoked }: Revoking, copy: Copy): ChangeState {
  if (revoked === undefined) return state;
  const { ids, at } = revoked;
  return { ...state, keys: ids.reduce((keys, id) => revoke(keys, { id, at }, copy), state.keys) };
}

type Revoked = { readonly id: string; readonly at: string };

function revoke(keys: ChangeState["keys"], { id, at }: Revoked, copy: Copy): ChangeState["keys"] {
  const key = keys.get(id);
  return key === undefined || key.revokedAt !== null ? keys : copy(keys).set(id, { ...key, revokedAt: at });
}

function entriesAfter(
  { entries }: ChangeState,
  change: Put | Extract<Change, { type: "entry.remove" }>,
  copy: Copy,
): ChangeState["entries"] {
  const section = copy<string, Entries[Section]>(entries[change.section]);
  if (change.type === "entry.put") section.set(change.name, change.value);
  else section.delete(change.name);
  return { ...entries, [change.section]: section };
}

function restored({ approved, entries }: Restorable): Omit<ChangeState, "keys"> {
  return {
    approved: new Map(Object.entries(approved)),
    entries: ofEach((section) => new Map(Object.entries(entries[section] ?? {}))) as ChangeState["entries"],
  };
}

/** All but the keys, to be written into a roll back. */
export function restorable({ approved, entries }: ChangeState): Restorable {
  return {
    approved: Object.fromEntries(approved),
    entries: ofEach((section) => Object.fromEntries<Entries[Section]>(entries[section])) as Restorable["entries"],
  };
}

function ofEach<Value>(make: (section: Section) => Value): { readonly [One in Section]: Value } {
  return Object.fromEntries(SECTIONS.map((section) => [section, make(section)])) as { [One in Section]: Value };
}

/** The state after that change; null where there was none. */
export function stateAt(log: readonly Logged[], revision: number): ChangeState | null {
  if (revision !== 0 && !log.some((one) => one.revision === revision)) return null;
  return stateOf(log.filter((one) => one.revision <= revision));
}

/**
 * The route of a server as it was before the last change of it; null where it had none and nothing is known of what
 * answered, undefined where it never changed.
 */
export function routeBefore(log: readonly Pick<Logged, "change">[], server: string): Route | null | undefined {
  let before: Route | null | undefined;
  let state = NO_CHANGES;
  for (const { change } of log.map((one) => ({ change: one.change as unknown as Change }))) {
    if (change.type !== "rollback" && !("section" in change && change.section === "routes")) continue;
    const was = state.entries.routes.get(server) ?? null;
    state = apply(state, change);
    const is = state.entries.routes.get(server) ?? null;
    if (JSON.stringify(was) !== JSON.stringify(is)) before = was ?? withoutRoute(change);
  }
  return before;
}

/** What answered without a route may be another version by now: one that was added since is higher. */
function withoutRoute(change: Change): Route | null {
  return change.type === "entry.put" && change.was !== undefined ? { default: change.was, pins: [] } : null;
}

/** What the changes of a log made. */
export function stateOf(log: readonly Pick<Logged, "change">[], before: ChangeState = NO_CHANGES): ChangeState {
  return applyAll(
    before,
    log.map(({ change }) => change as unknown as Change),
  );
}

/** As anybody may see it: a key's hash stays in the log, and so do the texts of policies. */
export function shown(change: Change): JsonObject {
  if ("key" in change) {
    const { hash: _, ...key } = change.key;
    return { ...change, key };
  }
  if (change.type === "rollback") {
    const { policies = {}, ...entries } = change.state.entries;
    const digests = Object.entries(policies).map(([name, bundle]) => [name, digestsOf(bundle)]);
    const rest = readable({ ...change.state, entries }) as { readonly entries: JsonObject };
    return { ...change, state: { ...rest, entries: { ...rest.entries, policies: Object.fromEntries(digests) } } };
  }
  const isPolicy = change.type === "entry.put" && change.section === "policies";
  return isPolicy ? { ...change, value: digestsOf(change.value) } : (readable(change) as JsonObject);
}
