/** The promise: a file that changes is in force a moment later, also where it changes as soon as the gateway is ready. */
import { appendFile } from "node:fs/promises";
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
