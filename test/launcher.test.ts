/** The promise: bin/portcullis.js runs on the Node that the lockfile brings, passes signals and the exit code, and leaves nobody behind. */
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { chmod, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

const root = resolve(import.meta.dirname, "..");
const packageName = `node-${process.platform}-${process.arch}`;

/** Stands in for the gateway: says who runs it, and ends as its words tell it to. */
const MAIN = `
import { writeSync } from "node:fs";
const note: unknown = new Promise((next) => setTimeout(next, 10));
await note;
process.emitWarning("types", "ExperimentalWarning");
process.emitWarning("worth knowing", "DeprecationWarning");
const [, , word] = process.argv;
if (word === "code") process.exitCode = 7;
if (word === "crash") process.kill(process.pid, "SIGABRT");
if (word === "wait") {
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    process.on(signal, () => {
      writeSync(1, signal + "\\n");
      if (signal !== "SIGHUP") setTimeout(() => process.exit(3), 50);
    });
  }
  setInterval(() => {}, 1000);
}
writeSync(1, JSON.stringify({ pid: process.pid, node: process.version, argv: process.argv.slice(2), flags: process.execArgv, arenas: process.env.MALLOC_ARENA_MAX }) + "\\n");
`;

let folder = "";
const children: ChildProcess[] = [];
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "portcullis-launcher-"));
  await mkdir(join(folder, "app/src"), { recursive: true });
  await mkdir(join(folder, "app/bin"));
  await writeFile(join(folder, "app/package.json"), '{"type": "module"}');
  await writeFile(join(folder, "app/src/main.ts"), MAIN);
  await cp(join(root, "bin/portcullis.js"), join(folder, "app/bin/portcullis.js"));
});
afterEach(async () => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  await rm(folder, { recursive: true, force: true });
});

/** The lockfile's Node, in node_modules of the package itself or of what depends on it. */
async function installNode(where: "app" | "."): Promise<void> {
  await mkdir(join(folder, where, "node_modules"), { recursive: true });
  await symlink(join(root, "node_modules", packageName), join(folder, where, "node_modules", packageName));
}

/** A Node that says it is 20: the launcher's own view of its host is all that counts. */
async function oldNode(): Promise<readonly string[]> {
  const preload = join(folder, "old.mjs");
  const said = {
    "process.versions, 'node'": "20.20.2",
    "process, 'version'": "v20.20.2",
    "process, 'execPath'": "/bin/sh",
  };
  const lies = Object.entries(said).map(([what, value]) => `Object.defineProperty(${what}, {value: "${value}"});`);
  // the Node that it starts gets the same flags, and tells the truth
  await writeFile(preload, `if (!process.channel) {${lies.join("")}}`);
  return ["--import", preload];
}

function run(words: readonly string[], flags: readonly string[] = [], env: NodeJS.ProcessEnv = {}) {
  const args = [...flags, join(folder, "app/bin/portcullis.js"), ...words];
  return spawnSync(process.execPath, args, { encoding: "utf8", env: { ...process.env, ...env } });
}

type Said = {
  readonly pid: number;
  readonly node: string;
  readonly argv: readonly string[];
  readonly flags: readonly string[];
  readonly arenas?: string;
};

async function start(flags: readonly string[]): Promise<{
  launcher: ChildProcess;
  said: Said;
  output: () => string;
  ended: Promise<[number | null, string | null]>;
}> {
  const launcher = spawn(process.execPath, [...flags, join(folder, "app/bin/portcullis.js"), "wait"], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  children.push(launcher);
  let output = "";
  launcher.stdout?.setEncoding("utf8").on("data", (text: string) => void (output += text));
  const ended = new Promise<[number | null, string | null]>((done) =>
    launcher.once("exit", (code, signal) => done([code, signal])),
  );
  await until(() => output.includes("\n"));
  return { launcher, said: JSON.parse(output.split("\n")[0] ?? "") as Said, output: () => output, ended };
}

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries++) {
    if (tries > 500) throw new Error("not within 10 s");
    await sleep(20);
  }
}

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe("which Node", () => {
  test("is the lockfile's, whatever the host's is, and wherever npm put it", async () => {
    const flags = await oldNode();
    for (const where of ["app", "."] as const) {
      await installNode(where);
      const { status, stdout } = run(["a", "--b"], flags);
      expect({ status, ...(JSON.parse(stdout) as Said) }).toMatchObject({
        status: 0,
        node: process.version,
        argv: ["a", "--b"],
      });
      await rm(join(folder, where, "node_modules"), { recursive: true });
    }
  });

  test("is the host's where the lockfile's is not installed and the host's is new enough", () => {
    const { status, stdout } = run([]);
    expect(status).toBe(0);
    expect((JSON.parse(stdout) as Said).node).toBe(process.version);
  });

  test.skipIf(process.platform === "win32")(
    "runs a gateway with collector flags, the operator's own counting last",
    () => {
      const own = "--max-semi-space-size=64";
      const flags = (words: readonly string[]) => (JSON.parse(run(words, [own]).stdout) as Said).flags;
      expect(flags(["doctor"])).toEqual([own]);
      for (const role of ["serve", "control", "sidecar"]) {
        const served = flags([role]);
        expect(served).toContain("--max-semi-space-size=16");
        expect(served.at(-1)).toBe(own);
      }
    },
  );

  test.skipIf(process.platform === "win32")(
    "runs a gateway with one arena, or as many as the operator wants",
    async () => {
      const arenas = (word: string, env?: NodeJS.ProcessEnv, flags?: readonly string[]) =>
        (JSON.parse(run([word], flags, env).stdout) as Said).arenas;
      const expectRight = (flags?: readonly string[]) => {
        expect(arenas("serve", {}, flags)).toBe("1");
        expect(arenas("sidecar", { MALLOC_ARENA_MAX: "4" }, flags)).toBe("4");
        expect(arenas("doctor", {}, flags)).toBeUndefined();
      };
      expectRight();
      const flags = await oldNode();
      await installNode("app");
      expectRight(flags);
    },
  );

  test("gets the flags that the operator gave the host's", async () => {
    const flags = await oldNode();
    await installNode("app");
    const own = "--max-semi-space-size=64";
    for (const word of ["doctor", "serve"]) {
      const said = JSON.parse(run([word], [...flags, own]).stdout) as Said;
      expect(said).toMatchObject({ node: process.version, flags: expect.arrayContaining([own]) as string[] });
      expect(said.flags.at(-1)).toBe(own);
    }
  });

  test("is asked for in words where there is none, with exit code 2", async () => {
    const { status, stdout, stderr } = run([], await oldNode());
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toContain("Portcullis needs Node 24 or newer, and this is v20.20.2.");
    expect(stderr).not.toContain("at ");
  });

  test("is told where the lockfile's cannot run on this machine", async () => {
    const fake = join(folder, "app/node_modules", packageName);
    await mkdir(join(fake, "bin"), { recursive: true });
    await writeFile(join(fake, "package.json"), '{"version": "24.0.0"}');
    await writeFile(join(fake, "bin/node"), "not a program");
    await chmod(join(fake, "bin/node"), 0o644);
    const { status, stderr } = run([], await oldNode());
    expect(status).toBe(2);
    expect(stderr).toContain("cannot be run (EACCES)");
  });

  test("also through a symbolic link, as npm makes them", async () => {
    await installNode("app");
    await symlink(join(folder, "app/bin/portcullis.js"), join(folder, "portcullis"));
    const { status } = spawnSync(process.execPath, [...(await oldNode()), join(folder, "portcullis")]);
    expect(status).toBe(0);
  });
});

describe.each([
  ["in the same process", false],
  ["through a child", true],
])("%s", (_, child) => {
  const flags = async (): Promise<readonly string[]> => {
    await installNode("app");
    return child ? oldNode() : [];
  };

  test("the exit code passes", async () => {
    expect(run(["code"], await flags()).status).toBe(7);
  });

  test("a death by signal passes as such", async () => {
    expect(run(["crash"], await flags()).signal).toBe("SIGABRT");
  });

  test("experiments are not announced, other warnings are", async () => {
    const { stderr } = run([], await flags());
    expect(stderr).not.toContain("ExperimentalWarning");
    expect(stderr).toContain("worth knowing");
  });

  test.each(["SIGTERM", "SIGINT"] as const)("%s arrives once, and the end is waited for", async (signal) => {
    const { launcher, said, output, ended } = await start(await flags());
    launcher.kill("SIGHUP");
    await until(() => output().includes("SIGHUP"));
    launcher.kill(signal);
    expect(await ended).toEqual([3, null]);
    expect(output().match(new RegExp(signal, "g"))).toHaveLength(1);
    expect(runs(said.pid)).toBe(false);
  });
});

test("a killed launcher leaves no gateway behind", async () => {
  await installNode("app");
  const { launcher, said } = await start(await oldNode());
  expect(said.pid).not.toBe(launcher.pid);
  launcher.kill("SIGKILL");
  await until(() => !runs(said.pid));
});

test("the compiled code is kept beside the packages, where nobody else writes", async () => {
  await installNode("app");
  run([]);
  const { readdir } = await import("node:fs/promises");
  expect(await readdir(join(folder, "app/node_modules/.cache/portcullis"))).not.toEqual([]);
});

test("package.json names the launcher, and it is executable by Node 20", async () => {
  const { bin } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { bin: { portcullis: string } };
  expect(bin.portcullis).toBe("bin/portcullis.js");
  expect(await readFile(join(root, bin.portcullis), "utf8")).toMatch(/^#!\/usr\/bin\/env node\n/);
});
