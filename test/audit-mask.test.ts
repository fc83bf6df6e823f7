/** What a record never holds: secrets, more than its bound, or anything that acts on who reads it. */
import { createHmac } from "node:crypto";
import { describe, expect, test } from "vitest";
import { maskedJson, maskedText } from "../src/audit/mask.ts";
import { audited, record } from "../src/audit/record.ts";
import { parseSpan } from "../src/audit/span.ts";
import type { CallRequest, JsonObject } from "../src/model.ts";
import { Refusal } from "../src/refusal.ts";
import {
  KEY,
  admit,
  alice,
  allowed,
  asked,
  auditing,
  callOnce,
  lines,
  portsAhead,
  records,
  refuse,
  tool,
  unauthenticated,
} from "./audit-parts.ts";

test("a hidden value that reaches over the cut is hidden", () => {
  const secret = Array.from({ length: 600 }, (_, at) => String.fromCharCode(97 + ((at * 7) % 26))).join("");
  expect(maskedText(`The server cannot use ${secret}`, 250, [secret])).toBe("The server cannot use ***");
  const long = "x".repeat(1_500) + secret;
  expect(maskedJson({ long }, { shapes: false, hidden: [secret] })).not.toContain(secret.slice(0, 30));
});

describe("arguments", () => {
  const kept = async (args: JsonObject, mode: Parameters<typeof tool>[0], mask: readonly string[] = []) => {
    const room = await auditing();
    await audited(room, asked(), "tools/call", async (call) => {
      admit(call, args, tool(mode), allowed(mask));
      await record(room.audit, call);
      return {};
    });
    const [intent, outcome] = await records(room.directory);
    expect(outcome?.["gen_ai.tool.call.arguments"]).toEqual(intent?.["gen_ai.tool.call.arguments"]);
    return intent ?? {};
  };
  const secrets = {
    password: "hunter2",
    nested: { "X-Api-Key": "abc", list: [{ accessToken: 12345 }] },
    header: "Authorization: Bearer abcdefghijkl",
    jwt: "see eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln ok",
    aws: "AKIAIOSFODNN7EXAMPLE",
    key: "mine is pc_k7f3_0123456789abcdef01",
    url: "https://joe:s3cr3t@db.example/x?token=t0ps3cr3t&a=1",
    path: "/tmp/a",
  };
  const plain = ["hunter2", "abc", "12345", "abcdefghijkl", "eyJ", "AKIA", "0123456789abcdef", "s3cr3t", "t0ps3cr3t"];

  test.each(["policy", "masked"] as const)(
    "%s: what looks like a secret is masked by its key and by its form",
    async (mode) => {
      const text = String((await kept(secrets, mode))["gen_ai.tool.call.arguments"]);
      for (const secret of plain) expect(text).not.toContain(secret);
      expect(JSON.parse(text)).toMatchObject({
        password: "***",
        nested: { "X-Api-Key": "***", list: [{ accessToken: "***" }] },
        path: "/tmp/a",
      });
      expect(text).toContain("db.example");
    },
  );

  test("full: kept as they are, but for policy's pointers and our own keys", async () => {
    const text = String(
      (await kept(secrets, "full", ["/arguments/nested/list/0", "/arguments/a~1b", "/principal/id"]))[
        "gen_ai.tool.call.arguments"
      ],
    );
    expect(JSON.parse(text)).toEqual({ ...secrets, nested: { "X-Api-Key": "abc", list: ["***"] }, key: "mine is ***" });
  });

  test.each(["policy", "masked", "full"] as const)("%s: policy's pointers are masked", async (mode) => {
    const args = { "a/b": { "c~d": 1 }, keep: 2 };
    const text = String((await kept(args, mode, ["/arguments/a~1b/c~0d"]))["gen_ai.tool.call.arguments"]);
    expect(JSON.parse(text)).toEqual({ "a/b": { "c~d": "***" }, keep: 2 });
    expect((await kept(args, mode, ["/arguments"]))["gen_ai.tool.call.arguments"]).toBe('"***"');
    expect((await kept(args, mode, ["arguments.keep"]))["gen_ai.tool.call.arguments"]).toBe('"***"');
  });

  test("digest: only the keyed digest, which confirms a guess", async () => {
    const one = await kept(secrets, "digest");
    expect(one).not.toHaveProperty("gen_ai.tool.call.arguments");
    expect(one["portcullis.arguments.digest"]).toBe(
      createHmac("sha256", KEY).update(JSON.stringify(secrets)).digest("hex"),
    );
    const big = { text: "ü€".repeat(50_000) };
    expect((await kept(big, "digest"))["portcullis.arguments.digest"]).toBe(
      createHmac("sha256", KEY).update(JSON.stringify(big)).digest("hex"),
    );
  });

  test("off: nothing of them", async () => {
    const text = JSON.stringify(await kept(secrets, "off"));
    expect(text).not.toContain("arguments");
  });

  test("before policy has said what to mask, only the digest is kept", async () => {
    const room = await auditing();
    await refuse(room, new Refusal("policy_unavailable", "No policy."), {}, (call) => {
      admit(call, secrets, tool("full"));
      call.decision = null;
    });
    const [one] = await records(room.directory);
    expect(one).toHaveProperty("portcullis.arguments.digest");
    expect(one).not.toHaveProperty("gen_ai.tool.call.arguments");
  });

  test.each([
    ["a long string", { text: "x".repeat(100_000) }],
    ["many members", Object.fromEntries(Array.from({ length: 10_000 }, (_, at) => [`k${at}`, at]))],
    ["many items", { list: Array.from({ length: 10_000 }, () => "üüü") }],
    ["long keys", { ["k".repeat(50_000)]: 1, b: 2 }],
    ["escapes", { text: '"\\\n\u0001'.repeat(5_000) }],
    ["four-byte characters", { text: "😀".repeat(5_000) }],
    ["depth", JSON.parse(`${'{"a":['.repeat(30)}"${"x".repeat(3_000)}"${",1]}".repeat(30)}`) as JsonObject],
  ])("%s is cut to 1,900 bytes of valid JSON and marked", async (_, args) => {
    const text = String((await kept(args, "masked"))["gen_ai.tool.call.arguments"]);
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(1_900);
    expect(() => JSON.parse(text) as unknown).not.toThrow();
    expect(text).toContain("…");
  });

  test("a secret across the cut is not half kept", async () => {
    for (let before = 1_600; before < 1_720; before += 5) {
      const secret = `pc_k7f3_${"ab".repeat(32)}`;
      const one = await kept({ text: `${"x".repeat(before)} ${secret}` }, "masked");
      expect(String(one["gen_ai.tool.call.arguments"])).not.toMatch(/pc_k7f3_[ab]/);
    }
  });
});

describe("what comes from outside", () => {
  test("names are bounded and cannot move a terminal's cursor", async () => {
    const room = await auditing();
    const name = `\u001b[2J\u202e${"n".repeat(1_000)}`;
    const request: CallRequest = {
      ...asked({ protocol: "x".repeat(999) }),
      tool: { kind: "name", name, version: null },
      arguments: {},
      meta: null,
      onProgress: null,
    };
    await audited(room, request, "tools/call", async (call) => {
      call.principal = alice;
      throw new Refusal("tool_not_found", "No such tool.");
    });
    const [line = ""] = await lines(room.directory);
    expect(line).toMatch(/^[ -~]+$/);
    const [one = {}] = await records(room.directory);
    expect(String(one["gen_ai.tool.name"])).toMatch(/^\\u001b\[2J\\u202en+…$/);
    expect(String(one["mcp.protocol.version"])).toHaveLength(256);
    expect(parseSpan(line)?.name).toBe("tools/call");
  });

  test("neither a credential nor an upstream's address is in any record or log line", async () => {
    const logged: unknown[] = [];
    const keep = (...line: readonly unknown[]) => void logged.push(line);
    const room = await auditing({}, portsAhead({ info: keep, warn: keep, error: keep }).ports);
    const cause = Object.assign(new Error("connect ECONNREFUSED 10.1.2.3:80"), { code: "ECONNREFUSED" });
    await refuse(room, unauthenticated());
    await refuse(
      room,
      new Refusal("upstream_unavailable", "No healthy instance.", { cause }),
      {},
      (call) => void (call.principal = alice),
    );
    await callOnce(room);
    const text = JSON.stringify([logged, await lines(room.directory)]);
    expect(text).not.toContain("pc_k7f3");
    expect(text).not.toContain("10.1.2.3");
    expect(text).toContain("No healthy instance. (ECONNREFUSED)");
  });
});
