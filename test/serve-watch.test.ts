/** The promise: a file that changes is in force a moment later, also where it changes as soon as the gateway is ready. */
import { appendFile, cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { portcullis } from "./support/portcullis.ts";

test("a configuration that is written as soon as the gateway is ready takes the place of the other one", async () => {
  const gateway = await portcullis({ config: { policies: resolve(import.meta.dirname, "../policies") } });
  try {
    await appendFile(join(gateway.folder, "portcullis.yaml"), "\ndrain: 3s\n");
    await expect.poll(gateway.output).toContain("reloaded");
  } finally {
    await gateway.stop();
  }
});

const imported = (text: string): { readonly NODE_OPTIONS: string } => ({
  NODE_OPTIONS: `--import=data:text/javascript,${encodeURIComponent(text)}`,
});

/** The configuration changes just before anybody looks at it for the first time. */
const LATE = `
import { appendFileSync } from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
const { stat } = fs;
let late = false;
fs.stat = async (path, ...rest) => {
  if (!late && String(path).endsWith("portcullis.yaml")) appendFileSync(path, "\\ndrain: 3s\\n");
  late ||= String(path).endsWith("portcullis.yaml");
  return stat(path, ...rest);
};
syncBuiltinESMExports();
`;

test("one that is written while the gateway starts does so too", async () => {
  const gateway = await portcullis({
    config: { policies: resolve(import.meta.dirname, "../policies") },
    env: imported(LATE),
  });
  try {
    await expect.poll(gateway.output).toContain("reloaded");
  } finally {
    await gateway.stop();
  }
});

/** Reading a folder fails where this stands in it, as it does for want of file descriptors. */
const FAILING = `
import { existsSync } from "node:fs";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
const { readdir } = fs;
fs.readdir = async (path, ...rest) => {
  if (existsSync(path + "/unreadable")) throw Object.assign(new Error("too many open files"), { code: "EMFILE" });
  return readdir(path, ...rest);
};
syncBuiltinESMExports();
`;

test("a folder of policies that cannot be read for a while stops nothing", async () => {
  const folder = await mkdtemp(join(tmpdir(), "portcullis-watch-"));
  const policies = join(folder, "policies");
  await cp(resolve(import.meta.dirname, "../policies"), policies, { recursive: true });
  const gateway = await portcullis({ config: { policies }, env: imported(FAILING) });
  try {
    await appendFile(join(policies, "unreadable"), "");
    await expect.poll(gateway.output).toContain("too many open files");
    await rm(join(policies, "unreadable"));
    await expect.poll(gateway.output).toContain("reloaded");
  } finally {
    await gateway.stop();
    await rm(folder, { recursive: true });
  }
});
