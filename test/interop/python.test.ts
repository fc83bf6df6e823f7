/**
 * Do real clients get through? The python SDK 1.x (2025-11-25, sessions) and 2.x (2026-07-28, stateless) list and call
 * tools of a legacy server and of a modern one through the gateway, and are refused what policy refuses.
 */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { lacks, requirePart, run } from "../support/parts.ts";
import { key, portcullis } from "../support/portcullis.ts";
import type { Portcullis } from "../support/portcullis.ts";

const V1 = { part: "python-mcp1", script: "client_mcp1.py" } as const;
const V2 = { part: "python-mcp2", script: "client_mcp2.py" } as const;
const PINNED = { client: "python mcp 2.x, pinned", ...V2, mode: "2026-07-28", protocol: "2026-07-28" };
const CLIENTS = [
  { client: "python mcp 1.x", ...V1, mode: "legacy", protocol: "2025-11-25" },
  { client: "python mcp 2.x", ...V2, mode: "auto", protocol: "2026-07-28" },
  { client: "python mcp 2.x, legacy", ...V2, mode: "legacy", protocol: "2025-11-25" },
  ...(process.env["FULL"] === "1" ? [PINNED] : []),
];
const alice = key("alice", "alice");
const CONVERT = { source_timezone: "Europe/Paris", time: "12:30", target_timezone: "Asia/Tokyo" };
const LONG = { duration: 1, steps: 4 };

type Content = { readonly type: string; readonly text?: string };
type Call = {
  readonly result?: {
    readonly content: readonly Content[];
    readonly isError?: boolean;
    readonly _meta?: object;
    readonly structuredContent?: object;
  };
  readonly error?: { readonly code: number; readonly message: string };
  readonly progress: readonly (readonly [number, number | null])[];
};
type Said = {
  readonly protocol: string;
  readonly tools: readonly { readonly name: string }[];
  readonly calls: readonly Call[];
};

describe.skipIf(lacks("python-mcp1", "python-mcp2", "mcp-server-time"))("through the gateway", () => {
  let gateway: Portcullis;
  beforeAll(async () => {
    gateway = await portcullis({
      config: config(),
      tools: { key: alice.text, ids: ["everything__echo", "time__convert_time"] },
    });
  });
  afterAll(async () => await gateway.stop());

  describe.each(CLIENTS)("$client", ({ part, script, mode, protocol }) => {
    const ask = async (path: string, calls: readonly object[]): Promise<Said> => {
      const input = JSON.stringify({ url: `${gateway.url}${path}`, key: alice.text, mode, calls });
      const { code, stdout, stderr } = await run(requirePart(part), [join(import.meta.dirname, script)], { input });
      expect(code, stderr).toBe(0);
      return JSON.parse(stdout) as Said;
    };

    test("lists and calls tools of both servers at /mcp, and is refused what policy refuses", async () => {
      const said = await ask("/mcp", [
        { name: "everything__echo", arguments: { message: "hello" } },
        { name: "time__convert_time", arguments: CONVERT },
        { name: "everything__get-env", arguments: {} },
        { name: "everything__no_such_tool", arguments: {} },
      ]);
      expect(said.protocol).toBe(protocol);
      const names = said.tools.map(({ name }) => name);
      expect(names).toEqual(
        expect.arrayContaining(["everything__echo", "time__convert_time", "time__get_current_time"]),
      );
      expect(names).not.toContain("everything__get-env");
      const [echo, time, denied, unknown] = said.calls;
      expect(echo?.result?.content[0]?.text).toContain("hello");
      expect(time?.result?.isError ?? false).toBe(false);
      expect(time?.result?.structuredContent).toMatchObject({ target: { timezone: "Asia/Tokyo" } });
      expect(denied?.result).toMatchObject({ isError: true, _meta: { "portcullis/refusal": refusal("forbidden") } });
      expect(unknown?.error?.code).toBe(-32602);
    });

    test("sees a legacy server's own names at its own path, with progress", async () => {
      const said = await ask("/mcp/everything", [
        { name: "echo", arguments: { message: "hello" } },
        { name: "trigger-long-running-operation", arguments: LONG },
        { name: "get-env", arguments: {} },
      ]);
      const names = said.tools.map(({ name }) => name);
      expect(names).toEqual(expect.arrayContaining(["echo", "get-sum", "trigger-long-running-operation"]));
      expect(names).not.toContain("get-env");
      const [echo, long, denied] = said.calls;
      expect(echo?.result?.content[0]?.text).toContain("hello");
      expect(long?.result?.isError ?? false).toBe(false);
      expect(long?.progress.at(-1)?.[0]).toBe(LONG.steps);
      expect(denied?.result).toMatchObject({ isError: true, _meta: { "portcullis/refusal": refusal("forbidden") } });
    });

    test("sees a modern server's own names at its own path, and what it says of bad arguments", async () => {
      const said = await ask("/mcp/time", [
        { name: "convert_time", arguments: CONVERT },
        { name: "convert_time", arguments: { ...CONVERT, target_timezone: "Mars/Olympus" } },
        { name: "convert_time", arguments: { time: 7 } },
      ]);
      expect(said.tools.map(({ name }) => name).toSorted()).toEqual(["convert_time", "get_current_time"]);
      const [good, theirs, ours] = said.calls;
      expect(good?.result?.structuredContent).toMatchObject({ target: { timezone: "Asia/Tokyo" } });
      expect(theirs?.result).toMatchObject({ isError: true });
      expect(theirs?.result?.content[0]?.text).toContain("Mars/Olympus");
      expect(ours?.result).toMatchObject({
        isError: true,
        _meta: { "portcullis/refusal": refusal("invalid_arguments") },
      });
    });
  });

  test("a client with a wrong key gets nothing", async () => {
    for (const { part, script, mode } of CLIENTS) {
      const input = JSON.stringify({ url: `${gateway.url}/mcp`, key: `${alice.text.slice(0, -1)}x`, mode, calls: [] });
      const { code, stdout, stderr } = await run(requirePart(part), [join(import.meta.dirname, script)], { input });
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toMatch(/401|No valid credential/);
    }
  });
});

function refusal(code: string): object {
  return { code, executed: "no", retryable: false, callId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string };
}

function config(): object {
  const everything = ["node_modules/@modelcontextprotocol/server-everything/dist/index.js", "stdio"];
  const time = requirePart("mcp-server-time");
  return {
    roles: { analyst: ["demo:use"] },
    principals: [{ id: "alice", roles: ["analyst"] }],
    auth: { keys: [alice.entry] },
    servers: [
      {
        name: "everything",
        permissions: ["demo:use"],
        instances: [{ stdio: { command: process.execPath, args: everything } }],
        tools: { "get-env": { permissions: ["env:read"] } },
      },
      {
        name: "time",
        permissions: ["demo:use"],
        instances: [{ stdio: { command: time, args: ["--local-timezone", "Etc/UTC"] } }],
      },
    ],
  };
}
