/** Does a decision hang on the arguments? Whether any rule of the author's names them, or the input as a whole. */
import { sourcesOf } from "./bundle.ts";
import type { Compiler } from "./compiler.ts";
import type { Bundle } from "./sources.ts";
import { OWNER } from "./wrapper.ts";

const ARGUMENTS = /^input(?:$|\[|\.arguments(?:$|[.[]))/;

/** True also where nobody can tell. */
export async function readsArguments(compiler: Pick<Compiler, "inspect">, bundle: Bundle): Promise<boolean> {
  const inspected = await compiler.inspect(sourcesOf(bundle));
  if (!inspected.ok) return true;
  const own = inspected.value.rules.filter(({ file }) => file !== OWNER);
  return own.some(({ inputs }) => inputs.some((path) => ARGUMENTS.test(path)));
}
