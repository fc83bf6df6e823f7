#!/usr/bin/env node
/**
 * Which Node runs Portcullis? The one that package-lock.json pins, if it is installed; else the host's, if it is new
 * enough. Plain JavaScript for Node 20 and later. What surprises: where this very process already is the right Node
 * (`npm start`, `npx`), it goes on as the gateway itself; only otherwise is there a child, which gets every signal and
 * ends when its parent does.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync, realpathSync } from "node:fs";
import * as nodeModule from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const NODE_MAJOR_MIN = 24;
const USAGE = 2;
// of a symbolic link, such as npm makes, this is already the target
const self = fileURLToPath(import.meta.url);
const root = dirname(dirname(self));

/**
 * For a gateway that runs for long. V8 comes to allocate what often outlives a young collection in the old space at
 * once; here that is the object that each call hangs on, and everything young that it points to is then kept until a full
 * collection: a fifth of a call's CPU. The others keep a process of 50 MB live data from taking 300.
 */
const COLLECTOR = ["--no-allocation-site-pretenuring", "--max-semi-space-size=16", "--heap-growing-percent=50"];
/** glibc gives each thread an arena that never shrinks. One for all takes 12 MB less. */
const ARENAS = { MALLOC_ARENA_MAX: "1" };

const locked = lockedNode();
if (locked !== null && realpathSync(process.execPath) !== locked) runChild(locked);
else if (majorOf(process.versions.node) >= NODE_MAJOR_MIN) await runHere();
else {
  fail(
    `Portcullis needs Node ${NODE_MAJOR_MIN} or newer, and this is ${process.version}. ` +
      `Either run npm ci in ${root}, which brings one along (on linux-x64, linux-arm64 and win-x64), or install it.`,
  );
}

/** Found as Node finds packages, so also where this package is itself a dependency and npm put the binary higher up. */
function lockedNode() {
  const name = `node-${process.platform === "win32" ? "win" : process.platform}-${process.arch}`;
  try {
    const manifest = nodeModule.createRequire(self).resolve(`${name}/package.json`);
    if (majorOf(JSON.parse(readFileSync(manifest, "utf8")).version) < NODE_MAJOR_MIN) return null;
    const binary = join(dirname(manifest), "bin", process.platform === "win32" ? "node.exe" : "node");
    return existsSync(binary) ? realpathSync(binary) : null;
  } catch {
    return null;
  }
}

async function runHere() {
  // beside the packages, never in a shared temporary folder: whoever writes the cache writes the code
  nodeModule.enableCompileCache(process.env.NODE_COMPILE_CACHE ?? join(root, "node_modules", ".cache", "portcullis"));
  quietExperiments();
  const wanted = flagsFor(process.argv[2]);
  // Windows cannot replace a process
  if (process.platform !== "win32" && !wanted.every((flag) => process.execArgv.includes(flag)) && process.execve) {
    process.execve(
      process.execPath,
      [
        process.execPath,
        ...wanted,
        // the last one counts: what the operator set stands
        ...process.execArgv,
        self,
        ...process.argv.slice(2),
      ],
      { ...ARENAS, ...process.env },
    );
  }
  if (process.channel) endWithParent();
  await import(new URL("../src/main.ts", import.meta.url).href);
}

/** Type stripping and node:sqlite announce themselves at every start; all other warnings stay. */
function quietExperiments() {
  const emit = process.emit;
  process.emit = function (name, warning, ...rest) {
    if (name === "warning" && warning?.name === "ExperimentalWarning") return false;
    return emit.call(this, name, warning, ...rest);
  };
}

/** A killed launcher closes the channel; the gateway then stops as if it had been told to. */
function endWithParent() {
  process.once("disconnect", () => process.kill(process.pid, "SIGTERM"));
  process.channel.unref();
}

function flagsFor(command) {
  return ["serve", "control", "sidecar"].includes(command) ? COLLECTOR : [];
}

function runChild(node) {
  const child = spawn(node, [...flagsFor(process.argv[2]), ...process.execArgv, self, ...process.argv.slice(2)], {
    stdio: ["inherit", "inherit", "inherit", "ipc"],
    env: { ...(flagsFor(process.argv[2]).length > 0 ? ARENAS : {}), ...process.env },
  });
  child.once("error", (fault) => fail(`${node} cannot be run (${fault.code}): is it made for this system?`));
  child.channel?.unref();
  // on a terminal, Ctrl-C already goes to both
  const terminal = process.stdin.isTTY || process.stdout.isTTY || process.stderr.isTTY;
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"]) {
    process.on(signal, () => {
      if (signal !== "SIGINT" || !terminal) child.kill(signal);
    });
  }
  child.once("exit", (code, signal) => {
    if (signal === null) process.exit(code);
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  });
}

function majorOf(version) {
  return Number.parseInt(version, 10);
}

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(USAGE);
}
