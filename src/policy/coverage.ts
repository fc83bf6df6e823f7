/** Do the tests reach enough of the policy? What is enforced is counted, line by line; the tests themselves are not. */
import type { Compiler } from "./compiler.ts";
import { type Roles, textOf, withRoles } from "./data.ts";
import type { Diagnostic } from "./diagnostic.ts";
import type { Texts } from "./sources.ts";

const ROWS_TOLD_MAX = 20;

/** Empty where they do. One for each file with lines that no test reaches, where they do not. */
export async function thinCoverage(
  compiler: Pick<Compiler, "test">,
  bundle: Texts,
  { roles, coverage: wanted }: { readonly roles: Roles; readonly coverage: number },
): Promise<readonly Diagnostic[]> {
  const modules = { ...bundle.modules, ...bundle.tests };
  const report = await compiler.test({ modules, data: textOf(withRoles(bundle.data, roles)) }, { coverage: true });
  if (!report.ok) return report.diagnostics;
  const files = Object.entries(report.value.coverage ?? {}).filter(([file]) => Object.hasOwn(bundle.modules, file));
  const covered = files.reduce((sum, [, one]) => sum + one.covered.length, 0);
  const uncovered = files.reduce((sum, [, one]) => sum + one.uncovered.length, 0);
  const reached = covered + uncovered === 0 ? 100 : (100 * covered) / (covered + uncovered);
  if (reached >= wanted) return [];
  return files.flatMap(([file, { uncovered: rows }]) => {
    const [row] = rows;
    if (row === undefined) return [];
    const told = `${rows.slice(0, ROWS_TOLD_MAX).join(", ")}${rows.length > ROWS_TOLD_MAX ? ", …" : ""}`;
    const message = `the tests reach ${reached.toFixed(1)} % of the policy, less than ${wanted}: no test reaches ${told}`;
    return [{ code: "coverage", message, file, row, col: 1 }];
  });
}
