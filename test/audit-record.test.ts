/** What a record says, when one is written, and what it never says. */
import { createHmac } from "node:crypto";
import { describe, expect, test } from "vitest";
import { audited, record } from "../src/audit/record.ts";
import { parseSpan } from "../src/audit/span.ts";
import type { Asked, Call, CallRequest, JsonObject } from "../src/model.ts";
import type { Log } from "../src/ports.ts";
import { Refusal } from "../src/refusal.ts";
import {
  KEY,
  admit,
  alice,
  allowed,
  asked,
  auditing,
  callOnce,
  faultyDisk,
  lines,
  portsAhead,
  records,
  tool,
} from "./audit-parts.ts";
import type { Auditing } from "./audit-parts.ts";

const refuse = (
  room: Auditing,
  refusal: Refusal,
  from: Partial<Asked> = {},
  prepare: (call: Call) => void = () => {},
) =>
  audited(room, asked(from), "tools/call", async (call) => {
    prepare(call);
    throw refusal;
  });
const forbidden = () => new Refusal("forbidden", "Policy does not allow this.");
const unauthenticated = () => new Refusal("unauthenticated", "No or unknown credential.");

describe("when a record is written", () => {
  test("a call has an intent before its work goes on and an outcome before it is answered", async () => {
    const room = await auditing();
    let written = 0;
    await audited(room, asked(), "tools/call", async (call) => {
      admit(call);
      await record(room.audit, call);
      written = (await lines(room.directory)).length;
      return {};
    });
    expect(written).toBe(1);
    expect((await records(room.directory)).map((one) => one["portcullis.record"])).toEqual(["intent", "outcome"]);
  });

  test("a refusal of somebody known is one record", async () => {
    const room = await auditing();
    const outcome = await refuse(room, forbidden(), {}, (call) => void (call.principal = alice));
    expect(outcome).toMatchObject({ ok: false, refusal: { code: "forbidden" } });
    expect(await records(room.directory)).toMatchObject([
      {
        "portcullis.record": "refusal",
        "portcullis.outcome": "refused",
        "error.type": "forbidden",
        "portcullis.executed": "no",
      },
    ]);
  });

  test("a refusal after the intent is that call's outcome, an error", async () => {
    const room = await auditing();
    const outcome = await audited(room, asked(), "tools/call", async (call) => {
      admit(call);
      await record(room.audit, call);
      call.executed = "unknown";
      throw new Refusal("upstream_timeout", "The server did not answer in time.");
    });
    expect(outcome).toMatchObject({ ok: false, refusal: { code: "upstream_timeout" } });
    expect((await records(room.directory))[1]).toMatchObject({
      "portcullis.record": "outcome",
      "portcullis.outcome": "error",
      "error.type": "upstream_timeout",
      "portcullis.executed": "unknown",
    });
  });

  test("a view that succeeds writes nothing, one that is refused is recorded", async () => {
    const room = await auditing();
    const seen = await audited(room, asked(), "tools/list", async () => ["a"]);
    expect(seen).toMatchObject({ ok: true, value: ["a"] });
    expect(await lines(room.directory)).toEqual([]);
    await audited(room, asked(), "calls/read", async (call) => {
      call.principal = alice;
      throw forbidden();
    });
    expect(await records(room.directory)).toMatchObject([
      { "portcullis.operation": "calls/read", "error.type": "forbidden" },
    ]);
  });

  test("a change is recorded with what was and what is", async () => {
    const room = await auditing();
    await audited(room, asked({ interface: "trpc" }), "keys/issue", async (call) => {
      call.principal = alice;
      call.target = { kind: "change", name: "keys/k1" };
      call.change = { before: null, after: { id: "k1", secret: "pc_k1_00112233445566778899aabb" } };
      return "done";
    });
    expect(await records(room.directory)).toMatchObject([
      {
        "portcullis.record": "outcome",
        "portcullis.target": "keys/k1",
        "portcullis.change": '{"before":null,"after":{"id":"k1","secret":"***"}}',
      },
    ]);
  });

  test("what a tool calls an error, and an upstream's own error, are told apart", async () => {
    const room = await auditing();
    await audited(room, asked(), "tools/call", async () => ({ kind: "result", result: { isError: true } }));
    await audited(room, asked(), "tools/call", async () => ({
      kind: "error",
      error: { code: -32050, message: "no pc_k1_00112233445566778899aabb" },
    }));
    expect((await records(room.directory)).map((one) => one["error.type"])).toEqual(["tool_error", "-32050"]);
    expect(parseSpan((await lines(room.directory))[1] ?? "")?.statusMessage).toBe("no ***");
  });
});

describe("when a record cannot be written", () => {
  test("without an intent nothing is called", async () => {
    const { disk, faults } = faultyDisk();
    const room = await auditing({ disk });
    faults.write = "ENOSPC";
    let called = false;
    const outcome = await audited(room, asked(), "tools/call", async (call) => {
      admit(call);
      await record(room.audit, call);
      called = true;
      return {};
    });
    expect(called).toBe(false);
    expect(outcome).toMatchObject({
      ok: false,
      call: { executed: "no", recorded: false },
      refusal: { code: "audit_unavailable" },
    });
  });

  test("without an outcome the answer is withheld and says that the call was executed", async () => {
    const { disk, faults } = faultyDisk();
    const room = await auditing({ disk });
    const outcome = await audited(room, asked(), "tools/call", async (call) => {
      admit(call);
      await record(room.audit, call);
      call.executed = "yes";
      faults.write = "EIO";
      return "secret result";
    });
    expect(outcome).toMatchObject({ ok: false, call: { executed: "yes" }, refusal: { code: "audit_unavailable" } });
    expect(outcome).not.toHaveProperty("value");
  });

  test("even a refusal is not given unrecorded", async () => {
    const { disk, faults } = faultyDisk();
    const room = await auditing({ disk });
    faults.write = "EIO";
    expect(await refuse(room, forbidden(), {}, (call) => void (call.principal = alice))).toMatchObject({
      refusal: { code: "audit_unavailable" },
    });
    expect(await refuse(room, unauthenticated())).toMatchObject({ refusal: { code: "audit_unavailable" } });
  });
});

describe("what is thrown", () => {
  test("a bug is `internal` outside and its cause is in the log alone", async () => {
    const logged: object[] = [];
    const log: Log = { info: () => {}, warn: () => {}, error: (fields) => void logged.push(fields) };
    const room = await auditing({}, portsAhead(log).ports);
    const bug = new Error("at /srv/secret.ts");
    const outcome = await audited(room, asked(), "tools/call", async (call) => {
      call.principal = alice;
      throw bug;
    });
    expect(outcome).toMatchObject({ refusal: { code: "internal", message: "The gateway failed." } });
    expect(logged).toMatchObject([{ callId: outcome.call.id, err: bug }]);
    expect((await lines(room.directory)).join()).not.toContain("/srv/secret.ts");
  });

  test("an abort of the caller's is `cancelled`", async () => {
    const room = await auditing();
    const gone = new AbortController();
    const outcome = await audited(room, asked({ signal: gone.signal }), "tools/call", async (call) => {
      call.principal = alice;
      gone.abort();
      throw gone.signal.reason;
    });
    expect(outcome).toMatchObject({ refusal: { code: "cancelled" } });
  });
});

describe("strangers", () => {
  test("identical refusals of one address become two records: the first, and a count of the others", async () => {
    const room = await auditing({ foldIntervalMs: 20 });
    for (let turn = 0; turn < 50; turn++) {
      expect(await refuse(room, unauthenticated())).toMatchObject({ refusal: { code: "unauthenticated" } });
    }
    expect(await records(room.directory)).toMatchObject([{ "portcullis.count": 1, "client.address": "192.0.2.1" }]);
    await expect
      .poll(() => records(room.directory))
      .toMatchObject([{ "portcullis.count": 1 }, { "portcullis.count": 49 }]);
  });

  test("what was counted is written when the audit closes", async () => {
    const room = await auditing();
    for (let turn = 0; turn < 3; turn++) await refuse(room, unauthenticated());
    await room.audit.close();
    expect((await records(room.directory)).map((one) => one["portcullis.count"])).toEqual([1, 2]);
  });

  test("a count that cannot be written is kept until it can", async () => {
    const { disk, faults } = faultyDisk();
    const { ports, skip } = portsAhead();
    const room = await auditing({ disk, foldIntervalMs: 20 }, ports);
    for (let turn = 0; turn < 3; turn++) await refuse(room, unauthenticated());
    faults.write = "ENOSPC";
    await expect.poll(() => room.audit.stats().failures).toBeGreaterThan(0);
    faults.write = null;
    skip(10_000);
    await expect
      .poll(async () => (await records(room.directory)).map((one) => one["portcullis.count"]))
      .toEqual([1, 2]);
  });

  test("one IPv6 network counts as one address, and another code or address does not fold into it", async () => {
    const room = await auditing();
    for (const ip of ["2001:db8::1", "2001:db8:0:0:ffff::2", "2001:db8:0:1::1", "::ffff:192.0.2.9", "192.0.2.9"]) {
      await refuse(room, unauthenticated(), { ip });
    }
    await refuse(room, new Refusal("invalid_request", "Malformed."), { ip: "192.0.2.9" });
    expect((await records(room.directory)).map((one) => one["client.address"])).toEqual([
      "2001:db8::1",
      "2001:db8:0:1::1",
      "::ffff:192.0.2.9",
      "192.0.2.9",
    ]);
  });

  test("ten thousand addresses write a thousand records and one count", async () => {
    const room = await auditing();
    for (let turn = 0; turn < 10_000; turn++) {
      await refuse(room, unauthenticated(), { ip: `10.0.${turn >> 8}.${turn & 255}` });
    }
    expect(await lines(room.directory)).toHaveLength(1_001);
    await room.audit.close();
    expect((await records(room.directory)).at(-1)).toMatchObject({ "portcullis.count": 8_999 });
    expect((await records(room.directory)).at(-1)).not.toHaveProperty("client.address");
  });
});

describe("a caller's trace", () => {
  const trace = "4bf92f3577b34da6a3ce929d0e0e4736";

  test.each([
    [`00-${trace}-00f067aa0ba902b7-01`, "00f067aa0ba902b7"],
    [`00-${trace}-00f067aa0ba902b7-00`, "00f067aa0ba902b7"],
    [`cc-${trace}-00f067aa0ba902b7-01-more`, "00f067aa0ba902b7"],
  ])("%s is continued, sampled or not", async (traceparent, parentSpanId) => {
    const room = await auditing();
    await audited(room, asked({ traceparent }), "tools/call", async () => ({}));
    expect(parseSpan((await lines(room.directory))[0] ?? "")).toMatchObject({
      traceId: trace,
      parentSpanId,
      parentIsRemote: true,
    });
  });

  test.each([
    "",
    `ff-${trace}-00f067aa0ba902b7-01`,
    `00-${trace}-00f067aa0ba902b7-01-more`,
    `00-${trace}-00f067aa0ba902b7-01x`,
    `00-${trace.toUpperCase()}-00f067aa0ba902b7-01`,
    `00-${"0".repeat(32)}-00f067aa0ba902b7-01`,
    `00-${trace}-0000000000000000-01`,
  ])("%j begins a new one", async (traceparent) => {
    const room = await auditing();
    const { call } = await audited(room, asked({ traceparent }), "tools/call", async () => ({}));
    expect(call.parentSpanId).toBeNull();
    expect(call.traceId).toMatch(/^[0-9a-f]{32}$/);
    expect(call.traceId).not.toBe(trace);
  });

  test("the intent is a child without length, so that a viewer shows one call once", async () => {
    const room = await auditing();
    const { call } = await callOnce(room);
    const [intent, outcome] = (await lines(room.directory)).map(parseSpan);
    expect(intent).toMatchObject({ traceId: call.traceId, parentSpanId: call.spanId, start: intent?.end });
    expect(outcome).toMatchObject({
      traceId: call.traceId,
      spanId: call.spanId,
      parentSpanId: null,
      name: "tools/call files__read",
    });
    expect(BigInt(outcome?.end ?? 0)).toBeGreaterThan(BigInt(outcome?.start ?? 0));
  });
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
    const text = String(
      (await kept({ text: `${"x ".repeat(845)}pc_k7f3_${"ab".repeat(32)}` }, "masked"))["gen_ai.tool.call.arguments"],
    );
    expect(text).not.toMatch(/pc_k7f3_[ab]/);
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

  test("each refusal has one log line, a stranger's repetitions none", async () => {
    const logged: object[] = [];
    const room = await auditing(
      {},
      portsAhead({ info: (fields) => void logged.push(fields), warn: () => {}, error: () => {} }).ports,
    );
    const { call } = await refuse(room, forbidden(), {}, (one) => void (one.principal = alice));
    for (let turn = 0; turn < 5; turn++) await refuse(room, unauthenticated());
    expect(logged).toEqual([
      { callId: call.id, code: "forbidden", operation: "tools/call", principal: "alice" },
      { callId: expect.any(String) as string, code: "unauthenticated", operation: "tools/call", principal: null },
    ]);
  });
});

test("a record names who, what, where, on what terms and how it went", async () => {
  const room = await auditing();
  await audited(room, asked(), "tools/call", async (call) => {
    admit(call);
    call.limit = { name: "per-user", limit: 10, windowMs: 1000, remaining: 9, resetMs: 1000 };
    await record(room.audit, call);
    Object.assign(call, { executed: "yes", attempts: 2, instance: "files@1.2.0#0" });
    return { kind: "result", result: {} };
  });
  expect((await records(room.directory))[1]).toEqual({
    "audit.sequence.number": 2,
    "audit.sequence.prev_hash": expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    "client.address": "192.0.2.1",
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.call.arguments": '{"path":"/tmp/a"}',
    "gen_ai.tool.name": "files__read",
    "mcp.method.name": "tools/call",
    "mcp.protocol.version": "2026-07-28",
    "mcp.server.name": "files",
    "portcullis.arguments.digest": expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    "portcullis.attempts": 2,
    "portcullis.call.id": expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    "portcullis.decision": "allow",
    "portcullis.executed": "yes",
    "portcullis.instance": "files@1.2.0#0",
    "portcullis.interface": "mcp",
    "portcullis.limit.name": "per-user",
    "portcullis.limit.remaining": 9,
    "portcullis.on_behalf_of": "bob",
    "portcullis.operation": "tools/call",
    "portcullis.outcome": "success",
    "portcullis.policy.revision": "policy-1",
    "portcullis.principal.id": "alice",
    "portcullis.principal.kind": "agent",
    "portcullis.reasons": ["holds files:read"],
    "portcullis.record": "outcome",
    "portcullis.server.name": "files",
    "portcullis.server.version": "1.2.0",
    "portcullis.snapshot.revision": "snapshot-1",
    "portcullis.tenant": "acme",
    "portcullis.tool.digest": "sha256:00ff",
  });
});
