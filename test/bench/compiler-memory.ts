/** What does the compiler's worker take? A process of its own prints the most that it ever had more than before, in MB. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { compileBundle } from "../../src/policy/bundle.ts";
import { failingTests } from "../../src/policy/commands.ts";
import { createCompiler } from "../../src/policy/compiler.ts";
import { textsOf } from "../../src/policy/sources.ts";

const root = join(import.meta.dirname, "../..");
const rego = readFileSync(join(import.meta.dirname, "policies/authz/portcullis.rego"), "utf8");
const tests = { "p_test.rego": "package p_test\n\ntest_a if not data.portcullis.denied with input as {}\n" };
const bundle = textsOf({ modules: { "portcullis.rego": rego }, tests, data: {} });

const compiler = createCompiler({ wasmPath: join(root, "policies/compiler/opa.wasm.br") });
const before = megabytes("VmRSS");
for (let round = 0; round < 5; round++) {
  const compiled = await compileBundle(compiler, bundle);
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.diagnostics));
  await failingTests(compiler, bundle, {});
}
console.log(JSON.stringify({ most: megabytes("VmHWM") - before }));
await compiler.close();

function megabytes(line: "VmRSS" | "VmHWM"): number {
  const found = new RegExp(`${line}:\\s+(\\d+)`).exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return Math.round(Number(found) / 102.4) / 10;
}
