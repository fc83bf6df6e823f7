/**
 * What is wrong with the file, in words an operator can act on: zod's issues as sentences, with the key that was
 * probably meant. A sentence never quotes the value: after expansion it may be a secret.
 */
import { z } from "zod";
import { configSchema } from "./config.ts";
import type { Path, Problem } from "./config.ts";
import { nearest } from "./nearest.ts";

type Issue = z.core.$ZodIssue;
/** The part of JSON Schema in which known keys are looked up. */
type Shape = {
  readonly properties?: { readonly [key: string]: Shape };
  readonly additionalProperties?: Shape | boolean;
  readonly items?: Shape;
  readonly anyOf?: readonly Shape[];
};

/** One problem per issue, unions reduced to the branch that was meant. */
export function explain(issues: readonly Issue[], value: unknown): Problem[] {
  return issues.flatMap((issue) => explainIssue(issue, [], value));
}

function explainIssue(issue: Issue, above: Path, value: unknown): Problem[] {
  const path = [...above, ...(issue.path as Path)];
  if (issue.code === "unrecognized_keys") return issue.keys.map((key) => unknownKey(path, key));
  if (issue.code === "invalid_union") return explainUnion(issue, path, value);
  if (issue.code === "invalid_key") {
    return [{ path, message: `${written(path)}: expected ${issue.issues[0]?.message ?? "another key"}` }];
  }
  if (valueAt(value, path) === undefined) {
    return [
      { path, message: `${written(path)} is missing${issue.code === "invalid_type" ? `: ${issue.expected}` : ""}` },
    ];
  }
  return [{ path, message: `${written(path)}: ${plainly(issue.message)}` }];
}

/** The branch that fails deepest is the one that was being written. */
function explainUnion(issue: Issue & { code: "invalid_union" }, path: Path, value: unknown): Problem[] {
  const depth = (branch: readonly Issue[]): number =>
    branch.some(({ code, path: at }) => code === "unrecognized_keys" && at.length === 0)
      ? -1
      : Math.max(0, ...branch.map((one) => one.path.length));
  const deepest = Math.max(...issue.errors.map(depth));
  const meant = issue.errors.filter((branch) => depth(branch) === deepest);
  const [only] = meant;
  if (meant.length === 1 && only !== undefined) return only.flatMap((one) => explainIssue(one, path, value));
  const unknown = issue.errors.flat().find((one) => one.code === "unrecognized_keys");
  if (unknown?.code === "unrecognized_keys") return unknown.keys.map((key) => unknownKey(path, key));
  const ways = [...new Set(meant.flatMap((branch) => branch.map((one) => plainly(one.message))))];
  return [{ path, message: `${written(path)}: ${ways.join(", or ")}` }];
}

function unknownKey(path: Path, key: string): Problem {
  const known = knownKeys(path);
  // known in another branch of a union
  if (known.includes(key)) {
    return { path: [...path, key], message: `"${key}" does not go with what stands beside it in ${written(path)}` };
  }
  const guess = nearest(key, known);
  const hint = guess === undefined ? `known here: ${[...new Set(known)].join(", ")}` : `did you mean "${guess}"?`;
  const where = path.length === 0 ? "" : ` in ${written(path)}`;
  return { path: [...path, key], message: `unknown key "${key}"${where}; ${hint}` };
}

function knownKeys(path: Path): string[] {
  let shapes: Shape[] = [z.toJSONSchema(configSchema, { io: "input" }) as Shape];
  for (const step of path) shapes = shapes.flatMap(branches).flatMap((shape) => child(shape, step) ?? []);
  return shapes.flatMap(branches).flatMap((shape) => Object.keys(shape.properties ?? {}));
}

function branches(shape: Shape): readonly Shape[] {
  return shape.anyOf?.flatMap(branches) ?? [shape];
}

function child(shape: Shape, step: string | number): Shape | undefined {
  if (typeof step === "number") return shape.items;
  const rest = typeof shape.additionalProperties === "object" ? shape.additionalProperties : undefined;
  return shape.properties?.[step] ?? rest;
}

function valueAt(value: unknown, path: Path): unknown {
  let here = value;
  for (const step of path) here = (here as { readonly [key: string]: unknown } | null | undefined)?.[step];
  return here;
}

/** `servers[0].instances[1].http.url` */
function written(path: Path): string {
  if (path.length === 0) return "the file";
  return path.map((step, at) => (typeof step === "number" ? `[${step}]` : at === 0 ? step : `.${step}`)).join("");
}

/** Our own messages say what is expected ("a duration such as …"); zod's begin with what is invalid. */
function plainly(message: string): string {
  if (!/^(Invalid|Too|Unrecognized)/.test(message)) return `expected ${message}`;
  const text = message.replace(/^Invalid (input|option|string): /, "");
  return text.charAt(0).toLowerCase() + text.slice(1);
}
