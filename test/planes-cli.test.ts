/** The promise: two processes and three commands make two planes, as an operator would run them. */
import { execFile, spawn } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, expect, test } from "vitest";
import { until } from "./support/gateway.ts";
import { key, portcullis, temporaryFolder } from "./support/portcullis.ts";
import type { Portcullis } from "./support/portcullis.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const BIN = join(import.meta.dirname, "..", "bin/portcullis.js");
const execute = promisify(execFile);
const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).toReversed()) await close();
});

const alice = key("alice", "alice");

async function control(): Promise<{ control: Portcullis; run: (...words: string[]) => Promise<string> }> {
  const fixture = await startFixture();
  open.push(fixture.close);
  const running = await portcullis({
    command: ["control"],
    config: {
      roles: { user: ["demo:use"] },
      principals: [{ id: "alice", roles: ["user"] }],
      auth: { keys: [alice.entry] },
      servers: [
        { name: "fixture", permissions: ["demo:use"], instances: [{ http: { url: fixture.url, allowPrivate: true } }] },
      ],
    },
  });
  open.push(running.stop);
  const run = async (...words: string[]) => {
    const { stdout } = await execute(process.execPath, [BIN, ...words], { cwd: running.folder });
    return stdout;
  };
  return { control: running, run };
}

async function sidecar(folder: string, words: readonly string[]): Promise<Portcullis> {
  return portcullis({ command: ["sidecar", ...words], config: {}, folder });
}

test("control, keys issue --sidecar, sidecar: calls pass; a sidecar lives through its control plane, and tells of it", async () => {
  const { control: plane, run } = await control();
  expect(plane.output()).toMatch(/control plane\.[\s\S]*GraphQL/);
  expect(plane.output()).not.toMatch(/MCP +http/);
  const file = join(temporaryFolder(), "edge-1.key");
  writeFileSync(file, await run("keys", "issue", "--sidecar", "edge-1"));
  expect(readFileSync(file, "utf8")).toMatch(/^pc_\S+\ned25519:[0-9a-f]{8}:\S{43}\n$/);

  const admin = /http:\/\/(\S+)\/trpc/.exec(plane.output())?.[1] ?? "";
  const words = ["--control", `http://${admin}`, "--key-file", file];
  const edge = await sidecar(temporaryFolder(), words);
  const call = (at: Portcullis) =>
    fetch(`${at.url}/tools/fixture__echo/call`, {
      method: "POST",
      headers: { "content-type": "application/json", "x-api-key": alice.text },
      body: JSON.stringify({ arguments: { text: "through" } }),
    }).then((response) => response.text());
  await until(async () => (await call(edge)).includes("through"), "a call passes");
  await until(async () => /edge-1 +yes +[0-9a-f]{12} +0 +-/.test(await run("status")), "status shows it");
  expect(await run("doctor")).toMatch(/ok +sidecar edge-1: on the newest snapshot/);

  expect(await plane.stop()).toBe(0);
  expect(await call(edge)).toContain("through");
  const doctor = await execute(process.execPath, [BIN, "doctor"], { cwd: edge.folder }).catch(
    (fault: unknown) => fault,
  );
  expect((doctor as { stdout: string }).stdout).toMatch(/FAIL control plane: not heard for \d+ s/);
  expect(await edge.stop()).toBe(0);

  const again = await sidecar(edge.folder, words);
  await until(async () => (await call(again)).includes("through"), "a call passes again");
  expect(statSync(join(edge.folder, "data/snapshot")).mode & 0o077).toBe(0);
  expect(await again.stop()).toBe(0);
}, 120_000);

test("a sidecar that waits for its first snapshot ends when it is told to", async () => {
  const folder = temporaryFolder();
  const file = join(folder, "edge.key");
  writeFileSync(file, `${key("edge", "edge").text}\ned25519:00000000:${"A".repeat(43)}\n`);
  writeFileSync(join(folder, "portcullis.yaml"), "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n");
  const words = ["sidecar", "--control", "http://127.0.0.1:9", "--key-file", file];
  const child = spawn(process.execPath, [BIN, ...words], { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  let text = "";
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  const ended = new Promise<number | null>((gone) => child.once("exit", gone));
  await until(() => text.includes("is not heard"), "it waits");
  await until(() => text.includes("Waiting for the first snapshot"), "it says so");
  child.kill("SIGTERM");
  expect(await ended).toBe(0);
}, 60_000);

test("what a sidecar lacks to begin with is named", async () => {
  const folder = temporaryFolder();
  const fault = (...words: string[]) =>
    execute(process.execPath, [BIN, "sidecar", ...words], { cwd: folder }).then(
      () => "started",
      ({ code, stderr }: { code: number; stderr: string }) => `${code}: ${stderr}`,
    );
  expect(await fault()).toMatch(/^2: [\s\S]*name it with --control URL/);
  expect(await fault("--control", "http://127.0.0.1:9")).toMatch(/^2: [\s\S]*name its file with --key-file FILE/);
  expect(await fault("--control", "http://control.example", "--key-file", "none")).toMatch(/^2: [\s\S]*https/);
  expect(await fault("--control", "http://127.0.0.1:9", "--key-file", "none")).toMatch(/^2: [\s\S]*none: no such file/);
});
