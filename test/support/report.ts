/**
 * The last words of a test run: one line for each real part that the machine lacks, and the line that CI reads,
 * `N passed, N failed`. What surprises: it is written at exit, straight to the descriptor, so that nothing of
 * vitest's own summary can come after it; and a file that does not even load counts as one failure.
 */
import { writeSync } from "node:fs";
import type { Reporter, TestModule } from "vitest/node";
import { missingParts } from "./parts.ts";

const STDOUT = 1;

export const closingLine: Reporter = {
  onTestRunEnd(modules, unhandled) {
    const count = { passed: 0, failed: unhandled.length, skipped: 0, pending: 0 };
    for (const module of modules) {
      if (brokenOutsideTests(module)) count.failed++;
      for (const test of module.children.allTests()) count[test.result().state]++;
    }
    const skipped = count.skipped + count.pending;
    const line = `${count.passed} passed, ${count.failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
    process.once("exit", () => writeSync(STDOUT, `${[...missingParts(), line].join("\n")}\n`));
  },
};

function brokenOutsideTests(module: TestModule): boolean {
  const suites = [...module.children.allSuites()];
  return module.errors().length > 0 || suites.some((suite) => suite.errors().length > 0);
}
