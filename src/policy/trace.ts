/**
 * Which rules made this decision? Compiled Rego gives no trace, so OPA's own evaluator is asked the same question, in
 * the compiler's thread: as a test that fails, of which it tells every rule that was entered and every one that held.
 * What surprises: modules go by short names there, since OPA cuts long ones in a trace; and what OPA cannot read of a
 * caller's text into a line of its own, nobody can put there: values are quoted.
 */
import type { JsonObject } from "../model.ts";
import { Refusal } from "../refusal.ts";
import type { Compiler } from "./compiler.ts";
import { type Data, type Roles, textOf, withMembers, withRoles } from "./data.ts";
import type { Texts } from "./sources.ts";

export type TracedRule = {
  readonly path: string;
  readonly file: string;
  readonly row: number;
  /** Whether it held at least once; a rule that was not asked for is not in the list. */
  readonly held: boolean;
  /** The row of what last failed in one that did not. */
  readonly failedAt: number | null;
};
export type Trace = {
  /** In the order in which they were entered first. */
  readonly rules: readonly TracedRule[];
  /** False where the trace was too long to be told whole. */
  readonly complete: boolean;
};
export type Tracer = (bundle: Texts, roles: Roles, questions: readonly string[]) => Promise<readonly Trace[]>;

/** One evaluation, as OPA counts its events. */
const STEPS_MAX = 200_000;
/** As the compiler cuts it. */
const TRACE_BYTES_MAX = 65_536;
const WAITING_MAX = 8;
const RETRY_MS = 2_000;

export function createTracer(compiler: Pick<Compiler, "test">): Tracer {
  let waiting = 0;
  return async (bundle, roles, questions) => {
    if (waiting >= WAITING_MAX)
      throw new Refusal("overloaded", "Too many explanations are asked for.", { retryAfterMs: RETRY_MS });
    waiting++;
    try {
      return await traced(compiler, withRoles(bundle.data, roles), { bundle, questions });
    } finally {
      waiting--;
    }
  };
}

type Asked = { readonly bundle: Texts; readonly questions: readonly string[] };

async function traced(
  compiler: Pick<Compiler, "test">,
  data: Data,
  { bundle, questions }: Asked,
): Promise<readonly Trace[]> {
  const files = Object.keys(bundle.modules);
  const modules = Object.fromEntries(Object.values(bundle.modules).map((text, at) => [`m${at}.rego`, text]));
  const inputs = questions.map((text) => JSON.parse(text) as JsonObject);
  const report = await compiler.test(
    {
      modules: { ...modules, "q_test.rego": testsOf(questions.length) },
      data: textOf(withMembers(data, { [ASKED]: { inputs } })),
    },
    { filter: `${TESTS}.`, stepsMax: STEPS_MAX },
  );
  if (!report.ok) throw new Error(report.diagnostics[0]?.message ?? "the policy could not be traced");
  return report.value.tests.map(({ trace = "" }) => ({
    rules: rulesOf(trace, files),
    complete: trace !== "" && Buffer.byteLength(trace) < TRACE_BYTES_MAX,
  }));
}

const TESTS = "portcullis_questions";
const ASKED = "portcullis_asked";

/** Each fails whatever the answer: only of a test that fails does OPA tell how. */
function testsOf(count: number): string {
  const one = (at: number): string =>
    `test_${String(at).padStart(6, "0")} if {\n\tanswers := [answer | answer := data.portcullis.decision with input as data.${ASKED}.inputs[${at}]]\n\tcount(answers) > 1\n}\n`;
  return `package ${TESTS}\n\n${Array.from({ length: count }, (_, at) => one(at)).join("\n")}`;
}

const LINE = /^m(\d+)\.rego:(\d+)\s+\|([ |]*)(Enter|Exit|Fail) (.*)$/;
const RULE = /^(data\.[^\s=]+)(?: early)?$/;

type Found = { -readonly [field in keyof TracedRule]: TracedRule[field] };

function rulesOf(trace: string, files: readonly string[]): readonly TracedRule[] {
  const found = new Map<string, Found>();
  const open: { readonly depth: number; readonly rule: Found }[] = [];
  for (const line of trace.split("\n")) {
    const [, file, row, bars = "", event, rest = ""] = LINE.exec(line) ?? [];
    if (file === undefined) continue;
    const depth = bars.split("|").length;
    while ((open.at(-1)?.depth ?? 0) > depth) open.pop();
    if (event === "Fail") {
      const inner = open.at(-1);
      if (inner !== undefined) inner.rule.failedAt = Number(row);
      continue;
    }
    const [, path] = RULE.exec(rest) ?? [];
    if (path === undefined) continue;
    const id = `${file}:${row}`;
    const rule = found.get(id) ?? {
      path,
      file: files[Number(file)] ?? "",
      row: Number(row),
      held: false,
      failedAt: null,
    };
    found.set(id, rule);
    if (event === "Enter") open.push({ depth, rule });
    else rule.held = true;
  }
  return [...found.values()].map((one) => (one.held ? { ...one, failedAt: null } : one));
}
