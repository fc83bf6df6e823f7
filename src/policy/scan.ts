/**
 * May the compiler see this text at all? It recurses as deep as the source nests, and a few hundred thousand
 * brackets would overflow its stack, so size and nesting are bounded first. Strings and comments do not count.
 */
import type { Diagnostic } from "./diagnostic.ts";

export const BUNDLE_BYTES_MAX = 4 * 2 ** 20;
export const NESTING_MAX = 200;

export function scanSources(modules: { readonly [path: string]: string }): readonly Diagnostic[] {
  let bytes = 0;
  const found: Diagnostic[] = [];
  for (const [file, text] of Object.entries(modules)) {
    bytes += Buffer.byteLength(text);
    if (bytes > BUNDLE_BYTES_MAX) {
      const message = `the bundle is larger than ${BUNDLE_BYTES_MAX} bytes`;
      return [...found, { code: "bundle_too_large", message, file, row: 1, col: 1 }];
    }
    const at = findTooDeep(text);
    if (at !== -1)
      found.push({
        code: "nested_too_deep",
        message: `nested more than ${NESTING_MAX} deep`,
        file,
        ...place(text, at),
      });
  }
  return found;
}

/** Row and column, from 1, of an offset. */
export function place(text: string, offset: number): { readonly row: number; readonly col: number } {
  const before = text.slice(0, offset).split("\n");
  return { row: before.length, col: (before.at(-1)?.length ?? 0) + 1 };
}

/** A string, a raw string, a comment, or one bracket. An unclosed string is one character: its rest counts. */
const TOKEN = /"(?:[^"\\\n]|\\.)*"|`[^`]*`|#.*|[([{)\]}]/gu;

function findTooDeep(text: string): number {
  let depth = 0;
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    if (token === "(" || token === "[" || token === "{") depth++;
    else if (token === ")" || token === "]" || token === "}") depth--;
    if (depth > NESTING_MAX) return index;
  }
  return -1;
}
