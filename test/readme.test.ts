/**
 * README is true: its two commands are what `npm` and CI run, and every example in it runs here, word for word but for
 * the address, against the demo configuration as it is shipped.
 */
import { execFile, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { STAGES } from "../src/model.ts";
import { keyEntry, keyOf, startGateway } from "./support/gateway.ts";

const ROOT = resolve(import.meta.dirname, "..");
const run = promisify(execFile);
const readme = await readFile(join(ROOT, "README.md"), "utf8");
const blocks = [...readme.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, text = ""]) => text);
const commands = blocks.filter((block) => block.startsWith("npm ci"));
const examples = blocks.filter((block) => !block.startsWith("npm ci"));

/** What each example must show, in README's order. */
const SHOWS: readonly (readonly RegExp[])[] = [
  [/"name":"files__read_text_file"/, /Portcullis demo folder/],
  [/"code":"forbidden"/, /"executed":"no"/, /an argument is not allowed/],
  [/"result":.*hello/],
  [/"name":"files__read_text_file"/, /input_schema/, /"allowed":false/],
  [
    /"principal":"alice"/,
    /"outcome":"REFUSED"/,
    /refused: forbidden/,
    /FROM +TOOL +OUTCOME +CALLS/,
    /every link holds/,
  ],
  [/compile/, /\d+ of \d+ tests pass/, /100\.0 % .*portcullis\.rego/, /data\.portcullis\.decision/],
  [/added +portcullis\.rego/, /nothing was done/, /In force, as revision 1/, /# portcullis\.rego\n/],
  [/pc_[a-z0-9]+_[0-9a-f]{64}/, /everything/, /everything__echo/, /tools\/call/, /ok +policy/],
  [/Nothing changed/, /Wrote \d+ definitions/, /\d+ definitions are as they were/],
  [/"dryRun":true/, /"path":"roles\/tester","before":null,"after":\["demo:use"\]/],
  [
    /\+ routes\/everything .*"canary":\{"version":"2\.0\.0","percent":10\}/,
    /\+ routes\/everything \{"default":"2\.0\.0","pins":\[\]\}/,
    /- routes\/everything \{"default":"2\.0\.0","pins":\[\]\}\n\+ routes\/everything .*"canary"/,
    /In force, as revision 3/,
  ],
  [/SIDECAR +CONNECTED/, /edge-1 +yes +[0-9a-f]{12} +0 +-/],
  [/"portcullis\.record":"intent"/],
];

let folder: string;
let gateway: ChildProcess;
let address: string;
let admin: string;
let keys: Record<string, string>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "portcullis-readme-"));
  for (const name of ["node_modules", "policies"]) await symlink(join(ROOT, name), join(folder, name));
  await cp(join(ROOT, "demo"), join(folder, "demo"), { recursive: true });
  const demo = await readFile(join(ROOT, "portcullis.yaml"), "utf8");
  await writeFile(join(folder, "portcullis.yaml"), `listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n${demo}`);
  gateway = spawn(process.execPath, [join(ROOT, "bin/portcullis.js"), "serve"], {
    cwd: folder,
    stdio: ["ignore", "ignore", "pipe"],
  });
  const banner = await untilReady(gateway);
  address = /http:\/\/(\S+)\/mcp/.exec(banner)?.[1] ?? "";
  admin = /http:\/\/(\S+)\/trpc/.exec(banner)?.[1] ?? "";
  keys = Object.fromEntries(
    [...banner.matchAll(/(alice|oscar|ada) +(pc_\S+)/g)].map(([, who = "", key = ""]) => [who.toUpperCase(), key]),
  );
  await untilDiscovered();
}, 60_000);

afterAll(async () => {
  gateway.kill("SIGTERM");
  await new Promise((gone) => gateway.once("exit", gone));
  await rm(folder, { recursive: true, force: true });
});

function untilReady(child: ChildProcess): Promise<string> {
  return new Promise((ready, reject) => {
    let text = "";
    child.stderr?.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (/Portcullis is ready/.test(text) && /ada +pc_\S+\n/.test(text)) ready(text);
    });
    child.once("exit", (code) => reject(new Error(`the gateway ended with ${code}: ${text}`)));
  });
}

async function untilDiscovered(): Promise<void> {
  for (let round = 0; round < 200; round++) {
    const response = await fetch(`http://${address}/tools`, { headers: { "x-api-key": keys["ALICE"] ?? "" } });
    const names = JSON.stringify(await response.json());
    if (names.includes("everything__echo") && names.includes("files__read_text_file")) return;
    await new Promise((next) => setTimeout(next, 100));
  }
  throw new Error("the demo's servers were not discovered");
}

describe("README", () => {
  test("names two commands, which are what package.json and CI have", async () => {
    const { scripts } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8")) as {
      scripts: Record<string, string>;
    };
    expect(commands).toEqual(["npm ci && npm start\n", "npm ci && npm test\n"]);
    expect(scripts["start"]).toBe("node bin/portcullis.js serve");
    expect(await readFile(join(ROOT, ".ci/run"), "utf8")).toContain("\nnpm ci && npm test\n");
  });

  test("draws the stages as they are", () => {
    expect(readme).toContain(STAGES.join(" → "));
  });

  test("has as many examples as are known here", () => {
    expect(examples).toHaveLength(SHOWS.length);
  });

  test.each(examples.map((example, index) => [index + 1, example] as const))(
    "example %i shows what it promises",
    async (number, example) => {
      const script = example
        .replaceAll("http://127.0.0.1:8484", `http://${address}`)
        .replaceAll("http://127.0.0.1:8485", `http://${admin}`)
        .replaceAll(/127\.0\.0\.1:849\d/g, "127.0.0.1:0")
        .replaceAll("npx portcullis", `"${process.execPath}" "${join(ROOT, "bin/portcullis.js")}"`);
      const { stdout, stderr } = await run("bash", ["-euo", "pipefail", "-c", script], {
        cwd: folder,
        env: { ...process.env, ...keys },
      });
      for (const shown of SHOWS[number - 1] ?? []) expect(stdout + stderr).toMatch(shown);
      expect(stdout).not.toContain('"code":"internal"');
    },
    60_000,
  );

  test("has no link to a file that is not there", () => {
    const links = [...readme.matchAll(/\]\((?!https?:)([^)#]+)\)/g)].map(([, path = ""]) => path);
    expect(links.filter((path) => !existsSync(join(ROOT, path)))).toEqual([]);
  });

  test("shows a pod that registers where its section lets it", async () => {
    const section = readme.slice(readme.indexOf("Instances may also register themselves"));
    const [, file = ""] = /```yaml\n(.*?)```/s.exec(section) ?? [];
    const [, command = ""] = /```sh skip\n(.*?)```/s.exec(section) ?? [];
    const gateway = await startGateway({
      ...(parse(file) as object),
      roles: { pod: ["instances:register"] },
      principals: [{ id: "pod", kind: "agent", roles: ["pod"] }],
      auth: { keys: [keyEntry("pod")] },
    });
    try {
      const here = command.replace("http://127.0.0.1:8485", `http://${gateway.admin}`);
      const env = { ...process.env, POD_KEY: keyOf("pod") };
      const { stdout } = await run("bash", ["-euo", "pipefail", "-c", here], { env });
      expect(JSON.parse(stdout)).toMatchObject({ result: { data: expect.anything() } });
      expect(gateway.gateway.upstreams.status().map(({ id }) => id)).toContain("files@1.0.0#pod-7");
    } finally {
      await gateway.close();
    }
  });
});
