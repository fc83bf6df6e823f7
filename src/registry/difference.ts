/**
 * What does a change move? Entry by entry, of what is in force; of a policy, file by file. What surprises: who asks is
 * told the texts, and the record of the change holds their digests, since the texts stand in the log.
 */
import type { Config } from "../config.ts";
import type { Json } from "../model.ts";
import type { Bundle } from "../policy/sources.ts";
import { SECTIONS } from "./changes.ts";
import type { ChangeState, Section } from "./changes.ts";
import { listSection } from "./effect.ts";
import { digestOf, filesOf } from "./files.ts";

export type Difference = { readonly path: string; readonly before: Json; readonly after: Json };
type Row = readonly [string, Json];

const TEXT_CHARACTERS_MAX = 8_192;

export function differences(config: Config, before: ChangeState, after: ChangeState): readonly Difference[] {
  const moved = SECTIONS.filter((section) => before.entries[section] !== after.entries[section]);
  const flat = (state: ChangeState): ReadonlyMap<string, Json> =>
    new Map([
      // first: where a record is cut, these are seen
      ...liveKeys(state),
      ...[...state.approved].map(([tool, digest]): Row => [`approved/${tool}`, digest]),
      ...moved.flatMap((section) => rowsOf(config, state, section)),
    ]);
  const [old, now] = [flat(before), flat(after)];
  return [...new Set([...old.keys(), ...now.keys()])]
    .map((path) => ({ path, before: old.get(path) ?? null, after: now.get(path) ?? null }))
    .filter((one) => JSON.stringify(one.before) !== JSON.stringify(one.after));
}

/** File by file, from one bundle to another. */
export function differencesOf(before: Bundle, after: Bundle): readonly Difference[] {
  const [old, now] = [new Map(filesOf(before)), new Map(filesOf(after))];
  return [...new Set([...old.keys(), ...now.keys()])]
    .map((path) => ({ path, before: old.get(path) ?? null, after: now.get(path) ?? null }))
    .filter((one) => one.before !== one.after);
}

/** As it is told: of a long text its beginning. */
export function told(diff: readonly Difference[]): readonly Difference[] {
  return withTexts(diff, (text) =>
    text.length > TEXT_CHARACTERS_MAX ? `${text.slice(0, TEXT_CHARACTERS_MAX).toWellFormed()}…` : text,
  );
}

/** As it is recorded: of a text its digest. */
export function recorded(diff: readonly Difference[]): readonly Difference[] {
  return withTexts(diff, digestOf);
}

function liveKeys({ keys }: ChangeState): readonly Row[] {
  return [...keys.values()]
    .filter(({ revokedAt }) => revokedAt === null)
    .map(({ id, principal, kind, onBehalfOf }) => [`keys/${id}`, { principal, kind, onBehalfOf }]);
}

function rowsOf(config: Config, state: ChangeState, section: Section): readonly Row[] {
  if (section !== "policies")
    return listSection(config, state, section).map(({ name, value }) => [`${section}/${name}`, value]);
  // also where a folder is enforced now: what was applied decides again when the file says so
  return [...state.entries.policies].flatMap(([name, bundle]) =>
    filesOf(bundle).map(([path, text]): Row => [`policies/${name}/${path}`, text]),
  );
}

function withTexts(diff: readonly Difference[], shorten: (text: string) => string): readonly Difference[] {
  const short = (value: Json): Json => (typeof value === "string" ? shorten(value) : value);
  return diff.map((one) =>
    one.path.startsWith("policies/") ? { ...one, before: short(one.before), after: short(one.after) } : one,
  );
}
