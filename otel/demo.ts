/**
 * `npm run demo:traces`: what do the spans look like? Zipkin in a browser, a gateway before two real MCP servers, and
 * people who use it: some of what they ask is refused, some fails, some is slow. Everything on loopback, and gone at the end.
 */
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { stringify } from "yaml";
import { linesFrom } from "../src/audit/lines.ts";
import { parseSpan } from "../src/audit/span.ts";
import { realPorts, silent } from "../src/ports.ts";
import { start } from "../src/start.ts";
import { postSpans, ZIPKIN, ZIPKIN_JAR, zipkinArgs, zipkinSpans } from "./zipkin.ts";

const ROOT = resolve(import.meta.dirname, "..");
const READY_MAX_MS = 180_000;

export type Viewer = { readonly url: string; readonly stop: () => void };
export type Traffic = {
  /** One of each kind of call. */
  readonly round: () => Promise<void>;
  /** Sends what was recorded since the last time; resolves to how many spans. */
  readonly flush: (viewer: string) => Promise<number>;
  readonly stop: () => Promise<void>;
};

/** @throws Error that says what is missing */
export async function startViewer(port: number): Promise<Viewer> {
  if (!existsSync(ZIPKIN_JAR)) {
    const maven = spawnSync("mvn", ["-q", "-B", "dependency:get", `-Dartifact=${ZIPKIN}`, "-Dtransitive=false"]);
    if (maven.status !== 0)
      throw new Error("Zipkin is brought by Maven (mvn), which is not there or could not get it.");
  }
  const child = spawn("java", zipkinArgs(port), { stdio: "ignore" });
  const url = `http://127.0.0.1:${port}`;
  const orphan = (): void => void child.kill("SIGKILL");
  process.once("exit", orphan);
  for (let waited = 0; !(await isUp(url)); waited += 250) {
    if (child.exitCode !== null || waited > READY_MAX_MS)
      throw new Error("Zipkin did not start; it needs Java 17 or newer.");
    await sleep(250);
  }
  return { url, stop: () => void (process.removeListener("exit", orphan), child.kill()) };
}

async function isUp(url: string): Promise<boolean> {
  return fetch(`${url}/health`).then(
    ({ ok }) => ok,
    () => false,
  );
}

const KEY = `pc_demo_${"d".repeat(64)}`;
const HASH = `sha256:${createHash("sha256").update(KEY).digest("hex")}`;

/** A gateway of its own, with the demo's servers and the policy that ships. */
export async function startTraffic(): Promise<Traffic> {
  const folder = await mkdtemp(join(tmpdir(), "portcullis-traces-"));
  const configFile = join(folder, "portcullis.yaml");
  await writeFile(configFile, stringify(configOf()));
  const env = { PATH: `${join(ROOT, "node_modules/.bin")}:/usr/bin:/bin` };
  const ports = realPorts(silent);
  const running = await start({ configFile, env, ports, production: true, onExit: () => {} });
  const directory = join(folder, "data/audit");
  const sent = new Map<string, number>();
  return {
    round: () => ask(`http://${running.traffic}`),
    flush: async (viewer) => {
      const spans = (await recordsSince(directory, sent)).flatMap(zipkinSpans);
      if (spans.length > 0) await postSpans(viewer, spans);
      return spans.length;
    },
    stop: async () => {
      await running.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function configOf(): object {
  const server = (name: string, args: readonly string[], more: object): object => ({
    name,
    version: "2026.8.31",
    instances: [{ stdio: { command: process.execPath, args, cwd: ROOT } }],
    ...more,
  });
  const place = "node_modules/@modelcontextprotocol";
  return {
    listen: "127.0.0.1:0",
    admin: "127.0.0.1:0",
    policies: join(ROOT, "policies"),
    roles: { analyst: ["files:read", "demo:use"] },
    principals: [{ id: "alice", roles: ["analyst"], tenant: "acme" }],
    auth: { keys: [{ id: "demo", principal: "alice", hash: HASH }] },
    limits: [{ name: "tool-pace", always: true, key: ["principal", "tool"], limit: 20, window: "60s" }],
    servers: [
      server("everything", [`${place}/server-everything/dist/index.js`, "stdio"], { permissions: ["demo:use"] }),
      server("files", [`${place}/server-filesystem/dist/index.js`, "./demo"], { permissions: ["files:read"] }),
    ],
  };
}

const CALLS: readonly (readonly [tool: string, args: object])[] = [
  ["everything__echo", { message: "hello" }],
  ["files__read_text_file", { path: "welcome.txt" }],
  ["files__read_text_file", { path: "/etc/passwd" }],
  ["files__read_text_file", { path: "nothing.txt" }],
  ["everything__trigger-long-running-operation", { duration: 1, steps: 4 }],
  ["everything__no-such-tool", {}],
  ["everything__get-sum", { a: "one", b: 2 }],
];

async function ask(url: string): Promise<void> {
  const headers = { "content-type": "application/json", "x-api-key": KEY };
  await Promise.all(
    CALLS.map(async ([tool, args]) => {
      const body = JSON.stringify({ arguments: args });
      await (await fetch(`${url}/tools/${tool}/call`, { method: "POST", headers, body })).text();
    }),
  );
}

async function recordsSince(directory: string, sent: Map<string, number>) {
  const records = [];
  for (const file of (await readdir(directory)).filter((name) => name.endsWith(".jsonl")).toSorted()) {
    for await (const { text, end } of linesFrom(join(directory, file), sent.get(file) ?? 0)) {
      sent.set(file, end);
      const span = parseSpan(text);
      if (span !== null) records.push(span);
    }
  }
  return records;
}

async function main(): Promise<void> {
  const tell = (line: string): void => void process.stderr.write(`${line}\n`);
  tell("Zipkin starts: half a minute (the first time, Maven brings 130 MB).");
  const [viewer, traffic] = await Promise.all([startViewer(9411), startTraffic()]);
  const stop = new AbortController();
  process.once("SIGINT", () => stop.abort()).once("SIGTERM", () => stop.abort());
  tell(`all traces:     ${viewer.url}/zipkin/?limit=50`);
  tell(`what was denied: ${viewer.url}/zipkin/?annotationQuery=${encodeURIComponent("portcullis.decision=deny")}`);
  tell(`what failed:     ${viewer.url}/zipkin/?annotationQuery=error`);
  tell("New calls every three seconds, until Ctrl-C.");
  while (!stop.signal.aborted) {
    await traffic.round();
    await traffic.flush(viewer.url);
    await sleep(3_000, undefined, { signal: stop.signal }).catch(() => {});
  }
  viewer.stop();
  await traffic.stop();
}

if (import.meta.main) await main();
