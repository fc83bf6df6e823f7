/**
 * Which arguments does the policy read? Found when it is compiled, kept at the end of its module as a custom section of
 * WebAssembly: engines step over it, and so does whoever holds an artifact and is older than this.
 */
import type { Inspection } from "./compiler.ts";
import { OWNER } from "./wrapper.ts";

/** Paths below `input.arguments`; an empty one is all of them. */
export type Reads = readonly (readonly string[])[];

const NAME = "portcullis.reads";
const HEADER_BYTES = 8;
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
  const name = Buffer.from(NAME);
  const payload = Buffer.concat([leb(name.length), name, Buffer.from(JSON.stringify(reads))]);
  return Buffer.concat([wasm, Uint8Array.of(0), leb(payload.length), payload]);
}

/** null where the module does not say: it was compiled before anybody asked. */
export function readsIn(wasm: Uint8Array): Reads | null {
  const bytes = Buffer.from(wasm.buffer, wasm.byteOffset, wasm.byteLength);
  for (let at = HEADER_BYTES; at < bytes.length;) {
    const id = bytes[at++];
    const size = unleb(bytes, at);
    const section = bytes.subarray(size.end, size.end + size.value);
    at = size.end + size.value;
    if (id !== 0) continue;
    const name = unleb(section, 0);
    if (section.toString("utf8", name.end, name.end + name.value) !== NAME) continue;
    return pathsIn(section.toString("utf8", name.end + name.value));
  }
  return null;
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

function leb(value: number): Uint8Array {
  const out: number[] = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) + 128);
  return Uint8Array.of(...out, rest);
}

function unleb(bytes: Uint8Array, from: number): { readonly value: number; readonly end: number } {
  let value = 0;
  for (let at = from, scale = 1; at < bytes.length && at < from + 5; at++, scale *= 128) {
    const next = bytes[at] ?? 0;
    value += (next % 128) * scale;
    if (next < 128) return { value, end: at + 1 };
  }
  return { value: bytes.length, end: bytes.length };
}
