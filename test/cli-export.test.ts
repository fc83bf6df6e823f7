/**
 * The promise: what `servers export` prints, a client can read and `servers import` takes back as it was, and no secret is in
 * it; of what the gateway alone knows, it says what is left out.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { parse } from "yaml";
import { portcullis } from "./cli-io.ts";
import { BASE_CONFIG, keyEntry, keyOf, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { adminOf } from "./support/planes.ts";

const NODE = { command: "node", args: ["-e", "process.exit()"] };
const SERVERS = [
  {
    name: "files",
    version: "1.0.0",
    default: true,
    instances: [
      {
        stdio: {
          ...NODE,
          args: [...NODE.args, "--api-key=hunter2hunter2", "5$$"],
          env: { FILES_TOKEN: "${FILES_TOKEN}", PLAIN: "wrapped", LOG_LEVEL: "debug" },
        },
        weight: 0,
      },
    ],
  },
  { name: "files", version: "2.0.0", instances: [{ stdio: NODE }, { stdio: NODE, name: "spare" }] },
  {
    name: "web",
    permissions: ["demo:use"],
    tools: { search: { cost: 2 } },
    instances: [
      {
        http: {
          url: "https://web.example/mcp?key=hunter2hunter2",
          headers: { Authorization: "Bearer ${WEB_TOKEN:-hunter2hunter2}", "X-Team": "hunter2" },
        },
      },
    ],
  },
];

let gateway: TestGateway;
beforeEach(async () => {
  gateway = await startGateway(
    {
      servers: SERVERS,
      principals: [...BASE_CONFIG.principals, { id: "reader", roles: ["reader"] }],
      roles: { ...BASE_CONFIG.roles, reader: ["config:read"] },
      auth: { keys: [...BASE_CONFIG.auth.keys, keyEntry("reader")] },
    },
    { env: { FILES_TOKEN: "hunter2hunter2" } },
  );
  await adminOf(gateway).servers.put.mutate({
    server: { name: "added", version: "1.0.0", instances: [{ http: { url: "https://added.example/mcp" } }] },
  });
});
afterEach(() => gateway.close());

const cli = (...words: readonly string[]) =>
  portcullis(["servers", ...words, "--config", gateway.configFile], {
    cwd: gateway.folder,
    env: { PORTCULLIS_KEY: keyOf("reader") },
  });

test("as a client's file: one entry for each version, references instead of secrets, and it is imported as it was", async () => {
  const { code, stdout, stderr } = await cli("export");
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual({
    mcpServers: {
      files: {
        ...NODE,
        args: [...NODE.args, "--api-key=${FILES_API_KEY}", "5$"],
        env: { FILES_TOKEN: "${FILES_TOKEN}", PLAIN: "${PLAIN}", LOG_LEVEL: "debug" },
      },
      "files@2.0.0": NODE,
      web: {
        type: "http",
        url: "${WEB_URL}",
        headers: { Authorization: "Bearer ${WEB_TOKEN}", "X-Team": "${WEB_X_TEAM}" },
      },
      added: { type: "http", url: "https://added.example/mcp" },
    },
  });
  expect(stdout + stderr).not.toMatch(/hunter2|wrapped/);
  expect(stderr).toContain("note: files@2.0.0: the first of 2 instances stands for all");
  for (const variable of ["PLAIN", "FILES_API_KEY", "WEB_URL", "WEB_X_TEAM"]) expect(stderr).toContain(variable);
  const file = join(gateway.folder, "mcp.json");
  await writeFile(file, stdout);
  const imported = await cli("import", file);
  const { servers } = parse(imported.stdout) as { servers: readonly { name: string; instances: unknown }[] };
  expect(Object.fromEntries(servers.map(({ name, instances }) => [name, instances]))).toEqual({
    files: [
      {
        stdio: {
          ...NODE,
          args: [...NODE.args, "--api-key=${FILES_API_KEY}", "5$$"],
          env: { FILES_TOKEN: "${FILES_TOKEN}", PLAIN: "${PLAIN}", LOG_LEVEL: "debug" },
        },
      },
    ],
    "files-2-0-0": [{ stdio: NODE }],
    web: [
      { http: { url: "${WEB_URL}", headers: { Authorization: "Bearer ${WEB_TOKEN}", "X-Team": "${WEB_X_TEAM}" } } },
    ],
    added: [{ http: { url: "https://added.example/mcp" } }],
  });
});

test("as YAML: the file's servers as they are written, those of changes too, and a gateway starts with it", async () => {
  const { code, stdout, stderr } = await cli("export", "--format", "yaml");
  expect([code, /hunter2|wrapped/.test(stdout + stderr)]).toEqual([0, false]);
  const { servers } = parse(stdout) as { servers: readonly object[] };
  expect(servers[1]).toEqual(SERVERS[1]);
  expect(servers[2]).toMatchObject({ permissions: ["demo:use"], tools: { search: { cost: 2 } } });
  const variables = ["FILES_TOKEN", "PLAIN", "FILES_API_KEY", "WEB_TOKEN", "WEB_X_TEAM"];
  const env = { ...Object.fromEntries(variables.map((name) => [name, "x"])), WEB_URL: "https://web.example/mcp" };
  const again = await startGateway({ servers }, { env });
  const versions = [...again.gateway.snapshot().servers].map(([name, one]) => [name, [...one.versions.keys()]]);
  await again.close();
  expect(versions).toEqual([
    ["files", ["1.0.0", "2.0.0"]],
    ["web", ["1.0.0"]],
    ["added", ["1.0.0"]],
  ]);
});

test("from elsewhere: how a process is run is not told, and that is said", async () => {
  const { code, stdout, stderr } = await cli("export", "--url", `http://${gateway.admin}`);
  expect(code).toBe(0);
  expect(JSON.parse(stdout)).toEqual({
    mcpServers: {
      web: {
        type: "http",
        url: "${WEB_URL}",
        headers: { Authorization: "${WEB_AUTHORIZATION}", "X-Team": "${WEB_X_TEAM}" },
      },
      added: { type: "http", url: "https://added.example/mcp" },
    },
  });
  expect(stderr).toContain("files@1.0.0: left out");
});

test("what it cannot do it says", async () => {
  expect(await cli("export", "--format", "xml")).toMatchObject({ code: 2, stdout: "" });
  await gateway.stop();
  expect(await cli("export")).toMatchObject({ code: 1, stdout: "" });
});
