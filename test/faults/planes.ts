/** A control plane, two sidecars and a Redis, each a real process on a machine of its own, and callers beside each sidecar. */
import { execFileSync } from "node:child_process";
import { appendFileSync, cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { stringify } from "yaml";
import { keyEntry, keyOf, until } from "../support/gateway.ts";
import { startNetwork } from "../support/namespaces.ts";
import type { Machine, Network } from "../support/namespaces.ts";
import { requirePart } from "../support/parts.ts";
import { adminOf } from "../support/planes.ts";
import type { Admin } from "../support/planes.ts";

const root = join(import.meta.dirname, "..", "..");

export type Sidecar = {
  readonly name: string;
  readonly machine: Machine;
  readonly folder: string;
  readonly admin: Admin;
  readonly call: (key: string, tool: string) => Promise<Answer>;
};
export type Answer = {
  readonly tool: string;
  /** `ok`, or the refusal's code. */
  readonly code: string;
  readonly callId: string;
  readonly atMs: number;
  readonly tookMs: number;
};
export type Planes = {
  readonly network: Network<"control" | "one" | "two" | "redis">;
  readonly control: { readonly folder: string; readonly admin: Admin };
  readonly sidecars: readonly [Sidecar, Sidecar];
  readonly close: () => Promise<void>;
};

/** Each tool of the fixture under a limit of its own, which its tag names. */
export const TOOLS = { closed: "echo", local: "test_simple_text", few: "big" } as const;
export const FEW = 5;
const LIMITS = [
  { name: "closed", key: ["principal"], limit: 100_000, window: "60s", redisDown: "closed" },
  { name: "local", key: ["principal"], limit: 100_000, window: "60s", redisDown: "local" },
  { name: "few", key: ["principal"], limit: FEW, window: "60s", redisDown: "local" },
];
/** They may; eve may not. */
export const USERS = ["alice", "bob", "carol", "dave", "erin"] as const;
const LISTEN = { listen: "127.0.0.1:8484", drain: "1s" };
const FIXTURE = { name: "fixture", permissions: ["demo:use"] };

export async function startPlanes(maxStaleness: string): Promise<Planes> {
  const network = await startNetwork(["control", "one", "two", "redis"]);
  const { machines } = network;
  const folder = mkdtempSync(join(tmpdir(), "portcullis-apart-"));
  const close = async () => {
    await network.close();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    const redis = `redis://${machines.redis.address}:6379`;
    const open = ["--bind", "0.0.0.0", "--protected-mode", "no", "--save", "", "--dir", folder];
    await machines.redis.start(requirePart("redis-server"), open, /Ready to accept/);
    const control = await startControl(machines.control, join(folder, "control"));
    const url = `https://${machines.control.address}:8485`;
    const ca = join(control.folder, "tls.pem");
    const starting = (["one", "two"] as const).map(async (name) => {
      const keyFile = await keyFileOf(control.admin, join(folder, `${name}.key`), name);
      const config = { redis, control: { url, ca, keyFile, maxStaleness } };
      return startSidecar(machines[name], { name, folder: join(folder, name), config });
    });
    const [one, two] = (await Promise.all(starting)) as [Sidecar, Sidecar];
    return { network, control, sidecars: [one, two], close };
  } catch (cause) {
    await close();
    throw cause;
  }
}

async function startControl(machine: Machine, folder: string): Promise<Planes["control"]> {
  cpSync(join(root, "policies"), join(folder, "policies"), {
    recursive: true,
    filter: (path) => !/compiler|_test/.test(path),
  });
  const limits = 'obligations := {"limits": input.tool.tags} if input.target.kind == "tool"';
  appendFileSync(join(folder, "policies/portcullis.rego"), `\n${limits}\n`);
  const tls = { cert: join(folder, "tls.pem"), key: join(folder, "tls.key") };
  const made = ["req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=control"];
  const named = ["-addext", `subjectAltName=IP:${machine.address}`, "-keyout", tls.key, "-out", tls.cert];
  execFileSync(requirePart("openssl"), [...made, ...named], { stdio: "ignore" });
  const config = {
    ...LISTEN,
    admin: `${machine.address}:8485`,
    tls,
    policies: "./policies",
    roles: { user: ["demo:use"] },
    principals: [...USERS.map((id) => ({ id, roles: ["user"] })), { id: "eve" }],
    auth: { keys: [...USERS, "eve"].map(keyEntry) },
    limits: LIMITS,
    servers: [
      {
        ...FIXTURE,
        instances: [{ stdio: { command: "not-run-here" } }],
        tools: Object.fromEntries(Object.entries(TOOLS).map(([tag, tool]) => [tool, { tags: [tag] }])),
      },
    ],
  };
  await startGateway(machine, { role: "control", folder, config });
  return { folder, admin: adminAt(folder) };
}

type Wish = { readonly name: string; readonly folder: string; readonly config: object };

async function startSidecar(machine: Machine, { name, folder, config }: Wish): Promise<Sidecar> {
  const stdio = { command: process.execPath, args: [join(root, "test/support/upstreams/fixture.ts"), "--stdio"] };
  const own = { ...LISTEN, ...config, servers: [{ name: FIXTURE.name, instances: [{ stdio }] }] };
  await startGateway(machine, { role: "sidecar", folder, config: own });
  const door = await machine.door(8484);
  const call: Sidecar["call"] = (key, tool) => ask(door, key, tool);
  await until(async () => (await call(keyOf("alice"), TOOLS.closed)).code === "ok", `${name} serves`);
  return { name, machine, folder, admin: adminAt(folder), call };
}

async function startGateway(
  machine: Machine,
  { role, folder, config }: { role: string; folder: string; config: object },
) {
  cpSync(join(root, "demo"), join(folder, "demo"), { recursive: true });
  const file = join(folder, "portcullis.yaml");
  writeFileSync(file, stringify(config));
  const words = [join(root, "bin/portcullis.js"), role, "--config", file];
  await machine.start(process.execPath, words, /is ready/);
}

function adminAt(folder: string): Admin {
  return adminOf({ socket: join(folder, "data/admin.sock") });
}

async function keyFileOf(admin: Admin, file: string, sidecar: string): Promise<string> {
  const { text, pins } = await admin.keys.issue.mutate({ sidecar });
  writeFileSync(file, [text, ...pins, ""].join("\n"), { mode: 0o600 });
  return file;
}

function ask(socketPath: string, key: string, tool: string): Promise<Answer> {
  const atMs = performance.now();
  const headers = { host: "localhost", "x-api-key": key, "content-type": "application/json" };
  const path = `/tools/fixture__${tool}/call`;
  return new Promise((settle, fail) => {
    const asked = request({ socketPath, method: "POST", path, headers }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      answer.on("end", () => {
        const tookMs = performance.now() - atMs;
        const { code = "ok" } = JSON.parse(text) as { readonly code?: string };
        settle({ tool, code, callId: String(answer.headers["portcullis-call-id"]), atMs, tookMs });
      });
    });
    asked.once("error", fail).end('{"arguments":{}}');
  });
}

export type Load = {
  readonly answers: { readonly closed: Answer[]; readonly local: Answer[]; readonly forbidden: Answer[] };
  readonly stop: () => Promise<void>;
};
const EVERY_MS = 250;

/** Steady: one call of each kind now and then, whatever became of the last. */
export function load({ call }: Sidecar): Load {
  const answers: Load["answers"] = { closed: [], local: [], forbidden: [] };
  const asked: Promise<unknown>[] = [];
  const timer = setInterval(() => {
    const [alice, eve] = [keyOf("alice"), keyOf("eve")];
    asked.push(
      call(alice, TOOLS.closed).then((answer) => answers.closed.push(answer)),
      call(alice, TOOLS.local).then((answer) => answers.local.push(answer)),
      call(eve, TOOLS.local).then((answer) => answers.forbidden.push(answer)),
    );
  }, EVERY_MS);
  onTestFinished(() => clearInterval(timer));
  return {
    answers,
    stop: async () => {
      clearInterval(timer);
      await Promise.all(asked);
    },
  };
}
