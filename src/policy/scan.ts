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

const JSON_TOKEN = /"(?:[^"\\]|\\.)*"?|[-+.\w]+|\S/gu;

/** Offset of the token at which the text stops being JSON: V8 names one for some faults only. */
export function findJsonFault(text: string): number {
  const tokens = [...text.matchAll(JSON_TOKEN)];
  let [good, bad] = [0, tokens.length];
  while (good < bad) {
    const middle = (good + bad) >> 1;
    const token = tokens[middle];
    if (token !== undefined && isJsonSoFar(text.slice(0, token.index + token[0].length))) good = middle + 1;
    else bad = middle;
  }
  return tokens[good]?.index ?? text.length;
}

/** Whether it is JSON, or could become so. */
function isJsonSoFar(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch (error) {
    const message = String(error);
    const offset = /at position (\d+)/u.exec(message)?.[1];
    return message.includes("Unexpected end") || (offset !== undefined && Number(offset) >= text.length);
  }
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
