/** Which rules did the author write, and which paths of the input does each of them name? */
import { isObject } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";
import { sourcesOf } from "./bundle.ts";
import type { Compiler, RuleInfo } from "./compiler.ts";
import type { Texts } from "./sources.ts";
import { OWNER } from "./wrapper.ts";

/** The author's; null where the bundle does not compile. */
export async function rulesIn(compiler: Pick<Compiler, "inspect">, bundle: Texts): Promise<readonly RuleInfo[] | null> {
  const inspected = await compiler.inspect(sourcesOf(bundle));
  return inspected.ok ? inspected.value.rules.filter(({ file }) => file !== OWNER) : null;
}

/** A path as `inspect` writes it, such as `input.tool.tags` or `input.arguments["a-b"]`, from `input` on. */
export function stepsOf(path: string): readonly string[] {
  return [...path.matchAll(/\.([A-Za-z_]\w*)|\["((?:[^"\\]|\\.)*)"\]|\[(\d+)\]/g)].map(
    ([, word, quoted, index]) => word ?? (quoted === undefined ? (index ?? "") : String(JSON.parse(`"${quoted}"`))),
  );
}

/** Undefined where there is nothing. */
export function valueAt(document: JsonObject, steps: readonly string[]): Json | undefined {
  return steps.reduce<Json | undefined>((at, step) => {
    if (Array.isArray(at)) return (at as readonly Json[])[Number(step)];
    return isObject(at) && Object.hasOwn(at, step) ? at[step] : undefined;
  }, document);
}
