/**
 * The gateway itself as a real part: a child process with a configuration and a data folder of its own, as an operator
 * would run it. Ready means that `/readyz` says so, and that the wanted tools are listed. For tests in memory there are the rooms themselves.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const root = join(import.meta.dirname, "..", "..");

export type Portcullis = {
  readonly pid: number;
  /** `http://127.0.0.1:port` of the traffic listener. */
  readonly url: string;
  readonly port: number;
  /** The folder of its configuration; `data` is in it. */
  readonly folder: string;
  /** From the spawn of the process to ready. */
  readonly startMs: number;
  readonly output: () => string;
  /** SIGTERM, and waits; the folder stays for a restart unless it was made here. Resolves with the exit code. */
  readonly stop: () => Promise<number | null>;
};
export type PortcullisOptions = {
  /** As in portcullis.yaml, without `listen` and `admin`: these are free ports. Text is taken as it is. */
  readonly config: object | string;
  /** Instead of a free port. */
  readonly listen?: string;
  /** Instead of `serve`. */
  readonly command?: readonly string[];
  /** To start again on the data of an earlier start. */
  readonly folder?: string;
  /** Put before the command, e.g. to pin it to a core. */
  readonly prefix?: readonly string[];
  /** Ready means also that these tools are listed for this key: a gateway waits for no slow server. */
  readonly tools?: { readonly key: string; readonly ids: readonly string[] };
  readonly readyMs?: number;
  /** Besides this process's own. */
  readonly env?: { readonly [name: string]: string };
};

/** @throws Error with what the gateway printed, if it is not ready in time */
export async function portcullis(options: PortcullisOptions): Promise<Portcullis> {
  const folder = options.folder ?? temporaryFolder();
  const file = join(folder, "portcullis.yaml");
  const ports = `listen: ${options.listen ?? "127.0.0.1:0"}\nadmin: 127.0.0.1:0\n`;
  writeFileSync(file, ports + (typeof options.config === "string" ? options.config : yamlOf(options.config)));
  const startedMs = performance.now();
  const command = [
    ...(options.prefix ?? []),
    process.execPath,
    join(root, "bin/portcullis.js"),
    ...(options.command ?? ["serve"]),
    "--config",
    file,
  ];
  const child = spawn(command[0] ?? "", command.slice(1), {
    cwd: folder,
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const orphan = () => child.kill("SIGKILL");
  process.once("exit", orphan);
  let text = "";
  const keep = (chunk: string) => (text = (text + chunk).slice(-OUTPUT_CHARACTERS_MAX));
  child.stdout.setEncoding("utf8").on("data", keep);
  child.stderr.setEncoding("utf8").on("data", keep);
  const stop = async () => {
    process.removeListener("exit", orphan);
    const code = await ended(child);
    if (options.folder === undefined) rmSync(folder, { recursive: true, force: true });
    return code;
  };
  const until = startedMs + (options.readyMs ?? 60_000);
  let port = 0;
  while (port === 0 || !(await answers(port, "/readyz", () => true)) || !(await listed(port, options.tools))) {
    if (child.exitCode !== null || child.signalCode !== null || performance.now() > until) {
      await stop();
      throw new Error(`The gateway is not ready:\n${text}`);
    }
    await sleep(5);
    port = Number(/(?:MCP|GraphQL) +https?:\/\/[^:]+:(\d+)/.exec(text)?.[1] ?? 0);
  }
  const startMs = performance.now() - startedMs;
  return { pid: child.pid ?? 0, url: `http://127.0.0.1:${port}`, port, folder, startMs, output: () => text, stop };
}

/** A key as the file holds it, and as the caller sends it. */
export function key(id: string, principal: string, agent?: string) {
  const text = `pc_${id}_${createHash("sha256").update(`test ${id}`).digest("hex")}`;
  const hash = `sha256:${createHash("sha256").update(text).digest("hex")}`;
  return { text, entry: { id, principal, hash, ...(agent === undefined ? {} : { agent }) } };
}

/** With the product's policies, demo folder and packages in it, so that the demo's relative paths hold. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "portcullis-"));
  for (const name of ["policies", "demo", "node_modules"]) symlinkSync(join(root, name), join(folder, name));
  return folder;
}

const OUTPUT_CHARACTERS_MAX = 4 * 1024 * 1024;
const STOP_MS = 15_000;

/** JSON is YAML; one line for each section, so that a fault names one. */
function yamlOf(config: object): string {
  return Object.entries(config)
    .map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`)
    .join("");
}

async function listed(port: number, tools: PortcullisOptions["tools"]): Promise<boolean> {
  if (tools === undefined) return true;
  return await answers(port, "/tools", (text) => tools.ids.every((id) => text.includes(`"${id}"`)), tools.key);
}

function answers(port: number, path: string, holds: (text: string) => boolean, key?: string): Promise<boolean> {
  const headers = key === undefined ? {} : { "x-api-key": key };
  return new Promise((settle) => {
    const asked = request({ host: "127.0.0.1", port, path, headers, agent: false }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      answer.on("end", () => settle(answer.statusCode === 200 && holds(text)));
    });
    asked.on("error", () => settle(false)).end();
  });
}

async function ended(child: ChildProcess): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return child.exitCode;
  const gone = new Promise((settle) => child.once("exit", settle));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
  await gone;
  clearTimeout(timer);
  return child.exitCode;
}
