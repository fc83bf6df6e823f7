/**
 * What has been changed by administrators? Every change, and the pure fold that makes the state of a list of them.
 * Changes hold no secret: a key travels as its hash. What surprises: a roll back carries the state that it goes back to,
 * so that the fold needs no memory; and it leaves keys alone, since a revoked key must not come back.
 */
import type { Config, Registered, ServerConfig } from "../config.ts";
import { readable } from "../config-mask.ts";
import type { JsonObject, Key } from "../model.ts";

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
    case "entry.remove":
      return { ...state, entries: { ...state.entries, [change.section]: sectionAfter(state, change, copy) } };
    case "rollback":
      return { ...state, ...restored(change.state) };
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

type Revoked = { readonly id: string; readonly at: string };

function revoke(keys: ChangeState["keys"], { id, at }: Revoked, copy: Copy): ChangeState["keys"] {
  const key = keys.get(id);
  return key === undefined ? keys : copy(keys).set(id, { ...key, revokedAt: at });
}

function sectionAfter(
  { entries }: ChangeState,
  change: Put | Extract<Change, { type: "entry.remove" }>,
  copy: Copy,
): ReadonlyMap<string, Entries[Section]> {
  const section = copy<string, Entries[Section]>(entries[change.section]);
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

/** As anybody may see it: a key's hash stays in the log. */
export function shown(change: Change): JsonObject {
  if (!("key" in change)) return readable(change) as JsonObject;
  const { hash: _, ...key } = change.key;
  return { ...change, key };
}
