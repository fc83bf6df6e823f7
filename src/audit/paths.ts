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
  let all: Paths | undefined;
  for (const path of list) {
    const one = path.reduceRight<Paths>((inner, step) => new Map([[step, inner]]), true);
    all = all === undefined ? one : either(all, one);
  }
  return all;
}

/** All that either says. */
export function either(one: Paths, other: Paths): Paths {
  if (one === true || other === true) return true;
  const both = new Map(one);
  for (const [step, paths] of other) {
    const known = both.get(step);
    both.set(step, known === undefined ? paths : either(known, paths));
  }
  return both;
}

/** Of the policy document: a pointer that is none hides everything. */
export function pointerPaths(pointers: readonly string[]): Paths | undefined {
  if (pointers.some((pointer) => !pointer.startsWith("/"))) return true;
  return pathsOf(pointers.map((pointer) => pointer.slice(1).split("/").map(unescaped)));
}

function unescaped(token: string): string {
  return token.replaceAll("~1", "/").replaceAll("~0", "~");
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
  return found.length === 0 ? undefined : found.reduce(either);
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
