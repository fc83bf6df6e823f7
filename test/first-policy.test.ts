/** docs/first-policy.md is true: its commands run here in order, in one shell, and print what the page says. */
import { execFile } from "node:child_process";
import { createServer } from "node:net";
import { cp, mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LINTS } from "../src/policy/lint.ts";

const ROOT = resolve(import.meta.dirname, "..");
const run = promisify(execFile);
const page = await readFile(join(ROOT, "docs/first-policy.md"), "utf8");
const steps = [...page.matchAll(/^```sh\n(.*?)^```$(?:\s+^```text\n(.*?)^```$)?/gms)].map(
  ([, script = "", shown = ""]) => ({ script, shown }),
);
const MARK = "=== step ===";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "portcullis-first-"));
  await symlink(join(ROOT, "node_modules"), join(folder, "node_modules"));
  for (const name of ["policies/lib", "demo"]) await cp(join(ROOT, name), join(folder, name), { recursive: true });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as { port: number };
  await new Promise((closed) => server.close(closed));
  return port;
}

/** `…` is anything, on one line or, alone on a line, on any number of them. */
function pattern(shown: string): RegExp {
  const lines = shown.trimEnd().split("\n");
  const parts = lines.map((line) =>
    line === "…"
      ? "(?:.*\n)*?"
      : `${line
          .split("…")
          .map((text) => RegExp.escape(text))
          .join(".*")}[ ]*\n`,
  );
  return new RegExp(`^${parts.join("")}$`);
}

test(
  "every command of the page prints what it says, in a gateway that enforces the policy in the end",
  { timeout: 300_000 },
  async () => {
    const [traffic, admin] = [await freePort(), await freePort()];
    const script = steps
      .map((step) => step.script)
      .join(`echo "${MARK}"\n`)
      .replaceAll("8494", String(traffic))
      .replaceAll("8495", String(admin))
      .replaceAll("npx portcullis", `"${process.execPath}" "${join(ROOT, "bin/portcullis.js")}"`);
    const { stdout } = await run("bash", ["-c", `exec 2>&1\ntrap 'kill $! || true' EXIT\n${script}`], { cwd: folder });
    const printed = stdout.split(`${MARK}\n`);
    expect(printed).toHaveLength(steps.length);
    for (const [at, { shown }] of steps.entries()) if (shown !== "") expect.soft(printed[at]).toMatch(pattern(shown));
  },
);

test("the page lists every lint, and whether it is refused", () => {
  const rows = [...page.matchAll(/^\| `(\w+)` \|.*\| ([\w ]+) \|$/gm)].map(([, id, force]) => [
    id,
    force === "refused",
  ]);
  expect(rows).toEqual(Object.entries(LINTS).map(([id, { refuses }]) => [id, refuses]));
});
