/**
 * How much work can this schema make? Upstream schemas are hostile: eight lines of `allOf` and `$ref` can ask for more
 * steps than there are years. A schema whose work can be counted, as so many steps for each value, may run on the main
 * thread as long as the arguments are small enough for it; any other runs in the worker with a deadline.
 */
import { isObject } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";
import { patternWork } from "./schema-pattern.ts";

export type SchemaWork = {
  /** Steps for each value in the arguments, at most. */
  readonly steps: number;
  /** How often each character is looked at, at most, other than by patterns. */
  readonly reads: number;
  /** By degree: the sum of the patterns' factors. */
  readonly patterns: readonly number[];
};

/** Null where the work cannot be counted. */
export function schemaWork(schema: JsonObject): SchemaWork | null {
  const count: Count = { root: schema, open: new Set(), patterns: [0, 0, 0, 0, 0], steps: 0, reads: 0 };
  return countSchema(count, schema) ? { steps: count.steps, reads: count.reads, patterns: count.patterns } : null;
}

/** Whether these arguments are small enough for the main thread: some milliseconds at worst. */
export function fits(args: JsonObject, { steps, reads, patterns }: SchemaWork): boolean {
  const size = { values: 0, characters: 0, longest: 0 };
  if (!weigh(args, size, WORK_MAX / steps)) return false;
  let work = steps * size.values + (reads * size.characters) / CHARACTERS_PER_STEP;
  for (const [degree, factor] of patterns.entries()) {
    if (factor > 0) work += size.values * factor * (size.longest + 1) ** degree;
  }
  return work <= WORK_MAX;
}

type Count = {
  readonly root: JsonObject;
  /** Those that are being counted: meeting one again is a cycle. */
  readonly open: Set<Json>;
  readonly patterns: number[];
  steps: number;
  reads: number;
};

/** A schema that is referred to twice counts twice. False where there is no end, or none soon enough. */
function countSchema(count: Count, schema: Json): boolean {
  if (++count.steps > STEPS_MAX) return false;
  if (typeof schema === "boolean") return true;
  if (!isObject(schema) || count.open.has(schema)) return false;
  count.open.add(schema);
  const counted = Object.keys(schema).every((keyword) => countKeyword(count, schema, keyword));
  count.open.delete(schema);
  return counted;
}

function countKeyword(count: Count, schema: JsonObject, keyword: string): boolean {
  const value = schema[keyword] as Json;
  count.steps++;
  if (READS.has(keyword)) count.reads++;
  if (UNCOUNTED.has(keyword)) return false;
  if (keyword === "$ref") return countSchema(count, resolveLocal(count.root, value));
  if (keyword === "pattern") return countPattern(count, value);
  if (keyword === "uniqueItems") return value !== true || comparesScalars(schema);
  if (MAPS.has(keyword) && isObject(value)) {
    const patterned = keyword !== "patternProperties" || Object.keys(value).every((key) => countPattern(count, key));
    return (
      patterned &&
      Object.values(value).every((one) => (Array.isArray(one) ? countValues(count, one) : countSchema(count, one)))
    );
  }
  if (SUBSCHEMAS.has(keyword)) {
    return Array.isArray(value)
      ? (value as readonly Json[]).every((one) => countSchema(count, one))
      : countSchema(count, value);
  }
  return ANNOTATIONS.has(keyword) || countValues(count, value);
}

/** Their work hangs on what was evaluated elsewhere, or on schemas found by name: `$async` would even answer later. */
const UNCOUNTED: ReadonlySet<string> = words(
  "$id id $anchor $dynamicAnchor $dynamicRef $recursiveAnchor $recursiveRef $async",
  "unevaluatedProperties unevaluatedItems",
);
const MAPS: ReadonlySet<string> = new Set(["properties", "patternProperties", "dependentSchemas", "dependencies"]);
const SUBSCHEMAS: ReadonlySet<string> = words(
  "allOf anyOf oneOf not if then else",
  "items additionalItems prefixItems contains additionalProperties propertyNames",
);
const READS: ReadonlySet<string> = new Set(["minLength", "maxLength", "uniqueItems"]);
const ANNOTATIONS: ReadonlySet<string> = new Set(["$defs", "definitions", "default", "examples"]);

function words(...lines: readonly string[]): ReadonlySet<string> {
  return new Set(lines.flatMap((line) => line.split(" ")));
}

function countPattern(count: Count, pattern: Json): boolean {
  const work = typeof pattern === "string" ? patternWork(pattern) : null;
  if (work !== null) count.patterns[work.degree] = (count.patterns[work.degree] ?? 0) + work.factor;
  return work !== null;
}

/** Of `enum`, `required` and the like: each may be compared with each value. */
function countValues(count: Count, value: Json): boolean {
  if (++count.steps > STEPS_MAX) return false;
  return typeof value !== "object" || value === null || Object.values(value).every((one) => countValues(count, one));
}

/** A schema within this one, by JSON pointer. Anything else, above all a URL, is not followed. */
function resolveLocal(root: JsonObject, reference: Json): Json {
  if (typeof reference !== "string" || !reference.startsWith("#/") || reference.includes("%")) return null;
  let found: Json | undefined = root;
  for (const part of reference.slice(2).split("/")) {
    const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
    found = isObject(found) && Object.hasOwn(found, key) ? found[key] : undefined;
  }
  return found ?? null;
}

/** Ajv compares scalars by a table, anything else each with each. */
function comparesScalars({ items }: JsonObject): boolean {
  const type = isObject(items) ? items["type"] : undefined;
  const types = typeof type === "string" ? [type] : Array.isArray(type) ? (type as readonly Json[]) : [];
  return types.length > 0 && !types.includes("object") && !types.includes("array");
}

type Size = { values: number; characters: number; longest: number };

/** False as soon as there are more than `valuesMax` values. */
function weigh(value: Json, size: Size, valuesMax: number): boolean {
  if (++size.values > valuesMax) return false;
  if (typeof value === "string") return measure(value, size);
  if (typeof value !== "object" || value === null) return true;
  if (Array.isArray(value)) return (value as readonly Json[]).every((item) => weigh(item, size, valuesMax));
  for (const [key, member] of Object.entries(value as JsonObject)) {
    measure(key, size);
    if (!weigh(member, size, valuesMax)) return false;
  }
  return true;
}

function measure(text: string, size: Size): true {
  size.characters += text.length;
  if (text.length > size.longest) size.longest = text.length;
  return true;
}

const STEPS_MAX = 20_000;
/** One unit is some nanoseconds. */
const WORK_MAX = 2_000_000;
const CHARACTERS_PER_STEP = 4;
