/** Whatever a collector does, nothing is lost; and dashboards that sample see all that failed. */
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, onTestFinished, test } from "vitest";
import { isSampled } from "../src/audit/export-sample.ts";
import { startExports } from "../src/audit/export.ts";
import type { ExportTarget } from "../src/audit/export.ts";
import { realPorts, silent } from "../src/ports.ts";
import { collector, fickleCollector, grpcCollector } from "./audit-collector.ts";
import type { Fault, Received } from "./audit-collector.ts";
import { alice, auditing, callOnce, forbidden, refuse } from "./audit-parts.ts";
import type { Auditing } from "./audit-parts.ts";

const FULL = process.env["FULL"] === "1";

async function exporting(room: Auditing, targets: readonly Partial<ExportTarget>[]) {
  const given = targets.map((target) => ({
    otlp: "",
    protocol: "http/protobuf" as const,
    headers: {},
    sample: 1,
    ...target,
  }));
  const options = { pollMs: 20, timeoutMs: 300, backoffMs: { first: 10, most: 50 } };
  const { directory } = room;
  const exports = await startExports({ directory, targets: given, version: "1.2.3", ...options }, realPorts(silent));
  onTestFinished(() => exports.close());
  return exports;
}

/** Numbers of the records that came, each once, in order: children have none. */
const numbersOf = (spans: readonly Received[]) =>
  [...new Set(spans.flatMap(({ attributes }) => attributes["audit.sequence.number"] ?? []))].map(Number);
const numbers = (count: number) => Array.from({ length: count }, (_, at) => at + 1);

const FAULTS: readonly (readonly [what: string, fault: Fault, said: string])[] = [
  ["answers 500", (response) => void response.writeHead(500).end("no"), "it answered 500"],
  ["answers 400", (response) => void response.writeHead(400).end(), "it answered 400"],
  ["never answers", () => {}, "it took nothing"],
  ["hangs up", (response) => void response.socket?.destroy(), "ECONNRESET"],
  [
    "hangs up amid its answer",
    (response) => void response.writeHead(200).write("{", () => response.destroy()),
    "NOT_OTLP",
  ],
  ["answers 200 with a page for people", (response) => void response.writeHead(200).end("<html>ok</html>"), "NOT_OTLP"],
  ["answers 200 with garbage", (response) => void response.writeHead(200).end("not today"), "NOT_OTLP"],
];

describe("a collector that", () => {
  test.each(FAULTS)("%s, and then is well, gets every record", async (_, fault, said) => {
    const room = await auditing();
    const { spans, fall, requests, url } = await fickleCollector();
    fall(fault);
    const exports = await exporting(room, [{ otlp: url }]);
    for (let turn = 0; turn < 5; turn++) await callOnce(room);
    await expect.poll(() => exports.status()[0]?.lastError, { timeout: 10_000 }).toBe(said);
    await expect.poll(requests, { timeout: 10_000 }).toBeGreaterThan(1);
    expect(exports.status()[0]).toMatchObject({ exported: 0, lag: 10 });
    await callOnce(room);
    fall(null);
    await expect.poll(() => numbersOf(spans), { timeout: 10_000 }).toEqual(numbers(12));
    await expect.poll(() => exports.status()[0]).toMatchObject({ exported: 12, lag: 0, lastError: null });
  });

  test("falls ill and gets well amid calls, over and over, gets every record", async () => {
    const room = await auditing({ segmentBytes: 20_000 });
    const { spans, fall, url } = await fickleCollector();
    await exporting(room, [{ otlp: url }]);
    const rounds = FULL ? 60 : 8;
    for (let round = 0; round < rounds; round++) {
      const ill = FAULTS[round % FAULTS.length]?.[1] ?? null;
      fall(round % 2 === 0 ? ill : null);
      for (let turn = 0; turn < 10; turn++) await callOnce(room);
      await sleep(FULL ? 2_000 : 50);
    }
    fall(null);
    await expect.poll(() => numbersOf(spans), { timeout: 20_000 }).toEqual(numbers(rounds * 20));
  });

  test("says that it did not want some of them is believed, and counted", async () => {
    const room = await auditing();
    const { fall, requests, url } = await fickleCollector();
    // ExportTraceServiceResponse {partial_success {rejected_spans: 3}}
    fall((response) => void response.writeHead(200).end(Buffer.from([0x0a, 0x02, 0x08, 0x03])));
    const exports = await exporting(room, [{ otlp: url }]);
    await callOnce(room);
    await expect.poll(() => exports.status()[0]).toMatchObject({ exported: 2, rejected: 3, lastError: null });
    expect(requests()).toBe(1);
  });

  test("answers in JSON has taken them", async () => {
    const room = await auditing();
    const { fall, url } = await fickleCollector();
    fall((response) => void response.writeHead(200).end('{"partialSuccess":{}}'));
    const exports = await exporting(room, [{ otlp: url }]);
    await callOnce(room);
    await expect.poll(() => exports.status()[0]).toMatchObject({ exported: 2, rejected: 0, lastError: null });
  });
});

describe("over gRPC", () => {
  test("records arrive with their headers as metadata, after a collector that was not ready", async () => {
    const room = await auditing();
    await callOnce(room);
    const { spans, metadata, url } = await grpcCollector(2);
    const exports = await exporting(room, [{ otlp: url, protocol: "grpc", headers: { "X-Tenant": "acme" } }]);
    await expect.poll(() => numbersOf(spans), { timeout: 10_000 }).toEqual([1, 2]);
    expect(metadata[0]).toMatchObject({ "x-tenant": "acme" });
    expect(spans[1]).toMatchObject({ name: "tools/call files__read", kind: 2, status: { code: 1 } });
    await expect.poll(() => exports.status()[0]).toMatchObject({ exported: 2, lag: 0, lastError: null });
  });

  test("nobody there is said, and tried again", async () => {
    const room = await auditing();
    await callOnce(room);
    const exports = await exporting(room, [{ otlp: "http://127.0.0.1:1", protocol: "grpc" }]);
    await expect
      .poll(() => exports.status()[0], { timeout: 10_000 })
      .toMatchObject({ exported: 0, lag: 2, lastError: "it answered gRPC status 14" });
  });
});

describe("a dashboard that samples", () => {
  test("gets that share of the traces, whole, and all that failed; the audit has everything", async () => {
    const room = await auditing();
    for (let turn = 0; turn < 200; turn++) await callOnce(room);
    for (let turn = 0; turn < 20; turn++) await refuse(room, forbidden(), {}, (call) => void (call.principal = alice));
    const [some, all] = [await collector(), await collector()];
    const exports = await exporting(room, [{ otlp: some.url, sample: 0.1 }, { otlp: all.url }]);
    await expect.poll(() => exports.status().map(({ exported }) => exported), { timeout: 10_000 }).toEqual([420, 420]);
    const kinds = Map.groupBy(some.spans, ({ attributes }) => String(attributes["portcullis.record"]));
    expect(kinds.get("refusal")).toHaveLength(20);
    const [intents = [], outcomes = []] = [kinds.get("intent"), kinds.get("outcome")];
    expect(intents.map(({ traceId }) => traceId)).toEqual(outcomes.map(({ traceId }) => traceId));
    // 200 draws at a tenth: fewer than 4 or more than 44 once in a million
    expect(outcomes.length).toBeGreaterThan(3);
    expect(outcomes.length).toBeLessThan(45);
    expect(numbersOf(all.spans)).toEqual(numbers(420));
  });

  test("of a tenth sees no trace that one of a fifth does not", () => {
    const ids = Array.from({ length: 1_000 }, (_, at) =>
      (BigInt(at + 1) * 0x9e3779b97f4a7c15f39cc0605cedc835n).toString(16).slice(-32).padStart(32, "0"),
    );
    const sampled = (share: number) =>
      ids.filter((traceId) => isSampled({ status: "ok", traceId } as Parameters<typeof isSampled>[0], share));
    const [tenth, fifth] = [sampled(0.1), sampled(0.2)];
    expect(tenth.length).toBeGreaterThan(50);
    expect(fifth.length).toBeGreaterThan(tenth.length);
    expect(tenth.filter((id) => !fifth.includes(id))).toEqual([]);
  });
});
