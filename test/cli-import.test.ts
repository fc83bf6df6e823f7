/** The promise: what a client's file says becomes a valid portcullis.yaml, and no secret of it is printed. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { readConfig } from "../src/config-file.ts";
import { portcullis } from "./cli-io.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "portcullis-import-"));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Imports the text, checks that the result is a configuration file, and gives it unexpanded. */
async function imported(text: string) {
  const source = join(folder, "mcp.json");
  await writeFile(source, text);
  const { code, stdout, stderr } = await portcullis(["servers", "import", source]);
  const target = join(folder, "portcullis.yaml");
  await writeFile(target, stdout);
  if (code === 0) await readConfig(target, anything, { readFile });
  return { code, servers: (parse(stdout) as { servers?: unknown } | null)?.servers, stdout, stderr };
}

/** An environment in which every variable is set. */
const anything = new Proxy({}, { get: () => "https://set.example/" });

describe("a file of Claude Desktop, Claude Code or Cursor", () => {
  const CLAUDE = `{
  "mcpServers": {
    "filesystem": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-filesystem", "/srv/files"]},
    "GitHub Enterprise": {
      "command": "docker",
      "args": ["run", "-i", "--rm", "-e", "GITHUB_TOKEN", "ghcr.io/github/github-mcp-server"],
      "env": {"GITHUB_TOKEN": "ghp_0123456789abcdef0123456789abcdef0123", "LOG_LEVEL": "debug", "PRICE": "5$"}
    },
    "api": {
      "type": "http",
      "url": "\${API_URL:-https://api.example}/mcp",
      "headers": {"Authorization": "Bearer sk-live-abcdefgh", "X-Team": "core", "X-Trace": "\${TRACE}"}
    },
    "db": {"command": "db-server", "args": ["--dsn", "postgresql://app:hunter2hunter2@db/prod", "--api-key=topsecret1", "--verbose", "redis://:hunter2hunter2@r"]},
    "old": {"type": "sse", "url": "http://localhost:3001/sse"},
    "off": {"command": "x", "disabled": true},
    "github-enterprise": {"url": "https://two.example/mcp?token=hunter2hunter2"}
  }
}`;

  test("becomes servers with the same commands, urls and variables", async () => {
    const { code, servers } = await imported(CLAUDE);
    expect(code).toBe(0);
    expect(servers).toEqual([
      {
        name: "filesystem",
        instances: [
          { stdio: { command: "npx", args: ["-y", "@modelcontextprotocol/server-filesystem", "/srv/files"] } },
        ],
        permissions: ["filesystem:call"],
      },
      {
        name: "github-enterprise",
        instances: [
          {
            stdio: {
              command: "docker",
              args: ["run", "-i", "--rm", "-e", "GITHUB_TOKEN", "ghcr.io/github/github-mcp-server"],
              env: { GITHUB_TOKEN: "${GITHUB_TOKEN}", LOG_LEVEL: "debug", PRICE: "5$$" },
            },
          },
        ],
        permissions: ["github-enterprise:call"],
      },
      {
        name: "api",
        instances: [
          {
            http: {
              url: "${API_URL:-https://api.example}/mcp",
              headers: { Authorization: "Bearer ${API_TOKEN}", "X-Team": "core", "X-Trace": "${TRACE}" },
            },
          },
        ],
        permissions: ["api:call"],
      },
      {
        name: "db",
        instances: [
          {
            stdio: {
              command: "db-server",
              args: ["--dsn", "${DB_DSN}", "--api-key=${DB_API_KEY}", "--verbose", "${DB_URL}"],
            },
          },
        ],
        permissions: ["db:call"],
      },
      {
        name: "old",
        instances: [{ http: { url: "http://localhost:3001/sse", allowPrivate: true } }],
        permissions: ["old:call"],
      },
      {
        name: "github-enterprise-2",
        instances: [{ http: { url: "${GITHUB_ENTERPRISE_2_URL}" } }],
        permissions: ["github-enterprise-2:call"],
      },
    ]);
  });

  test("is printed without any of its secrets, and each has a note that names its variable", async () => {
    const { stdout, stderr } = await imported(CLAUDE);
    expect(stdout + stderr).not.toMatch(/ghp_|sk-live|hunter2|topsecret/);
    for (const variable of ["GITHUB_TOKEN", "API_TOKEN", "DB_DSN", "DB_API_KEY", "GITHUB_ENTERPRISE_2_URL"]) {
      expect(stderr).toContain(`set ${variable} in the gateway's environment`);
    }
    expect(stderr).toContain('github-enterprise: was called "GitHub Enterprise"');
    expect(stderr).toContain("old: was an SSE server");
    expect(stderr).toContain("old: is dialled at a private address");
    expect(stderr).toContain("left out");
  });
});

describe("a file of VS Code", () => {
  const VSCODE = `\ufeff{
  // the team's servers
  "inputs": [{"type": "promptString", "id": "jira-token", "description": "Jira", "password": true}],
  "servers": {
    "jira": {
      "type": "http",
      "url": "https://jira.example/mcp", /* not // a comment: "https://…" */
      "headers": {"Authorization": "Bearer \${input:jira-token}"},
    },
    "local": {
      "type": "stdio",
      "command": "node",
      "args": ["\${workspaceFolder}/server.js", "--home", "\${userHome}", "--note", "a // b, }"],
      "env": {"REGION": "\${env:AWS_REGION}"},
      "envFile": "\${workspaceFolder}/.env",
    },
  },
}`;

  test("is read with its comments and trailing commas, its variables translated", async () => {
    const { code, servers, stderr } = await imported(VSCODE);
    expect(code).toBe(0);
    expect(servers).toEqual([
      {
        name: "jira",
        instances: [{ http: { url: "https://jira.example/mcp", headers: { Authorization: "Bearer ${JIRA_TOKEN}" } } }],
        permissions: ["jira:call"],
      },
      {
        name: "local",
        instances: [
          {
            stdio: {
              command: "node",
              args: ["./server.js", "--home", "${HOME}", "--note", "a // b, }"],
              env: { REGION: "${AWS_REGION}" },
            },
          },
        ],
        permissions: ["local:call"],
      },
    ]);
    expect(stderr).toContain('asked its user for "jira-token": set JIRA_TOKEN');
    expect(stderr).toContain("envFile is not read");
  });

  test("settings.json holds the same below mcp", async () => {
    const { servers } = await imported('{"mcp": {"servers": {"a": {"command": "a"}}}}');
    expect(servers).toEqual([{ name: "a", instances: [{ stdio: { command: "a" } }], permissions: ["a:call"] }]);
  });
});

test("a file of Windsurf names its remote servers serverUrl", async () => {
  const { servers } = await imported('{"mcpServers": {"3D model": {"serverUrl": "https://a.example/mcp"}}}');
  expect(servers).toEqual([
    { name: "d-model", instances: [{ http: { url: "https://a.example/mcp" } }], permissions: ["d-model:call"] },
  ]);
});

describe("what is no such file", () => {
  test.each([
    ['{"servers": [', "not valid JSON", 2],
    ['{"a": 1, "a": 2}', "duplicate key", 2],
    ["[]", "expected a JSON object", 2],
    ['{"tools": {}}', "expected an object mcpServers", 2],
    ['{"mcpServers": {"a": {"disabled": true, "command": "x"}, "b": 5}}', "no server that could be imported", 1],
  ])("%j is refused: %s", async (text, told, expected) => {
    const { code, stdout, stderr } = await imported(text);
    expect({ code, stdout }).toEqual({ code: expected, stdout: "" });
    expect(stderr).toContain(told);
  });

  test("as is one that does not exist", async () => {
    const { code, stderr } = await portcullis(["servers", "import", join(folder, "none")]);
    expect({ code, stderr }).toEqual({ code: 2, stderr: `${join(folder, "none")}: no such file\n` });
  });
});
