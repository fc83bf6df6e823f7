/** What happened lately, newest first, one row a call, read from the spool itself. */
import { appendFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { audited, record } from "../src/audit/record.ts";
import { readCalls } from "../src/audit/tail.ts";
import type { CallFilter, CallRow } from "../src/audit/tail.ts";
import type { Call } from "../src/model.ts";
import { Refusal } from "../src/refusal.ts";
import { admit, alice, asked, auditing, callOnce, lines, spoolFiles, tool } from "./audit-parts.ts";
import type { Auditing } from "./audit-parts.ts";

const bob = { ...alice, id: "bob", kind: "user", onBehalfOf: null, tenant: "other" } as const;

function denied(room: Auditing, principal: Call["principal"] = alice) {
  return audited(room, asked(), "tools/call", async (call) => {
    admit(call, {}, tool("policy", "files__write"), { ...deny, reasons: ["lacks files:write"] });
    call.principal = principal;
    throw new Refusal("forbidden", "Policy does not allow this.");
  });
}
const deny = {
  allow: false,
  reasons: [],
  obligations: { redact: [], mask_audit: [], limits: [], cost: null, max_result_bytes: null, rows: null, route: null },
} as const;

/** A call that has its intent and waits for the test to end it. */
function begun(room: Auditing) {
  const turn = Promise.withResolvers<void>();
  const ended = audited(room, asked(), "tools/call", async (call) => {
    admit(call);
    await record(room.audit, call);
    await turn.promise;
    call.executed = "yes";
    return {};
  });
  return { end: () => (turn.resolve(), ended) };
}

async function all(directory: string, first: number, filter: CallFilter = {}): Promise<readonly CallRow[]> {
  const rows: CallRow[] = [];
  let after: string | null = null;
  for (;;) {
    const page = await readCalls(directory, { filter, first, after });
    rows.push(...page.rows);
    expect(page.rows.length).toBeLessThanOrEqual(first);
    after = page.endCursor;
    if (!page.hasNextPage) return rows;
  }
}

test("intent and outcome are one row, newest first", async () => {
  const room = await auditing();
  const { call } = await callOnce(room);
  await denied(room);
  const { rows, hasNextPage } = await readCalls(room.directory, {});
  expect(hasNextPage).toBe(false);
  expect(rows).toEqual([
    expect.objectContaining({
      outcome: "refused",
      decision: "deny",
      errorType: "forbidden",
      reasons: ["lacks files:write"],
      tool: "files__write",
      executed: "no",
    }),
    {
      callId: call.id,
      time: new Date(Math.floor(call.startedMs)).toISOString(),
      principal: "alice",
      onBehalfOf: "bob",
      tenant: "acme",
      interface: "mcp",
      operation: "tools/call",
      tool: "files__read",
      server: "files",
      version: "1.2.0",
      decision: "allow",
      reasons: ["holds files:read"],
      outcome: "success",
      errorType: null,
      executed: "yes",
      durationMs: expect.any(Number) as number,
      attempts: 1,
      policyRevision: "policy-1",
      traceId: call.traceId,
      arguments: '{"path":"/tmp/a"}',
      count: 1,
      writer: null,
      cursor: expect.any(String) as string,
    },
  ]);
});

test("an intent that no outcome followed is a row of unknown outcome", async () => {
  const room = await auditing();
  const open = begun(room);
  await callOnce(room);
  expect((await readCalls(room.directory, {})).rows.map(({ outcome, executed }) => [outcome, executed])).toEqual([
    ["success", "yes"],
    ["unknown", "unknown"],
  ]);
  await open.end();
  expect((await readCalls(room.directory, {})).rows.map(({ outcome }) => outcome)).toEqual(["success", "success"]);
});

test("counted refusals say how many they stand for", async () => {
  const room = await auditing();
  for (let turn = 0; turn < 4; turn++) {
    await audited(room, asked(), "tools/call", () => Promise.reject(new Refusal("unauthenticated", "No credential.")));
  }
  await room.audit.close();
  expect((await readCalls(room.directory, {})).rows.map(({ principal, count }) => [principal, count])).toEqual([
    [null, 3],
    [null, 1],
  ]);
});

describe("pages", () => {
  test.each([1, 3, 7, 1_000])(
    "of %i rows give every call once, over segments and starts, whatever overlaps",
    async (first) => {
      const room = await auditing({ segmentBytes: 20_000 });
      const open = Array.from({ length: 5 }, () => begun(room));
      for (let turn = 0; turn < 20; turn++) await callOnce(room);
      for (const one of open) await one.end();
      await room.audit.close();
      const next = await auditing({ directory: room.directory });
      for (let turn = 0; turn < 5; turn++) await callOnce(next);
      const rows = await all(room.directory, first);
      expect(rows).toHaveLength(30);
      expect(new Set(rows.map(({ callId }) => callId)).size).toBe(30);
      expect(rows.every(({ outcome }) => outcome === "success")).toBe(true);
      const ends = rows.map(({ time, durationMs }) => Date.parse(time) + durationMs);
      for (const [at, end] of ends.entries()) expect(end).toBeLessThanOrEqual((ends[at - 1] ?? Infinity) + 1);
    },
  );

  test("go on where the last ended although more was written since", async () => {
    const room = await auditing();
    const calls = [];
    for (let turn = 0; turn < 6; turn++) calls.push((await callOnce(room)).call.id);
    const one = await readCalls(room.directory, { first: 3 });
    await callOnce(room);
    const two = await readCalls(room.directory, { first: 3, after: one.endCursor });
    expect([...one.rows, ...two.rows].map(({ callId }) => callId)).toEqual(calls.toReversed());
    const rest = await readCalls(room.directory, { first: 3, after: one.rows[0]!.cursor });
    expect(rest.rows.map(({ callId }) => callId)).toEqual(calls.toReversed().slice(1, 4));
  });

  test("know an outcome that came long after the intent", async () => {
    const room = await auditing({ segmentBytes: 1_000_000 });
    const open = begun(room);
    await callOnce(room);
    const { endCursor } = await readCalls(room.directory, { first: 1 });
    expect((await readCalls(room.directory, { after: endCursor })).rows).toMatchObject([{ outcome: "unknown" }]);
    for (let turn = 0; turn < 600; turn++) await callOnce(room);
    await open.end();
    expect((await readCalls(room.directory, { after: endCursor })).rows).toEqual([]);
  });

  test("read a bounded part of the spool, and may be empty with a cursor to go on from", async () => {
    const room = await auditing();
    await callOnce(room);
    const [file = ""] = await spoolFiles(room.directory);
    const [, outcome = ""] = await lines(room.directory);
    await callOnce(room, {}, tool("policy", "files__write"));
    const other = `${outcome.replaceAll(/[0-9a-f-]{36}/g, "01a20303-6c03-7517-8b8c-3c2398692778")}\n`;
    await appendFile(join(room.directory, file), other.repeat(Math.ceil((20 * 1024 * 1024) / other.length)));
    const page = await readCalls(room.directory, { filter: { tool: "files__write" } });
    expect(page).toMatchObject({ rows: [], hasNextPage: true });
    expect(await all(room.directory, 50, { tool: "files__write" })).toHaveLength(1);
  });

  test.each(["", "nonsense", "../../etc/passwd:0", "gateway-0123456789abcdef0123-000001.jsonl:0"])(
    "refuse the foreign cursor %j",
    async (name) => {
      const room = await auditing();
      await callOnce(room);
      const after = Buffer.from(name).toString("base64url");
      await expect(readCalls(room.directory, { after })).rejects.toMatchObject({ code: "invalid_request" });
    },
  );
});

describe("filters", () => {
  test.each<readonly [CallFilter, number]>([
    [{}, 4],
    [{ principal: "bob" }, 1],
    [{ principal: "alice", tenant: "acme" }, 3],
    [{ onBehalfOf: "bob" }, 3],
    [{ tool: "files__write" }, 2],
    [{ server: "files", decision: "allow" }, 2],
    [{ outcome: "unknown" }, 1],
    [{ outcome: "refused", errorType: "forbidden" }, 2],
    [{ interface: "rest" }, 0],
    [{ operation: "tools/call", principal: undefined }, 4],
    [{ fromMs: 0, toMs: 1 }, 0],
    [{ fromMs: 1 }, 4],
  ])("%j finds %i", async (filter, count) => {
    const room = await auditing();
    const open = begun(room);
    await callOnce(room);
    await denied(room);
    await denied(room, bob);
    expect((await readCalls(room.directory, { filter })).rows).toHaveLength(count);
    expect(await all(room.directory, 1, filter)).toHaveLength(count);
    await open.end();
  });
});

test("what is torn or no record is stepped over", async () => {
  const room = await auditing();
  await callOnce(room);
  const [file = ""] = await spoolFiles(room.directory);
  await appendFile(join(room.directory, file), `hello\n{"resourceSpans":[]}\n${"x".repeat(700_000)}`);
  await writeFile(join(room.directory, "notes.txt"), "not a segment");
  expect((await readCalls(room.directory, {})).rows).toHaveLength(1);
});

test("following yields what ends from now on, over new segments and starts, until it is aborted", async () => {
  const room = await auditing({ segmentBytes: 4_000 });
  await callOnce(room);
  const stop = new AbortController();
  const seen: string[] = [];
  const followed = (async () => {
    for await (const row of room.audit.follow(stop.signal)) seen.push(row.callId);
  })();
  const open = begun(room);
  await new Promise((resolve) => setTimeout(resolve, 100));
  const calls = [];
  for (let turn = 0; turn < 5; turn++) calls.push((await callOnce(room)).call.id);
  await expect.poll(() => seen, { timeout: 5_000 }).toEqual(calls);
  const next = await auditing({ directory: room.directory });
  calls.push((await open.end()).call.id, (await callOnce(next)).call.id);
  await expect.poll(() => seen, { timeout: 5_000 }).toEqual(calls);
  stop.abort();
  await followed;
});
