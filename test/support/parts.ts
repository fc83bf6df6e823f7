/**
 * Where are the real parts that the tests talk to, and how do they start? Each runs as a child on a free loopback
 * port and ends with the test. A part that the machine lacks is named once, at the end of the run, and its tests are
 * counted as skipped; with CI=true they fail instead, so that a green CI has seen all of them.
 */
import { spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { accessSync, constants, existsSync, globSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { ZIPKIN_JAR } from "../../otel/zipkin.ts";

const interop = join(import.meta.dirname, "..", "interop");

/** How each part is found, and how it comes to a machine that lacks it. */
const PARTS = {
  "redis-server": { find: () => onPath("redis-server"), install: "apt-get install redis-server" },
  openssl: { find: () => onPath("openssl"), install: "apt-get install openssl" },
  zipkin: {
    find: () => (onPath("java") === null ? null : (present(ZIPKIN_JAR) ?? onPath("mvn"))),
    install: "bash .ci/parts zipkin",
  },
  promtool: { find: () => onPath("promtool"), install: "apt-get install prometheus" },
  strace: { find: () => (traces() ? onPath("strace") : null), install: "apt-get install strace, and be let trace" },
  namespaces: {
    find: () => (makesNamespaces() ? onPath("ip") : null),
    install: "apt-get install iproute2, and be let make user namespaces",
  },
  rotel: {
    find: () => globSync(join(interop, ".venv-rotel/lib/*/site-packages/rotel/rotel-agent"))[0] ?? null,
    install: venv("rotel"),
  },
  envoy: {
    find: () => globSync(join(interop, ".venv-envoy/lib/*/site-packages/envoy/_bin/envoy"))[0] ?? null,
    install: venv("envoy"),
  },
  "python-mcp1": { find: () => present(join(interop, ".venv-mcp1/bin/python")), install: venv("mcp1") },
  "python-mcp2": { find: () => present(join(interop, ".venv-mcp2/bin/python")), install: venv("mcp2") },
  "mcp-server-time": { find: () => present(join(interop, ".venv-mcp2/bin/mcp-server-time")), install: venv("mcp2") },
  opa: {
    find: () => onPath("opa") ?? present(join(interop, "bin/opa")),
    install: "GOBIN=$PWD/test/interop/bin go install github.com/open-policy-agent/opa@v1.22.2",
  },
  conformance: {
    find: () => present(join(interop, "node_modules/@modelcontextprotocol/conformance/dist/index.js")),
    install: "npm ci --prefix test/interop",
  },
} as const;
export type PartName = keyof typeof PARTS;

/** The part's file. @throws Error that says how the part is installed */
export function requirePart(name: PartName): string {
  const path = PARTS[name].find();
  if (path === null) throw new Error(`${name} is missing: ${PARTS[name].install}`);
  return path;
}

/** For `describe.skipIf`: true where a part is missing and may be; never in CI. */
export function lacks(...names: readonly PartName[]): boolean {
  return process.env["CI"] !== "true" && names.some((name) => PARTS[name].find() === null);
}

/** One line for each part that this machine lacks. */
export function missingParts(): readonly string[] {
  return Object.entries(PARTS)
    .filter(([, { find }]) => find() === null)
    .map(([name, { install }]) => `missing: ${name} (${install})`);
}

export type Part = {
  readonly pid: number;
  readonly port: number;
  /** Everything that the part has printed so far. */
  readonly output: () => string;
  /** Ends the part; resolves when it is gone. */
  readonly stop: () => Promise<void>;
};
export type RedisServer = Part & {
  readonly url: string;
  /** Stops the process without closing its connections: a hang, not a refusal. */
  readonly pause: () => void;
  readonly resume: () => void;
};

/**
 * A Redis of this test alone, empty, or with the dump in `folder`, which goes with it; on the given port if one is named, to come
 * back where another was; a cluster if wanted; with `tls`, its words for that, over TLS.
 */
export async function redisServer(
  options: {
    readonly port?: number;
    readonly folder?: string;
    readonly appendOnly?: boolean;
    readonly cluster?: boolean;
    readonly tls?: readonly string[];
  } = {},
): Promise<RedisServer> {
  const port = options.port ?? (await freePort());
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), "portcullis-redis-"));
  const ports = options.tls === undefined ? ["--port"] : [...options.tls, "--port", "0", "--tls-port"];
  const args = [...ports, String(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""];
  args.push("--appendonly", options.appendOnly === true ? "yes" : "no");
  if (options.cluster === true) args.push("--cluster-enabled", "yes", "--cluster-port", String(await freePort()));
  const part = await started(requirePart("redis-server"), args, port);
  // a cluster of one, which has all slots and still refuses what several would
  if (options.cluster === true) await say(port, "CLUSTER ADDSLOTSRANGE 0 16383");
  return {
    ...part,
    url: `redis${options.tls === undefined ? "" : "s"}://127.0.0.1:${port}`,
    pause: () => process.kill(part.pid, "SIGSTOP"),
    resume: () => process.kill(part.pid, "SIGCONT"),
    stop: async () => {
      await part.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Some containers have it, and may not use it. */
function traces(): boolean {
  return spawnSync("strace", ["-qq", "-o", "/dev/null", "true"]).status === 0;
}

/** One command, as one would type it. */
async function say(port: number, command: string): Promise<void> {
  const socket = createConnection({ host: "127.0.0.1", port });
  await new Promise((told, fail) => socket.once("error", fail).once("data", told).write(`${command}\r\n`));
  socket.destroy();
}

/** A collector that prints every span, or every log record, that it receives over OTLP: HTTP at `url`, gRPC at `grpcUrl`. */
export async function rotel(
  options: { readonly port?: number; readonly shows?: "traces" | "logs" } = {},
): Promise<Part & { readonly url: string; readonly grpcUrl: string }> {
  const port = options.port ?? (await freePort());
  const grpcPort = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "portcullis-rotel-"));
  const http = ["--otlp-http-endpoint", `127.0.0.1:${port}`, "--otlp-grpc-endpoint", `127.0.0.1:${grpcPort}`];
  const files = ["--pid-file", join(folder, "pid"), "--log-file", join(folder, "log")];
  const show = [
    "--exporter",
    "blackhole",
    "--debug-log",
    options.shows ?? "traces",
    "--debug-log-verbosity",
    "detailed",
  ];
  const part = await started(requirePart("rotel"), ["start", ...http, ...files, ...show], port);
  return {
    ...part,
    url: `http://127.0.0.1:${port}`,
    grpcUrl: `http://127.0.0.1:${grpcPort}`,
    stop: async () => {
      await part.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** An Envoy with one of the example configurations, each port in it replaced by that which `ports` names for it. */
export async function envoyProxy(
  config: string,
  ports: { readonly [port: number]: number },
): Promise<Part & { readonly url: string; readonly admin: string }> {
  const own = { 10000: await freePort(), 9901: await freePort() };
  const replaced: { readonly [port: number]: number } = { ...own, ...ports };
  const text = config.replaceAll(/port_value: (\d+)/g, (whole, port: string) => {
    const other = replaced[Number(port)];
    return other === undefined ? whole : `port_value: ${other}`;
  });
  const folder = mkdtempSync(join(tmpdir(), "portcullis-envoy-"));
  const file = join(folder, "envoy.yaml");
  writeFileSync(file, text);
  const args = ["--config-path", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"];
  const part = await started(requirePart("envoy"), args, own[10000], { timeoutMs: 30_000 });
  return {
    ...part,
    url: `http://127.0.0.1:${own[10000]}`,
    admin: `http://127.0.0.1:${own[9901]}`,
    stop: async () => {
      await part.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Runs a command to its end. */
export async function run(
  command: string,
  args: readonly string[],
  options: {
    readonly env?: NodeJS.ProcessEnv;
    readonly input?: string;
    readonly cwd?: string;
    readonly timeoutMs?: number;
  } = {},
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  const child = spawn(command, args, {
    env: { ...process.env, ...options.env },
    cwd: options.cwd,
    stdio: ["pipe", "pipe", "pipe"],
    timeout: options.timeoutMs ?? 60_000,
    killSignal: "SIGKILL",
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  child.stdin.on("error", () => {}).end(options.input ?? "");
  return await new Promise((settle, fail) => {
    child.once("error", fail);
    child.once("close", (code) => settle({ code, stdout, stderr }));
  });
}

/**
 * Starts a command and waits until it is ready, for at most `timeoutMs`: it listens on that port, or has printed what is
 * looked for. @throws Error with its output
 */
export async function started(
  command: string,
  args: readonly string[],
  ready: number | ((output: string) => boolean),
  options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string; readonly timeoutMs?: number } = {},
): Promise<Part> {
  const env = { ...process.env, ...options.env };
  const child = spawn(command, args, { env, cwd: options.cwd, stdio: ["ignore", "pipe", "pipe"] });
  let text = "";
  const keep = (chunk: string) => (text = (text + chunk).slice(-OUTPUT_CHARACTERS_MAX));
  child.stdout.setEncoding("utf8").on("data", keep);
  child.stderr.setEncoding("utf8").on("data", keep);
  child.once("error", (error) => keep(String(error)));
  // a test run that dies must not leave a part behind
  const orphan = () => child.kill("SIGKILL");
  process.once("exit", orphan);
  const stop = async () => {
    process.removeListener("exit", orphan);
    await ended(child);
  };
  const until = Date.now() + (options.timeoutMs ?? 15_000);
  while (!(typeof ready === "number" ? await answers(ready) : ready(text))) {
    if (child.exitCode !== null || child.pid === undefined || Date.now() > until) {
      await stop();
      throw new Error(`${command} did not start:\n${text}`);
    }
    await sleep(20);
  }
  return { pid: child.pid ?? 0, port: typeof ready === "number" ? ready : 0, output: () => text, stop };
}

/** A loopback port that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer();
  const port = await new Promise<number>((settle, fail) => {
    server.once("error", fail).listen(0, "127.0.0.1", () => {
      const address = server.address();
      settle(typeof address === "object" && address !== null ? address.port : 0);
    });
  });
  await new Promise((settle) => server.close(settle));
  return port;
}

const OUTPUT_CHARACTERS_MAX = 8 * 1024 * 1024;
const GRACE_MS = 5_000;

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
  const gone = new Promise((settle) => child.once("exit", settle));
  // a paused process does not see SIGTERM before it goes on
  child.kill("SIGCONT");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), GRACE_MS);
  await gone;
  clearTimeout(timer);
}

function answers(port: number): Promise<boolean> {
  return new Promise((settle) => {
    const socket = createConnection({ host: "127.0.0.1", port });
    const done = (answered: boolean) => {
      socket.destroy();
      settle(answered);
    };
    socket.once("connect", () => done(true)).once("error", () => done(false));
  });
}

/** Also where nobody is root; some kernels and containers forbid it. */
function makesNamespaces(): boolean {
  return spawnSync("unshare", ["-Ur", "-n", "true"]).status === 0;
}

function onPath(command: string): string | null {
  const folders = (process.env["PATH"] ?? "").split(delimiter);
  return folders.map((folder) => join(folder, command)).find((path) => executable(path)) ?? null;
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function present(path: string): string | null {
  return existsSync(path) ? path : null;
}

function venv(name: string): string {
  return `bash .ci/parts ${name}`;
}
