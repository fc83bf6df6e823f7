/** Which arguments does the policy read? Found when it is compiled, and kept at the end of its module. */
import type { Inspection } from "./compiler.ts";
import { sectionIn, withSection } from "./section.ts";
import { OWNER } from "./wrapper.ts";

/** Paths below `input.arguments`; an empty one is all of them. */
export type Reads = readonly (readonly string[])[];

const NAME = "portcullis.reads";
/** A policy that reads more is taken to read all. */
const PATHS_MAX = 256;

/** Of the author's rules. Whatever may reach further than its text says, an index, the input as a whole, is all. */
export function readsOf({ rules }: Inspection): Reads {
  const paths = new Map<string, readonly string[]>();
  for (const { file, inputs } of rules) {
    if (file === OWNER) continue;
    for (const ref of inputs) {
      const path = below(ref);
      if (path !== null) paths.set(JSON.stringify(path), path);
    }
  }
  const found = [...paths.values()];
  return found.length > PATHS_MAX || found.some(({ length }) => length === 0) ? [[]] : found;
}

/** null where the reference has nothing to do with arguments. */
function below(ref: string): readonly string[] | null {
  const steps: string[] = [];
  let at = "input".length;
  for (const [step, name, quoted, index] of ref.matchAll(/\.([A-Za-z_]\w*)|\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]/g)) {
    steps.push(name ?? index ?? unquoted(quoted ?? ""));
    at += step.length;
  }
  if (at !== ref.length || steps.length === 0) return [];
  return steps[0] === "arguments" ? steps.slice(1) : null;
}

function unquoted(text: string): string {
  try {
    return String(JSON.parse(`"${text}"`));
  } catch {
    return text;
  }
}

/** The module with what it reads at its end. */
export function withReads(wasm: Uint8Array, reads: Reads): Uint8Array {
  return withSection(wasm, NAME, Buffer.from(JSON.stringify(reads)));
}

/** null where the module does not say: it was compiled before anybody asked. */
export function readsIn(wasm: Uint8Array): Reads | null {
  const section = sectionIn(wasm, NAME);
  return section === null ? null : pathsIn(section.toString("utf8"));
}

function pathsIn(text: string): Reads | null {
  try {
    const value: unknown = JSON.parse(text);
    const isPath = (path: unknown): path is string[] =>
      Array.isArray(path) && path.every((step) => typeof step === "string");
    return Array.isArray(value) && value.every(isPath) ? value : null;
  } catch {
    return null;
  }
}
