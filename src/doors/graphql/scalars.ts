/**
 * What may be written where the schema says JSON or DateTime? Values in variables came through the strict parser;
 * values written into the document did not, so they are held to the same rules here.
 */
import type { ValueNode } from "graphql";
import { createGraphQLError } from "graphql-yoga";
import { DEPTH_MAX, isExact } from "../../json.ts";
import type { Json } from "../../model.ts";

type Variables = { readonly [name: string]: unknown } | null | undefined;

export const JSON_SCALAR = {
  serialize: (value: unknown) => value,
  parseValue: (value: unknown) => value,
  parseLiteral: (node: ValueNode, variables: Variables) => literal(node, variables ?? {}, 0),
};

export const DATE_TIME = {
  serialize: (value: unknown) => value,
  parseValue: instant,
  parseLiteral: (node: ValueNode) => instant(node.kind === "StringValue" ? node.value : null),
};

/** What a variable left out is left out, and null in a list. @throws GraphQLError */
function literal(node: ValueNode, variables: NonNullable<Variables>, depth: number): Json | undefined {
  if (depth > DEPTH_MAX) throw createGraphQLError(`A JSON value is nested more than ${DEPTH_MAX} deep.`);
  if (node.kind === "Variable") return variables[node.name.value] as Json | undefined;
  if (node.kind === "NullValue") return null;
  if (node.kind === "ListValue") return node.values.map((item) => literal(item, variables, depth + 1) ?? null);
  if (node.kind === "IntValue" || node.kind === "FloatValue") return number(node.value);
  if (node.kind === "EnumValue") throw createGraphQLError("A JSON value holds a word without quotes.");
  if (node.kind !== "ObjectValue") return node.value;
  const entries = node.fields.map(({ name, value }) => [name.value, literal(value, variables, depth + 1)] as const);
  if (entries.some(([key]) => key === "__proto__")) throw createGraphQLError("The key __proto__ is not allowed.");
  return Object.fromEntries(entries.filter(([, item]) => item !== undefined)) as Json;
}

function number(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value)) throw createGraphQLError("A number is too large.");
  if (!isExact(value, text))
    throw createGraphQLError("A number has more digits than can be kept: send it as a string.");
  return value;
}

/** Normalised to UTC with milliseconds. @throws GraphQLError */
function instant(value: unknown): string {
  const text =
    typeof value === "string" && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i.test(value) ? value : "";
  const time = Date.parse(text);
  if (Number.isNaN(time))
    throw createGraphQLError("A DateTime is RFC 3339 with a time zone, e.g. 2026-08-01T12:00:00Z.");
  return new Date(time).toISOString();
}
