/** The promise: what happened is found from an index that can be lost at any time, each call once, however it was recorded. */
import { appendFile, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test, vi } from "vitest";
import { INDEX_FILE, createProjection } from "../src/audit/projection.ts";
import type { CallPage } from "../src/audit/projection.ts";
import type { StatsQuery } from "../src/audit/projection-stats.ts";
import { audited, record } from "../src/audit/record.ts";
import type { CallFilter, CallRow } from "../src/audit/row.ts";
import type { Call } from "../src/model.ts";
import { realPorts, silent } from "../src/ports.ts";
import { Refusal } from "../src/refusal.ts";
import { admit, alice, asked, auditing, callOnce, lines, spoolFiles, tool } from "./audit-parts.ts";
import type { Auditing } from "./audit-parts.ts";

const bob = { ...alice, id: "bob", kind: "user", onBehalfOf: null, tenant: "other" } as const;

type Query = {
  filter?: CallFilter;
  scope?: CallFilter;
  first?: number;
  after?: string | null;
  order?: "newest" | "oldest";
};
const indexOf = (room: Auditing) => join(room.directory, INDEX_FILE);
const page = (room: Auditing, query: Query = {}): Promise<CallPage> =>
  room.audit.projection.page({ filter: {}, scope: {}, first: 50, after: null, order: "newest", ...query });
const stats = (room: Auditing, query: Partial<StatsQuery> = {}) =>
  room.audit.projection.stats({ filter: {}, scope: {}, by: [], bucketMs: null, first: 100, ...query });

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

async function all(room: Auditing, query: Query & { first: number }): Promise<readonly CallRow[]> {
  const rows: CallRow[] = [];
  let after: string | null = null;
  for (;;) {
    const one: CallPage = await page(room, { ...query, after });
    rows.push(...one.rows);
    expect(one.rows.length).toBeLessThanOrEqual(query.first);
    after = one.endCursor;
    if (!one.hasNextPage) return rows;
  }
}

test("intent and outcome are one row, newest first", async () => {
  const room = await auditing();
  const { call } = await callOnce(room);
  await denied(room);
  const { rows, hasNextPage } = await page(room);
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

test("an intent that no outcome followed is a row of unknown outcome, and the same row once there is one", async () => {
  const room = await auditing();
  const open = begun(room);
  await callOnce(room);
  const before = (await page(room)).rows;
  expect(before.map(({ outcome, executed }) => [outcome, executed])).toEqual([
    ["success", "yes"],
    ["unknown", "unknown"],
  ]);
  await open.end();
  const after = (await page(room)).rows;
  expect(after.map(({ outcome }) => outcome)).toEqual(["success", "success"]);
  expect(after.map(({ cursor }) => cursor)).toEqual(before.map(({ cursor }) => cursor));
});

test("counted refusals say how many they stand for", async () => {
  const room = await auditing();
  for (let turn = 0; turn < 4; turn++)
    await audited(room, asked(), "tools/call", () => Promise.reject(new Refusal("unauthenticated", "No credential.")));
  await room.audit.close();
  const later = await auditing({ directory: room.directory });
  expect((await page(later)).rows.map(({ principal, count }) => [principal, count])).toEqual([
    [null, 3],
    [null, 1],
  ]);
  expect((await stats(later)).groups).toMatchObject([{ count: 4, refusals: 4, errors: 0 }]);
});

describe("pages", () => {
  test("give every call once, both ways, of whatever size, over segments and starts", async () => {
    const room = await auditing({ segmentBytes: 20_000 });
    const open = Array.from({ length: 5 }, () => begun(room));
    for (let turn = 0; turn < 20; turn++) await callOnce(room);
    for (const one of open) await one.end();
    await room.audit.close();
    const next = await auditing({ directory: room.directory });
    for (let turn = 0; turn < 5; turn++) await callOnce(next);
    for (const first of [1, 3, 7, 100]) {
      const rows = await all(next, { first });
      const ids = rows.map(({ callId }) => callId);
      expect([ids.length, new Set(ids).size]).toEqual([30, 30]);
      expect(rows.every(({ outcome }) => outcome === "success")).toBe(true);
      const times = rows.map(({ time }) => time);
      expect(times).toEqual(times.toSorted().toReversed());
      const backwards = await all(next, { first, order: "oldest" });
      expect(backwards.map(({ callId }) => callId)).toEqual(ids.toReversed());
    }
    expect(await next.audit.projection.count({ filter: {}, scope: {} })).toBe(30);
  });

  test("go on where the last ended although more was written since, and after the index was built anew", async () => {
    const room = await auditing();
    const calls = [];
    for (let turn = 0; turn < 6; turn++) calls.push((await callOnce(room)).call.id);
    const one = await page(room, { first: 3 });
    await callOnce(room);
    expect(await room.audit.projection.rebuild()).toBe(0);
    const two = await page(room, { first: 3, after: one.endCursor });
    expect([...one.rows, ...two.rows].map(({ callId }) => callId)).toEqual(calls.toReversed());
    const rest = await page(room, { first: 3, after: one.rows[0]?.cursor ?? null });
    expect(rest.rows.map(({ callId }) => callId)).toEqual(calls.toReversed().slice(1, 4));
  });

  test("lose no call and give none twice while calls begin and end", async () => {
    const room = await auditing({ segmentBytes: 50_000 });
    const there: string[] = [];
    for (let turn = 0; turn < 60; turn++) there.push((await callOnce(room)).call.id);
    const walk = { over: false };
    const writing = (async () => {
      while (!walk.over) {
        const open = begun(room);
        await callOnce(room);
        await open.end();
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    })();
    const rows = await all(room, { first: 5 });
    walk.over = true;
    await writing;
    const ids = rows.map(({ callId }) => callId);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.filter((id) => there.includes(id))).toEqual(there.toReversed());
  });

  test.each(["", "nonsense", "../../etc/passwd:0", "1:x:2", "2:1:2"])("refuse the foreign cursor %j", async (name) => {
    const room = await auditing();
    await callOnce(room);
    const after = Buffer.from(name).toString("base64url");
    await expect(page(room, { after })).rejects.toMatchObject({ code: "invalid_request" });
  });
});

describe("filters", () => {
  const FOUND: readonly (readonly [CallFilter, number])[] = [
    [{}, 4],
    [{ principal: "bob" }, 1],
    [{ principal: "nobody" }, 0],
    [{ principal: "alice", tenant: "acme" }, 3],
    [{ onBehalfOf: "bob" }, 3],
    [{ onBehalfOf: null }, 1],
    [{ tool: "files__write" }, 2],
    [{ server: "files", decision: "allow" }, 2],
    [{ decision: "deny", version: "1.2.0" }, 2],
    [{ outcome: "unknown" }, 1],
    [{ outcome: "refused", errorType: "forbidden" }, 2],
    [{ reason: "lacks files:write" }, 2],
    [{ reason: "holds files:read", outcome: "success" }, 1],
    [{ reason: "none" }, 0],
    [{ policyRevision: "policy-1" }, 4],
    [{ traceId: "0".repeat(32) }, 0],
    [{ writer: "edge-1" }, 0],
    [{ callId: "01a20303-6c03-7517-8b8c-3c2398692778" }, 0],
    [{ callId: "none" }, 0],
    [{ interface: "rest" }, 0],
    [{ operation: "tools/call", principal: undefined }, 4],
    [{ fromMs: 0, toMs: 1 }, 0],
    [{ fromMs: 1 }, 4],
  ];

  test("find what matches in every field, and what may be seen is a filter that nobody can lift", async () => {
    const room = await auditing();
    const open = begun(room);
    await callOnce(room);
    await denied(room);
    await denied(room, bob);
    for (const [filter, count] of FOUND) {
      const name = JSON.stringify(filter);
      expect((await page(room, { filter })).rows, name).toHaveLength(count);
      expect(await all(room, { first: 1, filter }), name).toHaveLength(count);
      expect(await room.audit.projection.count({ filter, scope: {} }), name).toBe(count);
      expect((await page(room, { scope: filter })).rows, name).toHaveLength(count);
      const both = { scope: filter, filter: { principal: "bob" } };
      const ofBob = (await page(room, both)).rows.filter(({ principal }) => principal !== "bob");
      expect(ofBob, name).toEqual([]);
      expect(await room.audit.projection.count(both), name).toBeLessThanOrEqual(Math.min(count, 1));
    }
    await open.end();
  });

  test("find a call by its id and by its trace", async () => {
    const room = await auditing();
    await callOnce(room);
    const { call } = await callOnce(room);
    for (const filter of [{ callId: call.id }, { traceId: call.traceId }])
      expect((await page(room, { filter })).rows.map(({ callId }) => callId)).toEqual([call.id]);
  });
});

describe("statistics", () => {
  test("count calls, refusals and errors by what is asked for, and say how long they took", async () => {
    const room = await auditing();
    for (let turn = 0; turn < 3; turn++) await callOnce(room);
    await denied(room);
    await denied(room, bob);
    const { groups, more } = await stats(room, { by: ["tool", "principal"] });
    expect(more).toBe(false);
    expect(groups.toSorted((a, b) => JSON.stringify(a.keys).localeCompare(JSON.stringify(b.keys)))).toMatchObject([
      { keys: { tool: "files__read", principal: "alice" }, from: null, count: 3, refusals: 0, errors: 0 },
      { keys: { tool: "files__write", principal: "alice" }, count: 1, refusals: 1 },
      { keys: { tool: "files__write", principal: "bob" }, count: 1, refusals: 1 },
    ]);
    const { rows } = await page(room, { filter: { tool: "files__read" } });
    const [, middle] = rows.map(({ durationMs }) => durationMs).toSorted((a, b) => a - b);
    const [read] = (await stats(room, { filter: { tool: "files__read" } })).groups;
    expect(Math.abs((read?.p50Ms ?? 0) / (middle ?? 0) - 1)).toBeLessThan(0.03);
    expect((await stats(room, { by: ["tool"], first: 1 })).more).toBe(true);
    expect((await stats(room, { by: ["reason"] })).groups.map(({ keys, count }) => [keys.reason, count])).toEqual([
      ["holds files:read", 3],
      ["lacks files:write", 2],
    ]);
    expect((await stats(room, { by: ["decision"], scope: { principal: "bob" } })).groups).toMatchObject([
      { keys: { decision: "deny" }, count: 1 },
    ]);
  });

  test("are given by buckets of time", async () => {
    const room = await auditing();
    const { call } = await callOnce(room);
    const { groups } = await stats(room, { bucketMs: 3_600_000 });
    const from = new Date(Math.floor(call.startedMs / 3_600_000) * 3_600_000).toISOString();
    expect(groups).toMatchObject([{ from, count: 1 }]);
  });
});

describe("the index", () => {
  /** The same trail, opened again. */
  const reopened = async (room: Auditing) => {
    await room.audit.close();
    return auditing({ directory: room.directory });
  };

  test("holds nothing of the arguments, and only its owner may read it", async () => {
    const room = await auditing();
    await callOnce(room, { path: "/tmp/plainly-visible" });
    expect((await page(room)).rows[0]?.arguments).toContain("plainly-visible");
    await room.audit.close();
    expect((await stat(indexOf(room))).mode & 0o777).toBe(0o600);
    expect((await readFile(indexOf(room))).includes("plainly-visible")).toBe(false);
  });

  test.each<readonly [string, (file: string) => Promise<unknown>]>([
    ["deleted", (file) => rm(file)],
    ["no database", (file) => writeFile(file, "hello".repeat(2_000))],
    ["cut short", (file) => truncate(file, 20_000)],
    [
      "of another format",
      async (file) => {
        const { DatabaseSync } = await import("node:sqlite");
        const db = new DatabaseSync(file);
        db.exec("PRAGMA user_version = 9");
        db.close();
      },
    ],
  ])("is built anew where it is %s", async (_, spoil) => {
    const room = await auditing();
    for (let turn = 0; turn < 20; turn++) await callOnce(room);
    expect((await page(room)).rows).toHaveLength(20);
    await room.audit.close();
    await spoil(indexOf(room));
    const again = await auditing({ directory: room.directory });
    await callOnce(again);
    expect((await page(again)).rows).toHaveLength(21);
    expect(await again.audit.projection.count({ filter: { tool: "files__read" }, scope: {} })).toBe(21);
  });

  test("forgets what stood in files that are gone, names too, and keeps the rest", async () => {
    const room = await auditing({ segmentBytes: 15_000 });
    await denied(room, bob);
    for (let turn = 0; turn < 20; turn++) await callOnce(room);
    const kept = (await callOnce(room)).call.id;
    expect((await page(room, { filter: { principal: "bob" } })).rows).toHaveLength(1);
    const [oldest = ""] = await spoolFiles(room.directory);
    await rm(join(room.directory, oldest));
    const { rows } = await page(room, { first: 100 });
    expect(rows.map(({ callId }) => callId)).toContain(kept);
    expect(rows.length).toBeLessThan(21);
    expect((await page(room, { filter: { principal: "bob" } })).rows).toEqual([]);
    expect(await room.audit.projection.count({ filter: {}, scope: {} })).toBe(rows.length);
    await room.audit.close();
    expect((await readFile(indexOf(room))).includes("lacks files:write")).toBe(false);
  });

  test("follows a file that was cut back and written again", async () => {
    const room = await auditing();
    await callOnce(room);
    await callOnce(room);
    expect((await page(room)).rows).toHaveLength(2);
    const [file = ""] = await spoolFiles(room.directory);
    const all = await lines(room.directory);
    await room.audit.close();
    const path = join(room.directory, file);
    await writeFile(path, `${all.slice(0, 2).join("\n")}\n`);
    const again = await auditing({ directory: room.directory });
    expect((await page(again)).rows).toHaveLength(1);
    // as long as it was, and other lines
    await writeFile(path, `${all.slice(2, 4).join("\n")}\n`);
    const [row] = (await page(await reopened(again))).rows;
    expect(row?.callId).toBe(JSON.stringify(all[3]).match(/[0-9a-f]{8}-[0-9a-f-]{27}/)?.[0]);
  });

  test("is not led astray by what is torn, no record, or without a line's end", async () => {
    const room = await auditing();
    await callOnce(room);
    const [file = ""] = await spoolFiles(room.directory);
    const end = `hello\n{"resourceSpans":[]}\n${"x".repeat(700_000)}`;
    await appendFile(join(room.directory, file), end);
    await writeFile(join(room.directory, "notes.txt"), "not a segment");
    expect(await page(room)).toMatchObject({ rows: [{ outcome: "success" }], behindBytes: 0 });
  });

  test("finds what was gathered from others, twice or late, once and under their names", async () => {
    const source = await auditing();
    const { call } = await callOnce(source);
    const [file = ""] = await spoolFiles(source.directory);
    const room = await auditing();
    await callOnce(room);
    const all = await lines(source.directory);
    await room.audit.keep("edge-1", file, all.slice(0, 1), null);
    expect((await page(room, { filter: { writer: "edge-1" } })).rows).toMatchObject([{ outcome: "unknown" }]);
    await room.audit.keep("edge-1", file, all, null);
    expect((await page(room, { filter: { writer: "edge-1" } })).rows).toMatchObject([
      { callId: call.id, outcome: "success", writer: "edge-1" },
    ]);
    expect((await page(room)).rows).toHaveLength(2);
    const { groups } = await stats(room, { by: ["writer"] });
    expect(groups.map(({ keys }) => keys.writer).toSorted()).toEqual(["edge-1", null].toSorted());
  });

  test("is not stopped by numbers that no gateway writes, in a record of another's", async () => {
    const source = await auditing();
    await callOnce(source);
    const [file = ""] = await spoolFiles(source.directory);
    const [intent = "", outcome = ""] = await lines(source.directory);
    const room = await auditing();
    await callOnce(room);
    const [head, rest] = [
      outcome.slice(0, outcome.lastIndexOf('"attributes":[')),
      outcome.lastIndexOf('"attributes":['),
    ];
    const count = `${head}"attributes":[{"key":"portcullis.count","value":{"intValue":"x"}},${outcome.slice(rest + 14)}`;
    const most = count.replace('"x"', '"9007199254740991"');
    const int = count.replace('"x"', '"2147483647"');
    const later = outcome.replace(/"startTimeUnixNano":"\d+"/, '"startTimeUnixNano":"9999999999999999999"');
    for (const [name, line] of Object.entries({ count, later, most, more: most, int, again: int }))
      await room.audit.keep(name, file, [intent, line], null).catch(() => undefined);
    expect((await page(room)).rows.map(({ writer }) => writer)).toContain(null);
    // and no more than fits into an Int of the graph
    expect(new Set((await page(room)).rows.map((row) => row.count))).toEqual(new Set([1, 2 ** 31 - 1]));
    expect((await stats(room)).groups[0]?.count).toBe(2 ** 31 - 1);
  });

  test("gives no sidecar the place of another: a record that two of them sent is one of each", async () => {
    const source = await auditing();
    const { call } = await callOnce(source);
    const [file = ""] = await spoolFiles(source.directory);
    const room = await auditing();
    for (const name of ["edge-1", "edge-2"]) await room.audit.keep(name, file, await lines(source.directory), null);
    const filter = { callId: call.id };
    const rows = await all(room, { first: 1, filter });
    expect(rows.map(({ writer }) => writer).toSorted()).toEqual(["edge-1", "edge-2"]);
    expect(await room.audit.projection.count({ filter, scope: {} })).toBe(2);
  });

  test("cannot be made, and calls go on", async () => {
    const room = await auditing();
    await callOnce(room);
    const { mkdir } = await import("node:fs/promises");
    await mkdir(indexOf(room));
    await expect(page(room)).rejects.toMatchObject({ code: "audit_unavailable" });
    expect((await callOnce(room)).ok).toBe(true);
    await rm(indexOf(room), { recursive: true });
    expect((await page(room)).rows).toHaveLength(2);
  });
});

describe("while nobody asks", () => {
  afterEach(() => void vi.useRealTimers());

  test.each([
    ["little waits", { records: 10, utilization: 0 }, false],
    ["much waits in a quiet moment", { records: 30_000, utilization: 0.1 }, true],
    ["much waits and calls keep the gateway busy", { records: 30_000, utilization: 0.9 }, false],
    ["ten times as much waits", { records: 300_000, utilization: 0.9 }, true],
  ])("%s", async (_, { records, utilization }, reads) => {
    const room = await auditing();
    await callOnce(room);
    vi.useFakeTimers({ toFake: ["setInterval"] });
    const { directory } = room;
    const projection = createProjection(
      { directory, records: () => records, utilization: () => utilization },
      realPorts(silent),
    );
    vi.advanceTimersByTime(3_000);
    const there = async () =>
      await stat(indexOf(room))
        .then(() => true)
        .catch(() => false);
    if (reads) await expect.poll(there).toBe(true);
    else await sleep(300);
    expect(await there()).toBe(reads);
    await projection.close();
  });
});

describe("following", () => {
  const collect = async (room: Auditing, asked: { filter?: CallFilter; scope?: CallFilter } = {}) => {
    const following = await room.audit.projection.follow({ filter: {}, scope: {}, ...asked });
    const seen: string[] = [];
    let missed = 0;
    const until = async (count: number) => {
      for (let turn = 0; turn < 100 && seen.length + missed < count; turn++) {
        const more = await following.next(100);
        seen.push(...more.rows.map(({ callId }) => callId));
        missed += more.missed;
      }
      return { seen, missed };
    };
    return { until, leave: following.leave };
  };

  test("gives what ends from now on, over new segments and starts", async () => {
    const room = await auditing({ segmentBytes: 4_000 });
    await callOnce(room);
    const { until, leave } = await collect(room);
    const open = begun(room);
    const calls = [];
    for (let turn = 0; turn < 5; turn++) calls.push((await callOnce(room)).call.id);
    expect((await until(5)).seen).toEqual(calls);
    const next = await auditing({ directory: room.directory });
    calls.push((await open.end()).call.id, (await callOnce(next)).call.id);
    expect((await until(7)).seen.toSorted()).toEqual(calls.toSorted());
    leave();
  });

  test.each([
    ["the filter does not find", { filter: { principal: "bob" } }],
    ["may not be seen", { scope: { principal: "bob" } }],
  ])("gives nobody what %s", async (_, asked) => {
    const room = await auditing();
    const { until, leave } = await collect(room, asked);
    await callOnce(room);
    await denied(room, bob);
    const { seen } = await until(1);
    expect(seen).toHaveLength(1);
    leave();
  });

  test("keeps so much for whoever is slow, and says how much was missed", async () => {
    const room = await auditing();
    const { until, leave } = await collect(room);
    for (let turn = 0; turn < 1_500; turn++) await denied(room);
    await page(room);
    const { seen, missed } = await until(1_500);
    expect(seen.length + missed).toBe(1_500);
    expect(seen.length).toBeLessThanOrEqual(1_000);
    expect(missed).toBeGreaterThan(0);
    leave();
  });
});
