/**
 * How does a JSON Schema become the subset of OpenAPI that Gemini's function declarations accept? It refuses a
 * declaration with one keyword too many, so only known ones pass; references are written out where they stand.
 * What surprises: the schema is an upstream's and may be hostile, e.g. references that double at every level, so the
 * whole conversion has a budget; where it ends, or a reference turns in a circle, `{type: object}` stands.
 */
import { isObject } from "../../json.ts";
import type { Json, JsonObject } from "../../model.ts";

const NODES_MAX = 2000;
const DEPTH_MAX = 32;
const CHOICES_MAX = 32;
const CUT: JsonObject = { type: "object" };

const KEPT = [
  "title",
  "description",
  "minItems",
  "maxItems",
  "minProperties",
  "maxProperties",
  "minLength",
  "maxLength",
  "pattern",
  "minimum",
  "maximum",
  "default",
  "example",
];
const TYPES = new Set(["string", "number", "integer", "boolean", "array", "object"]);
const FORMATS = new Set(["date-time", "enum", "float", "double", "int32", "int64"]);

type Walk = {
  readonly root: JsonObject;
  readonly open: ReadonlySet<string>;
  readonly depth: number;
  readonly budget: { left: number };
};

/** Null where there are no parameters: an object without properties is refused there. */
export function geminiSchema(schema: JsonObject): JsonObject | null {
  const converted = convert(schema, { root: schema, open: new Set(), depth: 0, budget: { left: NODES_MAX } });
  return isObject(converted["properties"]) ? { ...converted, type: "object" } : null;
}

function convert(schema: Json | undefined, walk: Walk): JsonObject {
  if (walk.depth > DEPTH_MAX || walk.budget.left-- <= 0) return CUT;
  // `true` allows anything; a type must be named all the same
  if (!isObject(schema)) return { type: "string" };
  const reference = schema["$ref"];
  if (typeof reference === "string") return dereference(schema, reference, walk);
  const inner = { ...walk, depth: walk.depth + 1 };
  return typed(merged(schema, inner), inner);
}

function dereference(schema: JsonObject, reference: string, walk: Walk): JsonObject {
  const target = walk.open.has(reference) ? null : lookUp(walk.root, reference);
  if (target === null) return CUT;
  const { $ref: _, ...beside } = schema;
  return convert(
    { ...target, ...beside },
    { ...walk, open: new Set([...walk.open, reference]), depth: walk.depth + 1 },
  );
}

/** Within the document only: nothing is ever fetched. */
function lookUp(root: JsonObject, reference: string): JsonObject | null {
  if (!reference.startsWith("#")) return null;
  let at: Json | undefined = root;
  for (const part of reference.split("/").slice(1)) {
    const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
    at = isObject(at) && Object.hasOwn(at, key) ? at[key] : undefined;
  }
  return isObject(at) ? at : null;
}

/** `allOf` becomes one schema: properties and requirements add up, of all else the last word counts. */
function merged(schema: JsonObject, walk: Walk): JsonObject {
  const { allOf, ...own } = schema;
  if (!Array.isArray(allOf)) return own;
  const parts = [...(allOf as readonly Json[]).slice(0, CHOICES_MAX).map((part) => opened(part, walk)), own];
  const properties = Object.assign({}, ...parts.map((part) => part["properties"]).filter(isObject)) as JsonObject;
  const required = parts.flatMap((part) =>
    Array.isArray(part["required"]) ? (part["required"] as readonly Json[]) : [],
  );
  const all = Object.assign({}, ...parts) as JsonObject;
  return {
    ...all,
    ...(Object.keys(properties).length === 0 ? {} : { properties }),
    ...(required.length === 0 ? {} : { required }),
  };
}

function opened(part: Json, walk: Walk): JsonObject {
  if (!isObject(part) || walk.depth > DEPTH_MAX || walk.budget.left-- <= 0) return {};
  const reference = part["$ref"];
  if (typeof reference !== "string") return merged(part, { ...walk, depth: walk.depth + 1 });
  const target = walk.open.has(reference) ? null : lookUp(walk.root, reference);
  return merged(target ?? {}, { ...walk, depth: walk.depth + 1, open: new Set([...walk.open, reference]) });
}

function typed(schema: JsonObject, walk: Walk): JsonObject {
  const { types, nullable } = typesOf(schema);
  const base = Object.fromEntries(
    KEPT.filter((key) => schema[key] !== undefined).map((key) => [key, schema[key] as Json]),
  );
  const marks = nullable ? { nullable: true } : {};
  const choices = [schema["anyOf"], schema["oneOf"]].find((list) => Array.isArray(list)) as readonly Json[] | undefined;
  if (choices !== undefined && schema["properties"] === undefined)
    return { ...base, ...marks, ...choice(choices, walk) };
  if (types.length > 1) return { ...base, ...marks, anyOf: types.map((type) => shaped(type, schema, walk)) };
  return { ...base, ...marks, ...shaped(types[0] ?? "string", schema, walk) };
}

/** `["string", "null"]` and a `null` among the choices say nullable there. */
function choice(choices: readonly Json[], walk: Walk): JsonObject {
  const real = choices.filter((option) => !(isObject(option) && option["type"] === "null"));
  const nullable = real.length < choices.length ? { nullable: true } : {};
  const [only] = real;
  if (real.length === 1 && only !== undefined) return { ...convert(only, walk), ...nullable };
  return { ...nullable, anyOf: real.slice(0, CHOICES_MAX).map((option) => convert(option, walk)) };
}

function typesOf(schema: JsonObject): { readonly types: readonly string[]; readonly nullable: boolean } {
  const { type } = schema;
  const named = (Array.isArray(type) ? (type as readonly Json[]) : [type]).filter((each) => typeof each === "string");
  const types = named.filter((each) => TYPES.has(each));
  return {
    types: types.length > 0 ? types : inferred(schema),
    nullable: named.includes("null") || schema["nullable"] === true,
  };
}

function inferred(schema: JsonObject): readonly string[] {
  if (schema["properties"] !== undefined) return ["object"];
  if (schema["items"] !== undefined || schema["prefixItems"] !== undefined) return ["array"];
  const { const: constant } = schema;
  return typeof constant === "number" || typeof constant === "boolean" ? [typeof constant] : ["string"];
}

function shaped(type: string, schema: JsonObject, walk: Walk): JsonObject {
  const { format } = schema;
  const marked = typeof format === "string" && FORMATS.has(format) ? { type, format } : { type };
  if (type === "object") return { type, ...objectParts(schema, walk) };
  if (type === "array") return { type, items: itemsOf(schema, walk) };
  if (type === "string") return { ...marked, ...enumOf(schema) };
  const { const: constant } = schema;
  if (typeof constant === "number" && type !== "boolean") return { ...marked, minimum: constant, maximum: constant };
  return marked;
}

/** Only strings may be enumerated there. */
function enumOf(schema: JsonObject): JsonObject {
  const listed = Array.isArray(schema["enum"]) ? (schema["enum"] as readonly Json[]) : [schema["const"]];
  const texts = listed.filter((value) => typeof value === "string");
  return texts.length === 0 ? {} : { enum: texts };
}

function objectParts(schema: JsonObject, walk: Walk): JsonObject {
  const { properties, required } = schema;
  if (!isObject(properties) || Object.keys(properties).length === 0) return {};
  const converted = Object.fromEntries(Object.entries(properties).map(([name, each]) => [name, convert(each, walk)]));
  const known = Array.isArray(required)
    ? (required as readonly Json[]).filter((name) => typeof name === "string" && Object.hasOwn(converted, name))
    : [];
  return { properties: converted, ...(known.length === 0 ? {} : { required: [...new Set(known)] }) };
}

/** An array must say of what. */
function itemsOf(schema: JsonObject, walk: Walk): JsonObject {
  const { items, prefixItems } = schema;
  const tuple = [prefixItems, items].find((list) => Array.isArray(list)) as readonly Json[] | undefined;
  return tuple === undefined ? convert(items, walk) : choice(tuple, walk);
}
