/**
 * What does a changed JSON Schema take that it did not take, and what no more? Keyword by keyword: each difference either
 * narrows the schema, widens it, or is of a kind that nobody can compare. What surprises: a property that is gone counts
 * as both, although it makes a schema wider, since what was said in it is not heard any more.
 */
import { isObject, isScalar } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";
import { canonical } from "./fingerprint.ts";
import { definitionsOf, followed, refersIn } from "./schema-ref.ts";

export type SchemaChange = {
  /** JSON pointer from the root of the schema. */
  readonly path: string;
  /** `said`: only what people and models read of it. `added`: an optional property. */
  readonly kind: "narrowed" | "widened" | "changed" | "said" | "added";
  readonly message: string;
};

export function diffSchema(before: Json, after: Json): readonly SchemaChange[] {
  const found: SchemaChange[] = [];
  const moved = canonical(definitionsOf(before)) !== canonical(definitionsOf(after));
  const left = COSTS * (canonical(before).length + canonical(after).length + COMPARED_MIN);
  compare({ found, before, after, moved, left, seen: new Set(), met: new Map() }, "", before, after);
  return found;
}

/** In characters, as a multiple of what is compared: through references two small schemas make as many pairs as both have parts. */
const COSTS = 8;
const COMPARED_MIN = 4_096;

type Walk = {
  readonly found: SchemaChange[];
  /** Whole schemas, for `$ref`. */
  readonly before: Json;
  readonly after: Json;
  /** What `$ref` may mean is not what it was. */
  readonly moved: boolean;
  /** What may yet be looked at. */
  left: number;
  readonly seen: Set<string>;
  readonly met: Map<JsonObject, Set<JsonObject>>;
};
type Level = { readonly walk: Walk; readonly path: string; readonly before: JsonObject; readonly after: JsonObject };

const LOWER_BOUNDS = ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"];
const UPPER_BOUNDS = ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties", "maxContains"];
const SCHEMAS = ["items", "additionalProperties", "unevaluatedProperties", "unevaluatedItems"];
/** Definitions that something refers to are compared there. */
const SAID = new Set(
  ["title", "description", "default", "examples", "deprecated", "$comment", "$id", "$schema", "$defs", "definitions"], //
);
/** What these mean hangs on their neighbours: where one is gone, less may be taken than before. */
const BOTH_WAYS = new Set(["patternProperties", "nullable", "minContains"]);
const HANDLED = new Set([
  ...[...LOWER_BOUNDS, ...UPPER_BOUNDS, ...SCHEMAS, ...SAID],
  ...["type", "enum", "const", "required", "properties", "prefixItems", "anyOf", "oneOf", "allOf", "uniqueItems"],
]);
const DEPTH_MAX = 64;

function compare(walk: Walk, path: string, left: Json, right: Json): void {
  const [before, after] = [followed(walk.before, left), followed(walk.after, right)];
  if (walk.left < 0 || metAgain(walk, before, after)) return;
  const texts = [canonical(before), canonical(after)] as const;
  const pair = texts.join("\n");
  const level: Level = { walk, path, before: keywordsOf(before), after: keywordsOf(after) };
  walk.left -= pair.length;
  if (walk.left < 0) return note(level, "", "changed", "too much to be compared");
  // a schema may hold itself: the same two need no second look
  if ((texts[0] === texts[1] && !(walk.moved && refersIn(pair))) || walk.seen.has(pair)) return;
  walk.seen.add(pair);
  if (path.split("/").length > DEPTH_MAX) return note(level, "", "changed", "too deep to be compared");
  if (before === false || after === false)
    return note(level, "", before === false ? "widened" : "narrowed", "nothing is taken here");
  const known = walk.found.length;
  compareTypes(level);
  compareValues(level);
  compareBounds(level);
  compareObjects(level);
  compareItems(level);
  compareBranches(level);
  compareRest(level);
  const others = [before, after].some((one) => isObject(one) && UNEVALUATED.some((keyword) => keyword in one));
  if (others && walk.found.slice(known).some(({ kind }) => kind !== "said"))
    note(level, "", "changed", "what is not evaluated elsewhere may be another part");
}

const UNEVALUATED = ["unevaluatedProperties", "unevaluatedItems"];

/** The very same two, where many refer to one: not even their texts are made again. */
function metAgain({ met }: Walk, before: Json, after: Json): boolean {
  if (!isObject(before) || !isObject(after)) return false;
  const others = met.get(before) ?? new Set();
  if (others.has(after)) return true;
  met.set(before, others.add(after));
  return false;
}

/** `true` takes everything, as an empty schema does. Before 2020-12 a tuple stood in `items`. */
function keywordsOf(schema: Json): JsonObject {
  if (!isObject(schema)) return {};
  const { items, additionalItems = true, ...rest } = schema;
  return Array.isArray(items) ? { ...rest, prefixItems: items, items: additionalItems } : schema;
}

/** The same, whatever it refers to. */
function alike({ moved }: Walk, left: Json, right: Json): boolean {
  const text = canonical(left);
  return text === canonical(right) && !(moved && refersIn(text));
}

/** `keyword`: or a pointer from there. */
function note({ walk, path }: Level, keyword: string, kind: SchemaChange["kind"], message: string): void {
  walk.found.push({ path: keyword === "" ? path : `${path}/${keyword}`, kind, message });
}

function compareTypes(level: Level): void {
  const [old, now] = [typesOf(level.before), typesOf(level.after)];
  const takes = (types: ReadonlySet<string>, type: string): boolean =>
    types.has(type) || (type === "integer" && types.has("number"));
  const lost = [...old].filter((type) => !takes(now, type));
  const gained = [...now].filter((type) => !takes(old, type));
  const message = `type: ${textOf(old)} → ${textOf(now)}`;
  if (lost.length > 0) note(level, "type", "narrowed", message);
  if (gained.length > 0) note(level, "type", "widened", message);
}

const TYPES = ["null", "boolean", "number", "string", "array", "object"];

function typesOf({ type }: JsonObject): ReadonlySet<string> {
  if (typeof type === "string") return new Set([type]);
  return new Set(Array.isArray(type) ? type.map(String) : TYPES);
}

function textOf(types: ReadonlySet<string>): string {
  return TYPES.every((type) => types.has(type)) ? "any" : [...types].toSorted().join(" or ");
}

function compareValues(level: Level): void {
  const [old, now] = [valuesOf(level.before), valuesOf(level.after)];
  if (old === null && now === null) return;
  const keyword = "const" in level.after || "const" in level.before ? "const" : "enum";
  const lost = old === null ? [] : [...old].filter((value) => now !== null && !now.has(value));
  const gained = now === null ? [] : [...now].filter((value) => old !== null && !old.has(value));
  if (old === null) note(level, keyword, "narrowed", "only listed values are taken now");
  if (now === null) note(level, keyword, "widened", "any value is taken now");
  if (lost.length > 0) note(level, keyword, "narrowed", `no longer taken: ${listed(lost)}`);
  if (gained.length > 0) note(level, keyword, "widened", `now taken too: ${listed(gained)}`);
}

function valuesOf(schema: JsonObject): ReadonlySet<string> | null {
  const { enum: values } = schema;
  const listed = Array.isArray(values) ? new Set((values as readonly Json[]).map(canonical)) : null;
  if (!Object.hasOwn(schema, "const")) return listed;
  const only = canonical(schema["const"] ?? null);
  return new Set(listed === null || listed.has(only) ? [only] : []);
}

function compareBounds(level: Level): void {
  for (const keyword of [...LOWER_BOUNDS, ...UPPER_BOUNDS]) {
    const [old, now] = [level.before[keyword], level.after[keyword]];
    if (canonical(old ?? null) === canonical(now ?? null)) continue;
    const message = `${keyword}: ${shown(old)} → ${shown(now)}`;
    if (old === undefined) note(level, keyword, "narrowed", message);
    else if (now === undefined) note(level, keyword, "widened", message);
    else if (typeof old !== "number" || typeof now !== "number") note(level, keyword, "changed", message);
    else note(level, keyword, now > old === LOWER_BOUNDS.includes(keyword) ? "narrowed" : "widened", message);
  }
  const [old, now] = [level.before["uniqueItems"] === true, level.after["uniqueItems"] === true];
  if (old !== now)
    note(level, "uniqueItems", now ? "narrowed" : "widened", now ? "items must differ now" : "items may be alike now");
}

function compareObjects(level: Level): void {
  const { walk, path, before, after } = level;
  const [old, now] = [propertiesOf(before), propertiesOf(after)];
  const needed = requiredOf(after);
  for (const name of requiredOf(before))
    if (!needed.has(name)) note(level, "required", "widened", `${name} is no longer required`);
  for (const name of needed)
    if (!requiredOf(before).has(name)) note(level, "required", "narrowed", `${name} is required now`);
  for (const [name, schema] of Object.entries(old)) {
    const other = own(now, name);
    if (other === undefined) note(level, `properties/${escaped(name)}`, "changed", `${name} is gone`);
    else compare(walk, `${path}/properties/${escaped(name)}`, schema, other);
  }
  const others = before["additionalProperties"] ?? before["unevaluatedProperties"] ?? true;
  for (const [name, schema] of Object.entries(now)) {
    if (own(old, name) !== undefined) continue;
    note(level, `properties/${escaped(name)}`, "added", `${name} is new`);
    if (others !== true) compare(walk, `${path}/properties/${escaped(name)}`, others, schema);
  }
  for (const keyword of SCHEMAS) {
    const [left, right] = [before[keyword] ?? true, after[keyword] ?? true];
    if (isObject(left) && right === true) note(level, keyword, "widened", `${keyword}: anything is taken now`);
    else if (left === true && isObject(right))
      note(level, keyword, "narrowed", `${keyword}: not everything is taken now`);
    else compare(walk, `${path}/${keyword}`, left, right);
  }
}

function propertiesOf({ properties }: JsonObject): JsonObject {
  return isObject(properties ?? null) ? (properties as JsonObject) : {};
}

function requiredOf({ required }: JsonObject): ReadonlySet<string> {
  return new Set(Array.isArray(required) ? required.map(String) : []);
}

/** Place by place; where there is none, what is said of all others. */
function compareItems({ walk, path, before, after }: Level): void {
  const [old, now] = [branchesOf(before, "prefixItems") ?? [], branchesOf(after, "prefixItems") ?? []];
  for (let at = 0; at < Math.max(old.length, now.length); at++) {
    const [left, right] = [old[at] ?? before["items"] ?? true, now[at] ?? after["items"] ?? true];
    compare(walk, `${path}/prefixItems/${at}`, left, right);
  }
}

/** Alternatives that are gone narrow, conditions that are gone widen. */
function compareBranches(level: Level): void {
  for (const keyword of ["anyOf", "oneOf", "allOf"]) {
    const [old, now] = [branchesOf(level.before, keyword), branchesOf(level.after, keyword)];
    if (old === null && now === null) continue;
    const known = level.walk.found.length;
    compareThese(level, keyword, old, now);
    const clear = keyword !== "oneOf" || old === null || now === null || [old, now].every(areDistinct);
    if (!clear && level.walk.found.slice(known).some(({ kind }) => kind !== "said"))
      note(level, keyword, "changed", "oneOf: what several branches take is taken by none");
  }
}

type Branches = readonly Json[] | null;

function compareThese(level: Level, keyword: string, old: Branches, now: Branches): void {
  const { walk, path } = level;
  const isPaired = old?.length === now?.length;
  const kept = new Set(now?.map(canonical));
  for (const [at, branch] of (old ?? []).entries())
    if (isPaired || kept.has(canonical(branch)))
      compare(walk, `${path}/${keyword}/${at}`, branch, isPaired ? (now?.[at] ?? true) : branch);
  if (isPaired) return;
  const left = new Set(old?.map(canonical));
  const conditions = keyword === "allOf" || old === null || now === null;
  if ([...left].some((branch) => !kept.has(branch)))
    note(level, keyword, conditions ? "widened" : "narrowed", `${keyword}: a branch is gone`);
  if ([...kept].some((branch) => !left.has(branch)))
    note(level, keyword, conditions ? "narrowed" : "widened", `${keyword}: a branch is new`);
}

/** Each of another type: then oneOf says what anyOf would. */
function areDistinct(branches: readonly Json[]): boolean {
  const types = branches.flatMap((branch) => [...typesOf(keywordsOf(branch))]);
  return new Set(types.map((type) => (type === "integer" ? "number" : type))).size === types.length;
}

function branchesOf(schema: JsonObject, keyword: string): readonly Json[] | null {
  const branches = schema[keyword];
  return Array.isArray(branches) ? (branches as readonly Json[]) : null;
}

function compareRest(level: Level): void {
  const { before, after } = level;
  for (const keyword of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [old, now] = [own(before, keyword), own(after, keyword)];
    if (HANDLED.has(keyword) && !SAID.has(keyword)) continue;
    if (old !== undefined && now !== undefined && alike(level.walk, { [keyword]: old }, { [keyword]: now })) continue;
    if (SAID.has(keyword)) note(level, escaped(keyword), "said", `${keyword} changed`);
    else if (BOTH_WAYS.has(keyword)) note(level, escaped(keyword), "changed", `${keyword} changed`);
    else if (old === undefined) note(level, escaped(keyword), "narrowed", `${keyword} is new`);
    else if (now === undefined) note(level, escaped(keyword), "widened", `${keyword} is gone`);
    else note(level, escaped(keyword), "changed", `${keyword} changed`);
  }
}

function own(object: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(object, key) ? object[key] : undefined;
}

function listed(values: readonly string[]): string {
  const some = values
    .slice(0, LISTED_MAX)
    .map((value) => value.slice(0, SHOWN_MAX))
    .join(", ");
  return values.length > LISTED_MAX ? `${some}, …` : some;
}

function shown(value: Json | undefined): string {
  if (value === undefined) return "none";
  return isScalar(value) ? String(value).slice(0, SHOWN_MAX) : "…";
}

const LISTED_MAX = 8;
const SHOWN_MAX = 60;

function escaped(step: string): string {
  return step.replaceAll("~", "~0").replaceAll("/", "~1");
}
