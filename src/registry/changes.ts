/**
 * What has been changed by administrators? Every change, and the pure fold that makes the state of a list of them.
 * Changes hold no secret: a key travels as its hash. What surprises: a roll back carries the state that it goes back to,
 * so that the fold needs no memory; and it leaves keys alone, since a revoked key must not come back.
 */
import { checkConfig } from "../config-check.ts";
import type { Config, Problem } from "../config.ts";
import { readable } from "../config-mask.ts";
import type { Json, JsonObject, Key } from "../model.ts";

/** The sections of the configuration that are open to changes, by what their entries are. */
export type Entries = {
  readonly principals: Config["principals"][number];
  readonly roles: readonly string[];
  readonly limits: Config["limits"][number];
};
export const SECTIONS = ["principals", "roles", "limits"] as const satisfies readonly (keyof Entries)[];
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
  entries: { principals: new Map(), roles: new Map(), limits: new Map() },
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
    },
  };
}

/** The file's entry, or the changed one; the file's counts. */
export function entryOf<One extends Section>(
  config: Config,
  { entries }: ChangeState,
  section: One,
  name: string,
): { readonly origin: "file" | "change"; readonly value: Entries[One] } | null {
  const own = fileEntries(config, section).get(name);
  if (own !== undefined) return { origin: "file", value: own };
  const changed = entries[section].get(name);
  return changed === undefined ? null : { origin: "change", value: changed };
}

function fileEntries<One extends Section>(config: Config, section: One): ReadonlyMap<string, Entries[One]> {
  const entries: { readonly [Each in Section]: () => readonly (readonly [string, Entries[Each]])[] } = {
    principals: () => config.principals.map((one) => [one.id, one]),
    roles: () => Object.entries(config.roles),
    limits: () => config.limits.map((one) => [one.name, one]),
  };
  return new Map(entries[section]());
}

export type Listed = { readonly name: string; readonly origin: "file" | "change"; readonly value: Json };

/** By name; values as the file would say them. */
export function listSection(config: Config, state: ChangeState, section: Section): readonly Listed[] {
  const names = [...new Set([...fileEntries(config, section).keys(), ...state.entries[section].keys()])];
  return names.toSorted().flatMap((name) => {
    const found = entryOf(config, state, section, name);
    return found === null ? [] : [{ name, origin: found.origin, value: readable(found.value) }];
  });
}

/** As anybody may see it: a key's hash stays in the log. */
export function shown(change: Change): JsonObject {
  if (!("key" in change)) return change;
  const { hash: _, ...key } = change.key;
  return { ...change, key };
}

/** The file, and what was changed beside it: an entry of the file's own name stands. */
export function inEffect(config: Config, { entries }: ChangeState): Config {
  const beside = <One extends Section>(section: One): readonly Entries[One][] => {
    const own = fileEntries(config, section);
    return [...entries[section]].filter(([name]) => !own.has(name)).map(([, value]) => value);
  };
  return {
    ...config,
    principals: [...config.principals, ...beside("principals")],
    limits: [...config.limits, ...beside("limits")],
    roles: {
      ...Object.fromEntries([...entries.roles].map(([role, permissions]) => [role, [...permissions]])),
      ...config.roles,
    },
  };
}

/** What would be wrong with the whole once this change is made. */
export function problemsAfter(config: Config, state: ChangeState, change: Change): readonly Problem[] {
  return checkConfig(inEffect(config, apply(state, change))).problems;
}
