/**
 * Which type has `input` in every rule? That of the published schema, so that a misspelt field does not compile.
 * What surprises: OPA's types know no unions and no enumerations, so what is one of several types is any, and an
 * enumeration of strings is a string. `arguments` stay open; an author may bind a schema to them by an annotation.
 */
import document from "../../schema/policy-input.schema.json" with { type: "json" };
import type { Json, JsonObject } from "../model.ts";
import { isObject } from "../json.ts";

/** By the name that the compiler knows them under: `input` is the type of every rule, the others annotations may name. */
export const SCHEMAS: JsonObject = {
  input: typeOf(document),
  "schema.input": typeOf(document),
  "schema.question": {},
};

/** Nothing is known of the input; what annotations name is there. */
export const UNTYPED: JsonObject = { "schema.input": typeOf(document), "schema.question": {} };

function typeOf(schema: Json): JsonObject {
  if (!isObject(schema)) return {};
  const { type, required, properties, items } = schema;
  if (Array.isArray(schema["enum"])) return schema["enum"].every(isText) ? { type: "string" } : {};
  if (!isText(type)) return {};
  return {
    type,
    ...(required === undefined ? {} : { required }),
    ...(items === undefined ? {} : { items: typeOf(items) }),
    ...(isObject(properties) ? { properties: typesOf(properties) } : {}),
  };
}

function typesOf(properties: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(properties).map(([name, schema]) => [name, typeOf(schema)]));
}

function isText(value: unknown): value is string {
  return typeof value === "string";
}
