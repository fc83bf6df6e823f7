/**
 * What do `portcullis policy check`, `test`, `inspect` and `fmt` do? They work on files and answer with data; the CLI
 * prints it. What surprises: a test runs twice, in OPA's reference evaluator and compiled to wasm in the engine that
 * serves traffic; a test on whose verdict the two disagree is an error.
 */
import { join } from "node:path";
import type { Disk } from "../ports.ts";
import { compileBundle, sourcesOf } from "./bundle.ts";
import { TEST_BUILTINS } from "./capabilities.ts";
import type { Compiler, Coverage, Inspection, Sources, TestResult, WrittenObligation } from "./compiler.ts";
import { type Roles, textOf, withRoles } from "./data.ts";
import { type Diagnostic, type Outcome, PolicyRefused } from "./diagnostic.ts";
import { createEngine } from "./engine.ts";
import { lint } from "./lint.ts";
import { maskSources } from "./log-mask.ts";
import { SCHEMAS, UNTYPED } from "./schemas.ts";
import { type Bundle, readBundle, type Texts, textsOf } from "./sources.ts";
import { OWNER, PACKAGE, RESERVED_PATHS } from "./wrapper.ts";

export type PolicyTools = {
  readonly disk: Pick<Disk, "readdir" | "readFile" | "stat" | "writeFile">;
  readonly compiler: Compiler;
};
/** A folder, or what reads the bundle of a file or a server. @throws PolicyRefused */
export type From = string | (() => Promise<Bundle>);
export type TestSummary = { readonly tests: readonly TestResult[]; readonly coverage: Coverage | null };

const TEST_STEPS_MAX = 20_000_000;
/** What time.now_ns is in a test that does not say. */
const TEST_TIME = "1970-01-01T00:00:00Z";

/** No error among them if the bundle can be enforced, or run in shadow, and its tests compile. */
export async function checkPolicies(
  { disk, compiler }: PolicyTools,
  from: From,
  judged: { readonly shadow?: boolean } = {},
): Promise<readonly Diagnostic[]> {
  const checked = await reading(async () => {
    const bundle = textsOf(await bundleFrom(disk, from));
    const inspected = await compiler.inspect(sourcesOf(bundle));
    if (!inspected.ok) return inspected;
    const built = await compileBundle(compiler, bundle);
    if (!built.ok) return built;
    const found = lint(inspected.value, judged);
    return { ok: true, value: [...found, ...(await compiler.check(withTests(bundle), TEST_BUILTINS))] };
  });
  return checked.ok ? checked.value : checked.diagnostics;
}

export type Inspected = Omit<Inspection, "obligations"> & {
  /** Those that a decision gives, as far as they are written out; of a list each member by itself. */
  readonly obligations: readonly (Pick<WrittenObligation, "rule" | "value" | "file" | "row" | "col"> & {
    readonly name: string;
  })[];
};

/** What the bundle defines, reads and says about itself. */
export async function inspectPolicies({ disk, compiler }: PolicyTools, from: From): Promise<Outcome<Inspected>> {
  return reading(async () => {
    const inspected = await compiler.inspect(sourcesOf(textsOf(await bundleFrom(disk, from))));
    if (!inspected.ok) return inspected;
    const { rules, packages, obligations, ...rest } = inspected.value;
    const theirs = rules.filter(({ file }) => file !== OWNER);
    return {
      ok: true,
      value: {
        ...rest,
        packages: packages.filter((name) => name !== `data.${PACKAGE}`),
        rules: theirs,
        obligations: obligations.map(({ cause: name, rule, value, file, row, col }) => ({
          ...{ name, rule, file, row, col },
          ...(value === undefined ? {} : { value }),
        })),
        inputs: [...new Set(theirs.flatMap(({ inputs }) => inputs))].toSorted(),
        annotations: rest.annotations.filter(({ file }) => file !== OWNER),
      },
    };
  });
}

export async function testPolicies(
  { disk, compiler }: PolicyTools,
  from: From,
  options: { readonly filter?: string; readonly coverage?: boolean; readonly roles?: Roles } = {},
): Promise<Outcome<TestSummary>> {
  return reading(async () => {
    const bundle = textsOf(await bundleFrom(disk, from));
    const { roles = {}, ...wanted } = options;
    const sources = { ...withTests(bundle), data: textOf(withRoles(bundle.data, roles)) };
    const { modules, data, schemas = {} } = sources;
    const report = await compiler.test({ modules, data, schemas }, wanted);
    if (!report.ok) return report;
    const { tests, coverage = null } = report.value;
    const verdicts = await runCompiled(compiler, sources, tests);
    return { ok: true, value: { tests: tests.map((one) => compare(one, verdicts.get(idOf(one)))), coverage } };
  });
}

/** Those of the bundle's own tests that do not pass, as OPA's evaluator runs them, in its worker: no call waits for them. */
export async function failingTests(
  compiler: Pick<Compiler, "test">,
  bundle: Texts,
  roles: Roles,
): Promise<readonly Diagnostic[]> {
  if (Object.keys(bundle.tests).length === 0) return [];
  const { modules, schemas = {} } = withTests(bundle);
  const report = await compiler.test({ modules, data: textOf(withRoles(bundle.data, roles)), schemas });
  if (!report.ok) return report.diagnostics;
  const failed = report.value.tests.filter(({ status }) => status === "fail" || status === "error");
  return failed.map(({ name, file, row, at }) => {
    const why = at === undefined ? "" : `: ${at.message}`;
    return { code: "test_failed", message: `${name} fails${why}`, file, row, col: 1 };
  });
}

/** The files whose text changes, or, unless `write`, would change. */
export async function formatPolicies(
  { disk, compiler }: PolicyTools,
  dir: string,
  { write }: { readonly write: boolean },
): Promise<Outcome<readonly string[]>> {
  return reading(async () => {
    const { modules, tests } = await readBundle(disk, dir);
    const formatted = await compiler.format({ ...modules, ...tests });
    if (!formatted.ok) return formatted;
    const changed = Object.entries(formatted.value);
    if (write) await Promise.all(changed.map(async ([path, text]) => disk.writeFile(join(dir, path), text)));
    return { ok: true, value: changed.map(([path]) => path) };
  });
}

/** @throws PolicyRefused */
export async function bundleFrom(disk: PolicyTools["disk"], from: From): Promise<Bundle> {
  return typeof from === "string" ? await readBundle(disk, from) : await from();
}

async function reading<T>(work: () => Promise<Outcome<T>>): Promise<Outcome<T>> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof PolicyRefused) return { ok: false, diagnostics: error.diagnostics };
    throw error;
  }
}

type TestSources = Pick<Sources, "modules" | "data" | "schemas">;

/** Without the wrapper, which tests do not see; its paths stay reserved. */
function withTests(bundle: Texts): Sources {
  return {
    modules: { ...bundle.modules, ...bundle.tests },
    data: textOf(bundle.data),
    // a mask has another input than the policy, whose types are checked without it
    schemas: maskSources(bundle) === null ? SCHEMAS : UNTYPED,
    reserved: { owner: "", paths: RESERVED_PATHS },
  };
}

/** Verdicts of the engine; of none where the tests do not compile to wasm (they print, say). */
async function runCompiled(
  compiler: Compiler,
  sources: TestSources,
  tests: readonly TestResult[],
): Promise<ReadonlyMap<string, boolean>> {
  const ids = tests.filter(({ status }) => status === "pass" || status === "fail").map(idOf);
  if (ids.length === 0) return new Map();
  const compiled = await compiler.compile({ modules: sources.modules, data: {}, schemas: sources.schemas ?? {} }, ids);
  if (!compiled.ok) return new Map();
  const engine = await createEngine(compiled.value, sources.data, { stepsMax: TEST_STEPS_MAX, now: TEST_TIME });
  return new Map(
    ids.map((id) => {
      const evaluation = engine.evaluate(id, {});
      return [id, evaluation.ok && evaluation.value === true];
    }),
  );
}

/** `data.a.b` and `test_c` as the entrypoint `a/b/test_c`; a package name that needs quotes is not run compiled. */
function idOf({ package: name, name: test }: TestResult): string {
  return [...name.split(".").slice(1), test].join("/");
}

function compare(test: TestResult, verdict: boolean | undefined): TestResult {
  if (verdict === undefined || verdict === (test.status === "pass")) return test;
  const message = `OPA's evaluator says ${test.status}, the compiled policy says ${verdict ? "pass" : "fail"}`;
  return { ...test, status: "error", at: { code: "engine_mismatch", message, file: test.file, row: test.row, col: 1 } };
}
