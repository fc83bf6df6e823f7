/**
 * What may be written where the schema says JSON or DateTime? Values in variables came through the strict parser;
 * values written into the document did not, so they are held to the same rules here.
 */
import { GraphQLError, GraphQLScalarType, valueFromASTUntyped } from "graphql";
import type { ValueNode } from "graphql";
import { DEPTH_MAX, isObject } from "../../json.ts";
import type { Json } from "../../model.ts";

type Variables = { readonly [name: string]: unknown } | null | undefined;

export const JSON_SCALAR = new GraphQLScalarType({
  name: "JSON",
  serialize: (value) => value,
  parseValue: (value) => value,
  parseLiteral: (node: ValueNode, variables: Variables) => strict(valueFromASTUntyped(node, variables), 0),
});

export const DATE_TIME = new GraphQLScalarType({
  name: "DateTime",
  serialize: (value) => value,
  parseValue: instant,
  parseLiteral: (node: ValueNode) => instant("value" in node ? node.value : null),
});

/** A plain object again; what a variable left out is left out. @throws GraphQLError */
function strict(value: unknown, depth: number): Json | undefined {
  if (depth > DEPTH_MAX) throw new GraphQLError(`A JSON value is nested more than ${DEPTH_MAX} deep.`);
  if (value === undefined || value === null || typeof value === "boolean") return value;
  if (typeof value === "string" && value.isWellFormed()) return value;
  if (typeof value === "number" && Number.isFinite(value)) return value;
  if (Array.isArray(value)) return value.map((item) => strict(item, depth + 1) ?? null);
  if (!isObject(value as Json)) throw new GraphQLError("A JSON value holds what JSON cannot.");
  const entries = Object.entries(value).map(([key, item]) => [key, strict(item, depth + 1)] as const);
  if (entries.some(([key]) => key === "__proto__")) throw new GraphQLError("The key __proto__ is not allowed.");
  return Object.fromEntries(entries.filter(([, item]) => item !== undefined)) as Json;
}

/** Normalised to UTC with milliseconds. @throws GraphQLError */
function instant(value: unknown): string {
  const text =
    typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i.test(value) ? value : "";
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw new GraphQLError("A DateTime is RFC 3339 with a time zone, e.g. 2026-08-01T12:00:00Z.");
  return new Date(time).toISOString();
}
