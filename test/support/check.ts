/**
 * `npm run check`: types, lint, format, dead code, in that order and all of them, one line each with what was found
 * above it. `-- --json` prints one line of JSON last.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { performance } from "node:perf_hooks";

const CHECKS = [
  { name: "types", command: "tsc", args: ["--noEmit"] },
  { name: "lint", command: "oxlint", args: ["--type-aware"] },
  { name: "format", command: "oxfmt", args: ["--check"] },
  { name: "dead code", command: "knip", args: ["--no-config-hints"] },
] as const;
const root = join(import.meta.dirname, "..", "..");

const results = CHECKS.map((check) => {
  const startedMs = performance.now();
  const { status, stdout, stderr, error } = spawnSync(join(root, "node_modules/.bin", check.command), check.args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  const ok = status === 0;
  const seconds = Math.round((performance.now() - startedMs) / 10) / 100;
  if (!ok) process.stderr.write(`${stdout}${stderr}${error === undefined ? "" : String(error)}\n`);
  process.stderr.write(
    `${ok ? "ok    " : "FAILED"} ${check.name} (${check.command} ${check.args.join(" ")}, ${seconds} s)\n`,
  );
  return { name: check.name, ok, seconds };
});
const ok = results.every((result) => result.ok);
if (process.argv.includes("--json")) process.stdout.write(`${JSON.stringify({ ok, checks: results })}\n`);
process.exitCode = ok ? 0 : 1;
