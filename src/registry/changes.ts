/**
 * What has been changed by administrators? Every change, and the pure fold that makes the state of a list of them.
 * Changes hold no secret: a key travels as its hash. What surprises: a roll back carries the state that it goes back to,
 * so that the fold needs no memory; and it brings back no key, since a revoked one must not come back. Whatever takes a
 * principal away names the keys that end with it: who has that name later is somebody else.
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
  | ({ readonly type: "entry.remove"; readonly section: Section; readonly name: string } & Revoking)
  | ({ readonly type: "rollback"; readonly to: number; readonly state: Restorable } & Revoking);

/** Keys that end with the principals that they act as or for. */
type Revoking = { readonly revoked?: { readonly ids: readonly string[]; readonly at: string } };

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
      return { ...state, entries: entriesAfter(state, change) };
    case "entry.remove":
      return { ...withoutKeys(state, change), entries: entriesAfter(state, change) };
    case "rollback":
      return { ...withoutKeys(state, change), ...restored(change.state) };
  }
}

function withoutKeys(state: ChangeState, { revoked }: Revoking): ChangeState {
  if (revoked === undefined) return state;
  return { ...state, keys: revoked.ids.reduce((keys, id) => revoke(keys, id, revoked.at), state.keys) };
}

function revoke(keys: ChangeState["keys"], id: string, at: string): ChangeState["keys"] {
  const key = keys.get(id);
  return key === undefined || key.revokedAt !== null ? keys : new Map(keys).set(id, { ...key, revokedAt: at });
}

function entriesAfter(
  { entries }: ChangeState,
  change: Put | Extract<Change, { type: "entry.remove" }>,
): ChangeState["entries"] {
  const section = new Map<string, Entries[Section]>(entries[change.section]);
  if (change.type === "entry.put") section.set(change.name, change.value);
  else section.delete(change.name);
  return { ...entries, [change.section]: section };
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
