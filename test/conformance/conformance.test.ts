/**
 * Does the gateway speak MCP as the specification's own suite demands, in both of the revisions that it has frozen
 * requirements for? What is not built yet is in the lists beside this file, by scenario or check; the suite fails on
 * what is not listed and fails, and also on what is listed and passes.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { freePort, lacks, requirePart, run, started } from "../support/parts.ts";
import type { Part } from "../support/parts.ts";
import { key, portcullis } from "../support/portcullis.ts";
import type { Portcullis } from "../support/portcullis.ts";

const REVISIONS = ["2025-11-25", "2026-07-28"] as const;
/** These may never be listed as expected failures. */
const REQUIRED = new Set([
  "server-initialize",
  "ping",
  "tools-list",
  "tools-call-simple-text",
  "tools-call-image",
  "tools-call-audio",
  "tools-call-embedded-resource",
  "tools-call-mixed-content",
  "tools-call-error",
  "tools-call-with-progress",
  "dns-rebinding-protection",
]);
/** Not among what 2026-07-28 requires, but among what we do. */
const HEADERS = ["http-header-validation", "http-custom-header-server-validation"];
const guest = key("guest", "guest");
const SUITE_MS = 240_000;

const expectedFile = (revision: string) => join(import.meta.dirname, `expected-failures.${revision}.yml`);

describe.skipIf(lacks("conformance"))("MCP conformance of the transparent path", () => {
  let fixture: Part;
  let gateway: Portcullis;
  beforeAll(async () => {
    const port = await freePort();
    const file = join(import.meta.dirname, "../support/upstreams/fixture.ts");
    fixture = await started(process.execPath, [file, "--port", String(port), "--era", "both"], port);
    gateway = await portcullis({
      config: config(port),
      tools: { key: guest.text, ids: ["fixture__test_simple_text"] },
    });
  });
  afterAll(async () => {
    await gateway.stop();
    await fixture.stop();
  });

  const suite = async (...args: readonly string[]) => {
    const url = `${gateway.url}/mcp/fixture`;
    const command = [requirePart("conformance"), "server", "--url", url, ...args];
    return await run(process.execPath, command, { timeoutMs: SUITE_MS, cwd: gateway.folder });
  };

  test.each(REVISIONS)(
    "what %s requires passes, but for the listed failures",
    async (revision) => {
      const { code, stdout } = await suite("--requirements", revision, "--expected-failures", expectedFile(revision));
      expect(code, stdout).toBe(0);
    },
    SUITE_MS,
  );

  test.each(HEADERS)(
    "%s passes",
    async (scenario) => {
      const { code, stdout } = await suite("--scenario", scenario, "--spec-version", "2026-07-28");
      expect(code, stdout).toBe(0);
      expect(stdout).toMatch(/Passed: [1-9]/);
    },
    SUITE_MS,
  );
});

test.each(REVISIONS)("no failure on tools, ping, initialize or headers is expected of %s", (revision) => {
  const { server } = parse(readFileSync(expectedFile(revision), "utf8")) as { readonly server: readonly string[] };
  expect(server.map((entry) => entry.split(":")[0]).filter((name) => REQUIRED.has(name ?? ""))).toEqual([]);
});

function config(port: number): object {
  return {
    roles: { guest: ["fixture:call"] },
    principals: [{ id: "guest", roles: ["guest"] }],
    auth: { keys: [guest.entry], anonymous: { principal: "guest", paths: ["/mcp/fixture"] } },
    servers: [{ name: "fixture", instances: [{ http: { url: `http://127.0.0.1:${port}/mcp`, allowPrivate: true } }] }],
  };
}
