/** A whole gateway for a test: real file, real policy, real spool, ephemeral ports, in a folder of its own. */
import { hash } from "node:crypto";
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { stringify } from "yaml";
import { realPorts, silent } from "../../src/ports.ts";
import type { Ports } from "../../src/ports.ts";
import { start } from "../../src/start.ts";
import type { Running, StartOptions } from "../../src/start.ts";

export type TestGateway = Running & {
  /** `http://127.0.0.1:port` of the traffic listener. */
  readonly url: string;
  readonly folder: string;
  readonly configFile: string;
  /** Replaces the configuration file and reloads it. */
  readonly rewrite: (changes: object) => Promise<void>;
  /** Every line of the spool so far, parsed: attributes as a flat record. */
  readonly records: () => Promise<readonly SpoolRecord[]>;
  /** Stops, and leaves the folder to be read; `clean` removes it. `close` does both. */
  readonly stop: () => Promise<void>;
  readonly clean: () => Promise<void>;
};
export type SpoolRecord = { readonly name: string; readonly [attribute: string]: unknown };

const ROOT = resolve(import.meta.dirname, "../..");

/** Deterministic keys for the three people of every test: alice (analyst), oscar (operator), ada (auditor), root (admin). */
export const KEYS = { alice: keyOf("alice"), oscar: keyOf("oscar"), ada: keyOf("ada"), root: keyOf("root") } as const;

export function keyOf(id: string): string {
  return `pc_${id}_${hash("sha256", `test key of ${id}`, "hex")}`;
}

export function keyEntry(principal: string): object {
  return { id: principal, principal, hash: `sha256:${hash("sha256", keyOf(principal), "hex")}` };
}

export const BASE_CONFIG = {
  listen: "127.0.0.1:0",
  admin: "127.0.0.1:0",
  data: "./data",
  policies: join(ROOT, "policies"),
  drain: "2s",
  // a machine that stands still for a second is the subject of no test that does not say so
  overload: { delay: "1h" },
  roles: {
    analyst: ["files:read", "demo:use"],
    operator: ["files:read", "files:write", "demo:use", "servers:read"],
    auditor: ["audit:read"],
  },
  principals: [
    { id: "alice", roles: ["analyst"], tenant: "acme" },
    { id: "oscar", roles: ["operator"], tenant: "acme" },
    { id: "ada", roles: ["auditor"], tenant: "acme" },
    { id: "root", roles: ["admin"], tenant: "default" },
  ],
  auth: { keys: ["alice", "oscar", "ada", "root"].map(keyEntry) },
  servers: [] as readonly object[],
};

/** A fixture as a server of the configuration; analysts and operators may call its tools. */
export function fixtureServer({ url }: { readonly url: string }, more: object = {}): object {
  return {
    name: "fixture",
    version: "1.0.0",
    instances: [{ http: { url, allowPrivate: true } }],
    permissions: ["demo:use"],
    ...more,
  };
}

export const SIDECAR_CONFIG = { listen: "127.0.0.1:0", admin: "127.0.0.1:0", data: "./data", drain: "2s" };

type Options = {
  readonly production?: boolean;
  readonly env?: { readonly [name: string]: string };
  /** One plane alone; `folder`: of an earlier start. */
  readonly plane?: Pick<StartOptions, "role" | "control" | "signal"> & { readonly folder?: string };
};

export async function startGateway(
  changes: object = {},
  { production = true, plane = {}, env = {}, ...ports }: Partial<Ports> & Options = {},
): Promise<TestGateway> {
  const folder = plane.folder ?? (await mkdtemp(join(tmpdir(), "portcullis-")));
  const configFile = join(folder, "portcullis.yaml");
  const { role = "serve", control, signal } = plane;
  const base = role === "sidecar" ? SIDECAR_CONFIG : BASE_CONFIG;
  await writeFile(configFile, stringify({ ...base, ...changes }));
  if (plane.folder === undefined) await shareCompiled(folder);
  const running = await start({
    configFile,
    role,
    ...(control === undefined ? {} : { control }),
    ...(signal === undefined ? {} : { signal }),
    env: { PATH: `${join(ROOT, "node_modules/.bin")}:/usr/bin:/bin`, ...env },
    ports: { ...realPorts(silent), ...ports },
    production,
    // a test closes what it starts
    onExit: () => {},
  });
  let stopped: Promise<void> | null = null;
  const stop = (): Promise<void> => (stopped ??= running.close());
  return {
    ...running,
    url: `http://${running.traffic}`,
    folder,
    configFile,
    rewrite: async (next) => {
      await writeFile(configFile, stringify({ ...base, ...changes, ...next }));
      await running.reload();
    },
    records: () => readRecords(join(folder, "data/audit")),
    stop,
    clean: () => rm(folder, { recursive: true, force: true }),
    close: async () => {
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Compiled policies, by digest, shared by all tests of this machine: a compilation is a second, and every test starts. */
export async function shareCompiled(folder: string): Promise<void> {
  const shared = join(ROOT, "node_modules/.cache/portcullis-test");
  await mkdir(shared, { recursive: true });
  await mkdir(join(folder, "data"), { mode: 0o700 });
  await symlink(shared, join(folder, "data/compiled"));
}

/** Until the tools of all its versions are listed, and their schemas compiled, at most 30 s. */
export async function discovered({ gateway }: Running, server: string): Promise<void> {
  const versions = () => [...(gateway.snapshot().servers.get(server)?.versions.values() ?? [])];
  await until(
    () => versions().length > 0 && versions().every(({ state }) => state === "fresh"),
    `${server} is discovered`,
  );
  await gateway.validators.prepare(versions().flatMap(({ tools }) => [...tools.values()]));
}

export async function until(holds: () => boolean | Promise<boolean>, what: string, timeoutMs = 30_000): Promise<void> {
  const end = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`Not within ${timeoutMs} ms: ${what}.`);
    await new Promise((next) => setTimeout(next, 20));
  }
}

async function readRecords(directory: string): Promise<readonly SpoolRecord[]> {
  const files = (await readdir(directory)).filter((name) => name.endsWith(".jsonl")).toSorted();
  const texts = await Promise.all(files.map((name) => readFile(join(directory, name), "utf8")));
  return texts.flatMap((text) =>
    text
      .split("\n")
      .filter((line) => line !== "")
      .map(flatten),
  );
}

type OtlpLine = {
  resourceSpans: {
    scopeSpans: { spans: { name: string; attributes: { key: string; value: Record<string, unknown> }[] }[] }[];
  }[];
};

function flatten(line: string): SpoolRecord {
  const span = (JSON.parse(line) as OtlpLine).resourceSpans[0]?.scopeSpans[0]?.spans[0];
  if (span === undefined) throw new Error("a record without a span");
  return Object.fromEntries([
    ["name", span.name],
    ...span.attributes.map(({ key, value }) => [key, Object.values(value)[0]]),
  ]) as SpoolRecord;
}
