/** A gateway that crashes says why, exits 70, and leaves no stdio server behind. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { stringify } from "yaml";
import { BASE_CONFIG, shareCompiled, until } from "./support/gateway.ts";

const root = resolve(import.meta.dirname, "..");
/** Deaf to the end of its input, as a server in the middle of something is. */
const SERVER = `require("node:fs").writeFileSync("group", String(process.pid)); setInterval(() => {}, 1000);`;
/** A fault of the gateway that nobody catches, when the test wants it. */
const FAULT = `data:text/javascript,process.on("SIGUSR2", () => { throw new Error("out of its mind"); })`;

test("an uncaught fault ends the servers that the gateway runs, and then the gateway", async () => {
  const folder = await mkdtemp(join(tmpdir(), "portcullis-crash-"));
  await shareCompiled(folder);
  const servers = [{ name: "deaf", instances: [{ stdio: { command: process.execPath, args: ["-e", SERVER] } }] }];
  await writeFile(join(folder, "portcullis.yaml"), stringify({ ...BASE_CONFIG, servers }));
  const words = ["--import", FAULT, join(root, "src/main.ts"), "serve", "--config", join(folder, "portcullis.yaml")];
  const gateway = spawn(process.execPath, words, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  gateway.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const ended = new Promise((settle) => gateway.once("close", settle));
  let group = 0;
  try {
    await until(() => said.includes("is ready"), "the gateway is ready");
    await until(async () => (group = await groupIn(folder)) > 0, "the server runs");
    gateway.kill("SIGUSR2");
    expect(await ended).toBe(70);
    expect(said).toContain("out of its mind");
    await until(() => !runs(group), "the server is gone", 5000);
  } finally {
    gateway.kill("SIGKILL");
    if (group > 0 && runs(group)) process.kill(-group, "SIGKILL");
    await rm(folder, { recursive: true, force: true });
  }
});

test("a gateway that is told to stop while it starts ends its servers, and says so", async () => {
  const folder = await mkdtemp(join(tmpdir(), "portcullis-crash-"));
  await shareCompiled(folder);
  const servers = [{ name: "deaf", instances: [{ stdio: { command: process.execPath, args: ["-e", SERVER] } }] }];
  await writeFile(join(folder, "portcullis.yaml"), stringify({ ...BASE_CONFIG, servers }));
  const words = [join(root, "src/main.ts"), "serve", "--config", join(folder, "portcullis.yaml")];
  const gateway = spawn(process.execPath, words, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
  let said = "";
  gateway.stderr.setEncoding("utf8").on("data", (text: string) => (said += text));
  const ended = new Promise((settle) => gateway.once("close", settle));
  // among the first things that a start makes
  while (!existsSync(join(folder, "data/keyring.json"))) await sleep(1);
  gateway.kill("SIGTERM");
  const code = await ended;
  const group = await groupIn(folder);
  try {
    expect([code, said]).toEqual([0, expect.stringContaining("is ready") as string]);
    expect(said).toContain("Stopping");
    if (group > 0) await until(() => !runs(group), "the server is gone", 5000);
  } finally {
    if (group > 0 && runs(group)) process.kill(-group, "SIGKILL");
    await rm(folder, { recursive: true, force: true });
  }
});

async function groupIn(folder: string): Promise<number> {
  return Number(await readFile(join(folder, "group"), "utf8").catch(() => "0"));
}

function runs(group: number): boolean {
  try {
    return process.kill(-group, 0);
  } catch {
    return false;
  }
}
