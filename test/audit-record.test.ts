/** When a record is written, what it says, and that nothing is answered without one. */
import { describe, expect, test } from "vitest";
import { audited, record } from "../src/audit/record.ts";
import { parseSpan } from "../src/audit/span.ts";
import type { Log } from "../src/ports.ts";
import { Refusal } from "../src/refusal.ts";
import {
  admit,
  alice,
  asked,
  auditing,
  faultyDisk,
  forbidden,
  lines,
  portsAhead,
  records,
  refuse,
  unauthenticated,
} from "./audit-parts.ts";

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

test("a record names who, what, where, on what terms and how it went", async () => {
  const room = await auditing();
  await audited(room, asked(), "tools/call", async (call) => {
    admit(call);
    call.limit = { name: "per-user", limit: 10, windowMs: 1000, remaining: 9, resetMs: 1000 };
    await record(room.audit, call);
    Object.assign(call, { executed: "yes", attempts: 2, instance: "files@1.2.0#a.files.internal" });
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
    "portcullis.instance": "files@1.2.0#a.files.internal",
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
