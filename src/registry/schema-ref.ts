/**
 * What does a `$ref` stand for? Only pointers into the same schema are followed. What surprises: what stands beside a reference
 * holds too, and what people read there comes before what the target says.
 */
import { isObject } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";

const HOPS_MAX = 64;
const READ = new Set(["title", "description", "default", "examples", "deprecated", "$comment", "$defs", "definitions"]);

/** The schema itself where it refers to nothing that can be found. */
export function followed(root: Json, schema: Json): Json {
  let at = schema;
  for (let hops = 0; hops < HOPS_MAX && isObject(at); hops++) {
    const { $ref: ref, ...beside } = at;
    const found = typeof ref === "string" ? pointed(root, ref) : undefined;
    if (found === undefined) return at;
    const said = Object.keys(beside);
    if (!said.every((keyword) => READ.has(keyword))) return withTarget(beside, ref as string);
    at = isObject(found) && said.length > 0 ? { ...found, ...beside } : found;
  }
  return at;
}

/** Both hold. */
function withTarget(beside: JsonObject, ref: string): JsonObject {
  const { allOf } = beside;
  return { ...beside, allOf: [...(Array.isArray(allOf) ? (allOf as readonly Json[]) : []), { $ref: ref }] };
}

function pointed(root: Json, ref: string): Json | undefined {
  if (ref !== "#" && !ref.startsWith("#/")) return undefined;
  const steps = ref
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  return steps.reduce<Json | undefined>(
    (from, step) =>
      typeof from === "object" && from !== null && Object.hasOwn(from, step) ? (from as JsonObject)[step] : undefined,
    root,
  );
}

/** What references mostly point into. */
export function definitionsOf(schema: Json): Json {
  const { $defs = null, definitions = null } = isObject(schema) ? schema : {};
  return [$defs, definitions];
}

/** In its canonical text. */
export function refersIn(text: string): boolean {
  return /"\$(?:r|dynamicR|recursiveR)ef":/.test(text);
}
