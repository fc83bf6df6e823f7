/**
 * Which arguments does a modern server want repeated in headers? Those that its input schema marks `x-mcp-header`.
 * A mark in any place or form that the specification forbids makes the whole tool invalid.
 */
import { isObject } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";

export type HeaderParameter = { readonly name: string; readonly path: readonly string[] };

/** By definition object: looked at once, not at each call. */
const known = new WeakMap<JsonObject, readonly HeaderParameter[] | "invalid">();

/** The parameters to repeat, or null if the definition breaks the rules. */
export function headerParameters(definition: JsonObject): readonly HeaderParameter[] | null {
  let found = known.get(definition);
  if (found === undefined) {
    found = scan(definition["inputSchema"]) ?? "invalid";
    known.set(definition, found);
  }
  return found === "invalid" ? null : found;
}

type Visit = { readonly schema: Json | undefined; readonly path: readonly string[]; readonly reachable: boolean };

function scan(root: Json | undefined): readonly HeaderParameter[] | null {
  const parameters: HeaderParameter[] = [];
  const names = new Set<string>();
  const pending: Visit[] = [{ schema: root, path: [], reachable: true }];
  for (let visit = pending.pop(); visit !== undefined; visit = pending.pop()) {
    const { schema, path, reachable } = visit;
    if (!isObject(schema)) continue;
    if ("x-mcp-header" in schema) {
      const name = schema["x-mcp-header"];
      if (!reachable || path.length === 0 || !isHeaderName(name) || !isScalarType(schema["type"])) return null;
      if (names.has(name.toLowerCase())) return null;
      names.add(name.toLowerCase());
      parameters.push({ name: `mcp-param-${name.toLowerCase()}`, path });
    }
    queueChildren(visit, schema, pending);
  }
  return parameters;
}

function queueChildren({ path, reachable }: Visit, schema: JsonObject, pending: Visit[]): void {
  for (const key of Object.keys(schema)) {
    const value = schema[key];
    if (key === "properties" && isObject(value)) {
      for (const name of Object.keys(value)) pending.push({ schema: value[name], path: [...path, name], reachable });
    } else if (SINGLE.has(key)) pending.push({ schema: value, path, reachable: false });
    if (Array.isArray(value) && LISTS.has(key)) {
      for (const schema of value as readonly Json[]) pending.push({ schema, path, reachable: false });
    } else if (isObject(value) && MAPS.has(key)) {
      for (const name of Object.keys(value)) pending.push({ schema: value[name], path, reachable: false });
    }
  }
}

const SINGLE: ReadonlySet<string> = new Set([
  "items",
  "contains",
  "additionalProperties",
  "unevaluatedProperties",
  "unevaluatedItems",
  "propertyNames",
  "not",
  "if",
  "then",
  "else",
]);
const LISTS: ReadonlySet<string> = new Set(["items", "prefixItems", "oneOf", "anyOf", "allOf"]);
const MAPS: ReadonlySet<string> = new Set(["patternProperties", "dependentSchemas", "$defs", "definitions"]);

function isHeaderName(name: Json | undefined): name is string {
  return typeof name === "string" && /^[\w!#$%&'*+.^`|~-]+$/.test(name);
}

function isScalarType(type: Json | undefined): boolean {
  return type === "string" || type === "integer" || type === "boolean";
}
