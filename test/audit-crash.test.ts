/** Kill -9 at any moment: what was answered is on disk, and the trail verifies. */
import { execFile } from "node:child_process";
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { verify } from "../src/audit/verify.ts";
import { folder, openLine, spoolFiles } from "./audit-parts.ts";

const src = pathToFileURL(join(import.meta.dirname, "../src")).href;
const program = (directory: string, flush: string) => `
  import { realPorts, silent } from "${src}/ports.ts";
  import { openSpool } from "${src}/audit/spool.ts";
  const spool = openSpool({ directory: ${JSON.stringify(directory)}, flush: "${flush}", segmentBytes: 200_000 }, realPorts(silent));
  const turn = async (worker) => {
    for (let at = 0; ; at++) {
      await spool.append(${JSON.stringify(openLine("@"))}.replace("@", worker + "-" + at + "x".repeat(500)));
      // the answer: whatever is printed must be found on disk
      process.stdout.write(worker + "-" + at + "\\n");
      if (at % 16 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  for (let worker = 0; worker < 8; worker++) void turn(worker);`;

test.each(["write", "fsync"] as const)(
  "no line that was answered is lost, and the chain verifies (%s)",
  async (flush) => {
    const directory = await folder();
    for (let round = 0; round < 3; round++) {
      const before = new Set(await readdir(directory));
      const answered = await killed(program(directory, flush), 200 + round * 90);
      expect(answered.length).toBeGreaterThan(10);
      const fresh = (await spoolFiles(directory)).filter((file) => !before.has(file));
      expect(fresh.length).toBeGreaterThan(0);
      const written = new Set((await namedIn(directory, fresh)).map((name) => name?.replace(/x+$/, "")));
      expect(answered.filter((name) => !written.has(name))).toEqual([]);
    }
    const seen = await verify(directory);
    expect(seen).toMatchObject({ ok: true, chains: 3 });
  },
  30_000,
);

async function namedIn(directory: string, files: readonly string[]) {
  const texts = await Promise.all(files.map((file) => readFile(join(directory, file), "utf8")));
  return texts.flatMap((text) => text.split("\n").slice(0, -1)).map((line) => /"name":"([^"]*)"/.exec(line)?.[1]);
}

/** Runs the program until it has answered for so long, kills it, and returns the whole lines it had printed. */
function killed(program: string, afterMs: number): Promise<readonly string[]> {
  return new Promise((resolve) => {
    let printed = "";
    const child = execFile(process.execPath, ["--input-type=module", "-e", program], { maxBuffer: 1 << 30 }, () => {
      resolve(printed.split("\n").slice(0, -1));
    });
    child.stdout?.once("data", () => setTimeout(() => child.kill("SIGKILL"), afterMs));
    child.stdout?.on("data", (chunk: string) => (printed += chunk));
  });
}
