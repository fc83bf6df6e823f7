/**
 * Places in a JSON value, as a tree: those to hide, or those to keep. From JSON pointers of a policy, from what a schema
 * marks, from what policy reads. What surprises: one step may mean every member, since a schema speaks of all items of a
 * list at once.
 */
import type { Json, JsonObject } from "../model.ts";

/** `true`: everything below. */
export type Paths = ReadonlyMap<string | typeof EACH, Paths> | true;
export const EACH = Symbol("each member");
type Step = string | typeof EACH;

/** What is said of a member; undefined where nothing is. */
export function below(paths: Paths | undefined, name: string): Paths | undefined {
  if (paths === undefined || paths === true) return paths;
  const [own, each] = [paths.get(name), paths.get(EACH)];
  return own === undefined || each === undefined ? (own ?? each) : either(own, each);
}

export function pathsOf(list: readonly (readonly Step[])[]): Paths | undefined {
  return list.length === 0 ? undefined : all(list.map((path) => path.reduceRight<Paths>(inside, true)));
}

function inside(inner: Paths, step: Step): Paths {
  return new Map([[step, inner]]);
}

/** All that either says. */
export function either(one: Paths, other: Paths): Paths {
  return all([one, other]);
}

/** All that any of them says; in one pass, for there may be thousands. */
function all(parts: readonly Paths[]): Paths {
  const bySteps = new Map<Step, Paths[]>();
  for (const part of parts) {
    if (part === true) return true;
    for (const [step, paths] of part) {
      const known = bySteps.get(step);
      if (known === undefined) bySteps.set(step, [paths]);
      else known.push(paths);
    }
  }
  return new Map(
    [...bySteps].map(([step, [first = true, ...more]]) => [step, more.length === 0 ? first : all([first, ...more])]),
  );
}

/** Of the policy document, where `*` is every member, also one of that name; a pointer that is none hides everything. */
export function pointerPaths(pointers: readonly string[]): Paths | undefined {
  const known = read.get(pointers);
  if (known !== undefined) return known.paths;
  const isRight = pointers.every((pointer) => pointer.startsWith("/"));
  const paths = isRight ? pathsOf(pointers.map((pointer) => pointer.slice(1).split("/").map(stepOf))) : true;
  read.set(pointers, { paths });
  return paths;
}

/** A decision's are asked for at each of its records, part by part. */
const read = new WeakMap<readonly string[], { readonly paths: Paths | undefined }>();

function stepOf(token: string): Step {
  return token === "*" ? EACH : unescaped(token);
}

function unescaped(token: string): string {
  return token.includes("~") ? token.replaceAll("~1", "/").replaceAll("~0", "~") : token;
}

const MARKS = ["x-secret", "x-sensitive", "x-confidential", "x-pii", "x-redact", "x-mask", "x-portcullis-mask"];
const DEPTH_MAX = 16;
const NODES_MAX = 5_000;

/** What a JSON Schema says is not to be shown: passwords, what is only written, and the marks that are in use. */
export function markedPaths(schema: Json | undefined): Paths | undefined {
  const walk: Walk = { root: schema, left: NODES_MAX };
  return marked(walk, schema, 0);
}

type Walk = { readonly root: Json | undefined; left: number };

function marked(walk: Walk, schema: Json | undefined, depth: number): Paths | undefined {
  if (!isObject(schema) || depth > DEPTH_MAX || walk.left-- <= 0) return undefined;
  if (schema["format"] === "password" || schema["writeOnly"] === true || MARKS.some((mark) => schema[mark] === true))
    return true;
  const found: Paths[] = [];
  const look = (part: Json | undefined, step: Step | null): void => {
    const paths = marked(walk, part, depth + 1);
    if (paths !== undefined) found.push(step === null ? paths : new Map([[step, paths]]));
  };
  for (const [name, part] of entriesOf(schema["properties"])) look(part, name);
  // whichever names they are for: rather hide a member too many
  for (const [, part] of entriesOf(schema["patternProperties"])) look(part, EACH);
  for (const key of ["additionalProperties", "items", "contains", "unevaluatedProperties"]) look(schema[key], EACH);
  for (const part of listOf(schema["prefixItems"])) look(part, EACH);
  for (const key of ["allOf", "anyOf", "oneOf"]) for (const part of listOf(schema[key])) look(part, null);
  for (const key of ["then", "else", "if"]) look(schema[key], null);
  look(referred(walk.root, schema["$ref"]), null);
  return found.length === 0 ? undefined : all(found);
}

/** Within the same document alone; that it may come round again, the depth bounds. */
function referred(root: Json | undefined, ref: Json | undefined): Json | undefined {
  if (typeof ref !== "string" || !ref.startsWith("#/")) return undefined;
  let at: Json | undefined = root;
  for (const step of ref.slice(2).split("/").map(unescaped))
    at = isObject(at) && Object.hasOwn(at, step) ? at[step] : undefined;
  return at;
}

function entriesOf(value: Json | undefined): readonly (readonly [string, Json])[] {
  return isObject(value) ? Object.entries(value) : [];
}

function listOf(value: Json | undefined): readonly Json[] {
  return Array.isArray(value) ? (value as readonly Json[]) : [];
}

function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
