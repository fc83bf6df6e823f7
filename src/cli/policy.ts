/** `policy check · test · fmt`: on files, without a gateway or any other binary. */
import { join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { checkPolicies, formatPolicies, testPolicies } from "../policy/commands.ts";
import type { PolicyTools, TestSummary } from "../policy/commands.ts";
import { createCompiler } from "../policy/compiler.ts";
import { formatDiagnostic } from "../policy/diagnostic.ts";
import type { Diagnostic } from "../policy/diagnostic.ts";
import { folderOf, sectionOf } from "./folder.ts";
import { flag, printable, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";

export async function checkPolicy(invocation: Invocation): Promise<number> {
  return withCompiler(invocation, async (tools, folder) => {
    const diagnostics = await checkPolicies(tools, folder);
    if (diagnostics.length > 0) return tellFaults(invocation, folder, diagnostics);
    if (invocation.json) printJson(invocation, { ok: true, diagnostics: [] });
    else invocation.io.stderr(`The policies in ${shown(invocation, folder)} compile.\n`);
    return 0;
  });
}

export async function testPolicy(invocation: Invocation): Promise<number> {
  const filter = flag(invocation, "filter");
  const coverage = invocation.flags["coverage"] === true;
  // the tests see the same data.portcullis.roles as the gateway that runs with this file
  const roles = (await sectionOf(invocation, "roles")) ?? {};
  return withCompiler(invocation, async (tools, folder) => {
    const outcome = await testPolicies(tools, folder, { roles, coverage, ...(filter === null ? {} : { filter }) });
    if (!outcome.ok) return tellFaults(invocation, folder, outcome.diagnostics);
    const failed = outcome.value.tests.filter(({ status }) => status === "fail" || status === "error").length;
    if (invocation.json) printJson(invocation, { ok: failed === 0, ...outcome.value });
    else tellTests(invocation, folder, outcome.value);
    return failed === 0 ? 0 : 1;
  });
}

export async function formatPolicy(invocation: Invocation): Promise<number> {
  const check = invocation.flags["check"] === true;
  return withCompiler(invocation, async (tools, folder) => {
    const outcome = await formatPolicies(tools, folder, { write: !check });
    if (!outcome.ok) return tellFaults(invocation, folder, outcome.diagnostics);
    const files = outcome.value.map((file) => join(shown(invocation, folder), file));
    if (invocation.json) printJson(invocation, { files });
    else for (const file of files) invocation.io.stdout(`${file}\n`);
    return check && files.length > 0 ? 1 : 0;
  });
}

type Work = (tools: PolicyTools, folder: string) => Promise<number>;

async function withCompiler(invocation: Invocation, work: Work): Promise<number> {
  const [path] = invocation.operands;
  const folder = path ?? (await folderOf(invocation, "policies"));
  const wasmPath = fileURLToPath(new URL("../../policies/compiler/opa.wasm.br", import.meta.url));
  const compiler = createCompiler({ wasmPath });
  try {
    return await work({ disk: invocation.io.ports.disk, compiler }, folder);
  } finally {
    await compiler.close();
  }
}

/** `file:row:col: code: message`, which editors jump to. */
function tellFaults(invocation: Invocation, folder: string, found: readonly Diagnostic[]): number {
  const diagnostics = found.map((one) =>
    one.file === "" ? one : { ...one, file: join(shown(invocation, folder), one.file) },
  );
  if (invocation.json) printJson(invocation, { ok: false, diagnostics });
  else for (const diagnostic of diagnostics) invocation.io.stderr(`${formatDiagnostic(diagnostic)}\n`);
  return found.some(({ code }) => code === "bundle_unreadable") ? 2 : 1;
}

function tellTests(invocation: Invocation, folder: string, { tests, coverage }: TestSummary): void {
  const { io } = invocation;
  for (const { status, file, row, name, at, output } of tests) {
    if (status === "pass") continue;
    io.stdout(`${status.toUpperCase()} ${join(shown(invocation, folder), file)}:${row}: ${name}\n`);
    if (at !== undefined) io.stdout(`    ${printable(at.message)}\n`);
    if (output !== undefined && output !== "") io.stdout(`    ${printable(output)}\n`);
  }
  for (const [file, { uncovered }] of Object.entries(coverage ?? {})) {
    if (uncovered.length > 0)
      io.stdout(`not reached ${join(shown(invocation, folder), file)}: ${uncovered.join(", ")}\n`);
  }
  const passed = tests.filter(({ status }) => status === "pass").length;
  io.stderr(`${passed} of ${tests.length} tests pass.\n`);
}

function shown({ io }: Invocation, folder: string): string {
  const short = relative(io.cwd, folder);
  return short.startsWith("..") ? folder : short === "" ? "." : short;
}
