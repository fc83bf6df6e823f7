/** `policy test`: which tests of the bundle fail and how, and which rows of its rules no test reaches. */
import { testPolicies } from "../policy/commands.ts";
import type { TestSummary } from "../policy/commands.ts";
import type { Coverage, TestResult } from "../policy/compiler.ts";
import { sectionOf } from "./folder.ts";
import { CommandFault, flag, printable, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";
import { tellFaults, withCompiler } from "./policy-files.ts";
import { placeOf, within } from "./policy-place.ts";
import type { Place } from "./policy-place.ts";

const TRACE_LINES = 8;
const TRACE_LINES_MAX = 500;
const FAILURES_TRACED_MAX = 20;

export async function testPolicy(invocation: Invocation): Promise<number> {
  const filter = flag(invocation, "filter");
  const threshold = thresholdOf(invocation);
  const coverage = invocation.flags["coverage"] === true || threshold !== null;
  // the tests see the same data.portcullis.roles as the gateway that runs with this file
  const roles = (await sectionOf(invocation, "roles")) ?? {};
  const place = await placeOf(invocation);
  return withCompiler(invocation, async (tools) => {
    const outcome = await testPolicies(tools, place.from, { roles, coverage, ...(filter === null ? {} : { filter }) });
    if (!outcome.ok) return tellFaults(invocation, place, outcome.diagnostics);
    const { tests } = outcome.value;
    const covered = coveredOf(outcome.value.coverage ?? {});
    const below = covered.filter(({ percent }) => threshold !== null && percent < threshold);
    const ok = !tests.some(isFailure) && below.length === 0;
    if (invocation.json)
      printJson(invocation, { ok, tests, coverage: coverage ? Object.fromEntries(covered.map(entry)) : null });
    else tellTests(invocation, place, { ...outcome.value, covered, threshold });
    return ok ? 0 : 1;
  });
}

type Covered = {
  readonly file: string;
  readonly percent: number;
  readonly covered: readonly number[];
  readonly uncovered: readonly number[];
};

/** Of what is enforced; that the tests reach themselves says nothing. */
function coveredOf(coverage: Coverage): readonly Covered[] {
  return Object.entries(coverage)
    .filter(([file]) => !file.endsWith("_test.rego"))
    .map(([file, { covered, uncovered }]) => {
      const rows = covered.length + uncovered.length;
      return { file, percent: rows === 0 ? 100 : Math.floor((1000 * covered.length) / rows) / 10, covered, uncovered };
    })
    .toSorted((one, other) => (one.file < other.file ? -1 : 1));
}

function entry({ file, ...rest }: Covered): readonly [string, Omit<Covered, "file">] {
  return [file, rest];
}

function thresholdOf(invocation: Invocation): number | null {
  const text = flag(invocation, "threshold");
  if (text === null) return null;
  const percent = Number(text);
  if (text.trim() !== "" && percent >= 0 && percent <= 100) return percent;
  throw new CommandFault(`--threshold takes a percentage from 0 to 100, not ${text}.`, 2);
}

type Told = TestSummary & { readonly covered: readonly Covered[]; readonly threshold: number | null };

function tellTests(invocation: Invocation, place: Place, { tests, covered, threshold }: Told): void {
  const { io } = invocation;
  const lines = invocation.flags["trace"] === true ? TRACE_LINES_MAX : TRACE_LINES;
  let traced = 0;
  for (const one of tests) {
    if (one.status === "pass") continue;
    tellTest(invocation, place, one);
    if (one.trace !== undefined && traced++ < FAILURES_TRACED_MAX)
      for (const line of readable(one.trace, lines)) io.stdout(`    ${printable(line)}\n`);
  }
  for (const { file, percent, uncovered } of covered) {
    const low = threshold !== null && percent < threshold ? `, less than ${threshold}` : "";
    const rows = uncovered.length === 0 ? "" : `, not reached: ${ranges(uncovered)}`;
    io.stdout(`${percent.toFixed(1).padStart(5)} % ${within(place, file)}${low}${rows}\n`);
  }
  const passed = tests.filter(({ status }) => status === "pass").length;
  const filter = flag(invocation, "filter");
  const wanted = filter === null ? "" : printable(` in whose name ${JSON.stringify(filter)} stands`);
  if (tests.length === 0) io.stderr(`There are no tests in ${place.shown}${wanted}.\n`);
  else io.stderr(`${passed} of ${tests.length} tests pass.\n`);
}

function tellTest(invocation: Invocation, place: Place, { status, file, row, name, at, output }: TestResult): void {
  const { io } = invocation;
  io.stdout(`${status.toUpperCase()} ${within(place, file)}:${row}: ${name}\n`);
  if (at !== undefined) {
    const where = at.file === "" ? "" : `${within(place, at.file)}:${at.row}:${at.col}: `;
    io.stdout(`    ${where}${at.code}: ${printable(at.message)}\n`);
  }
  if (output !== undefined && output !== "") io.stdout(`    ${printable(output.trimEnd())}\n`);
}

/** Of a long one the end: that is where it failed. */
function readable(trace: string, lines: number): readonly string[] {
  const all = trace.split("\n").filter((line) => line.trim() !== "");
  const left = all.length - lines;
  return left <= 0 ? all : [`(${left} lines before; --trace shows more)`, ...all.slice(left)];
}

/** 3, 5-7 */
function ranges(rows: readonly number[]): string {
  const found: [number, number][] = [];
  for (const row of rows) {
    const last = found.at(-1);
    if (last !== undefined && last[1] === row - 1) last[1] = row;
    else found.push([row, row]);
  }
  return found.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`)).join(", ");
}

function isFailure({ status }: TestResult): boolean {
  return status === "fail" || status === "error";
}
