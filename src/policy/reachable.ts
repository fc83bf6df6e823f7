/** Which rules can an answer depend on? Those of a bundle that the named ones lead to, however far. */
import type { RuleInfo } from "./compiler.ts";

/** `from` without `data.`, as in `portcullis.decision`. */
export function reachable(rules: readonly RuleInfo[], from: readonly string[]): readonly RuleInfo[] {
  const byPath = Map.groupBy(rules, ({ path }) => path);
  const found = new Set<string>();
  const open = from.map((path) => `data.${path}`);
  const asked = new Set<string>();
  for (let ref = open.pop(); ref !== undefined; ref = open.pop()) {
    if (asked.has(ref)) continue;
    asked.add(ref);
    for (const [path, defined] of byPath) {
      if (found.has(path) || !(isWithin(path, ref) || isWithin(ref, path))) continue;
      found.add(path);
      for (const { data } of defined) open.push(...data);
    }
  }
  return rules.filter(({ path }) => found.has(path));
}

/** A reference may name a whole package, or look into what a rule gives. */
function isWithin(path: string, whole: string): boolean {
  return path === whole || (path.startsWith(whole) && (path[whole.length] === "." || path[whole.length] === "["));
}
