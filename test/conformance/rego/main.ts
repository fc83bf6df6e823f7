/**
 * `npm run conformance:rego`: all of OPA's own cases. Prints what is wrong, group by group; `-- --json` prints one line
 * of JSON: total, admitted (compiled under our capabilities, less OPA's own exceptions), right. Exit 1 unless all are.
 */
import { availableParallelism } from "node:os";
import { readCases, runCases, type Verdict } from "./run.ts";

type Count = { total: number; admitted: number; right: number };

const groups: { [group: string]: Count } = {};
const sum: Count = { total: 0, admitted: 0, right: 0 };
const wrong: Verdict[] = [];
for await (const verdict of runCases(readCases(), Math.max(1, availableParallelism()))) {
  const group = (groups[verdict.case.group] ??= { total: 0, admitted: 0, right: 0 });
  for (const count of [group, sum]) {
    count.total++;
    if (verdict.outcome === "right" || verdict.outcome === "wrong") count.admitted++;
    if (verdict.outcome === "right") count.right++;
  }
  if (verdict.outcome === "wrong") wrong.push(verdict);
}
for (const { case: one, why } of wrong) process.stderr.write(`${one.version} ${one.note}: ${why.slice(0, 300)}\n`);
const rows = Object.entries(groups).map(
  ([name, { total, admitted, right }]) => `${name}: ${right}/${admitted} of ${total}`,
);
process.stderr.write(`${rows.join("\n")}\n${sum.right} right of ${sum.admitted} admitted, of ${sum.total}\n`);
if (process.argv.includes("--json")) process.stdout.write(`${JSON.stringify({ ...sum, groups })}\n`);
process.exitCode = sum.right === sum.admitted ? 0 : 1;
