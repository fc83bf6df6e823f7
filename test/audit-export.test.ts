/** Every record reaches every collector at least once, as the span it is, however long the collector was away. */
import { execFileSync } from "node:child_process";
import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { startExports } from "../src/audit/export.ts";
import type { ExportOptions } from "../src/audit/export.ts";
import { audited, record } from "../src/audit/record.ts";
import { parseSpan } from "../src/audit/span.ts";
import { realPorts, silent } from "../src/ports.ts";
import { Refusal } from "../src/refusal.ts";
import { collector } from "./audit-collector.ts";
import type { Received } from "./audit-collector.ts";
import { admit, asked, auditing, callOnce, lines, spoolFiles } from "./audit-parts.ts";
import type { Auditing } from "./audit-parts.ts";

async function exporting(room: Auditing, urls: readonly string[], options: Partial<ExportOptions> = {}) {
  const exports = await startExports(
    {
      directory: room.directory,
      targets: urls.map((otlp) => ({ otlp, protocol: "http/protobuf", headers: { "x-tenant": "acme" }, sample: 1 })),
      version: "1.2.3",
      pollMs: 20,
      timeoutMs: 700,
      backoffMs: { first: 10, most: 50 },
      ...options,
    },
    realPorts(silent),
  );
  onTestFinished(() => exports.close());
  return exports;
}

const numbersOf = (spans: readonly Received[]) => spans.map(({ attributes }) => attributes["audit.sequence.number"]);
const numbers = (count: number) => Array.from({ length: count }, (_, at) => at + 1);

test("a collector that is busy twice receives every record in order, once", async () => {
  const room = await auditing({ segmentBytes: 20_000 });
  for (let turn = 0; turn < 150; turn++) await callOnce(room);
  const { spans, requests, url } = await collector([503, 503]);
  const exports = await exporting(room, [url]);
  await expect.poll(() => spans.length, { timeout: 10_000 }).toBe(300);
  expect(numbersOf(spans)).toEqual(numbers(300));
  expect(requests[0]).toMatchObject({
    url: "/v1/traces",
    method: "POST",
    headers: { "content-type": "application/x-protobuf", "x-tenant": "acme" },
  });
  await callOnce(room);
  await expect.poll(() => numbersOf(spans).slice(300)).toEqual([301, 302]);
  await expect
    .poll(() => exports.status())
    .toEqual([{ target: url, lag: 0, exported: 302, rejected: 0, lastError: null }]);
});

test("a span arrives as it was recorded", async () => {
  const room = await auditing();
  const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
  await audited(room, asked({ traceparent }), "tools/call", async (call) => {
    admit(call, { text: "ünïcödé 😀" });
    await record(room.audit, call);
    throw new Refusal("upstream_timeout", "The server did not answer in time.");
  });
  const { spans, scopes, url } = await collector();
  await exporting(room, [`${url}/`]);
  await expect.poll(() => spans.length).toBe(2);
  const written = (await lines(room.directory)).map(parseSpan);
  expect(spans).toEqual(
    written.map((span, at) => ({
      traceId: span?.traceId,
      spanId: span?.spanId,
      parentSpanId: span?.parentSpanId,
      name: span?.name,
      kind: at === 0 ? 1 : 2,
      start: span?.start,
      end: span?.end,
      flags: at === 0 ? 0x101 : 0x301,
      status: at === 0 ? { code: 0, message: "" } : { code: 2, message: "The server did not answer in time." },
      attributes: Object.fromEntries(span?.attributes ?? []),
    })),
  );
  expect(spans[1]?.attributes["gen_ai.tool.call.arguments"]).toBe('{"text":"ünïcödé 😀"}');
  expect(scopes).toEqual(new Set(["service.name=portcullis", "service.version=1.2.3", "portcullis/audit 1"]));
});

test("what one process could not deliver, the next does, from where the last delivery ended", async () => {
  const room = await auditing();
  for (let turn = 0; turn < 3; turn++) await callOnce(room);
  const { spans, url } = await collector();
  const first = await exporting(room, [url]);
  await expect.poll(() => spans.length).toBe(6);
  await expect.poll(() => first.status()[0]?.lag).toBe(0);
  await first.close();
  await room.audit.close();
  const next = await auditing({ directory: room.directory });
  await callOnce(next);
  await exporting(next, [url]);
  await expect.poll(() => numbersOf(spans)).toEqual([1, 2, 3, 4, 5, 6, 1, 2]);
});

test("while a collector refuses, the status says how far behind it is and why, without its address", async () => {
  const room = await auditing({ segmentBytes: 5_000 });
  for (let turn = 0; turn < 4; turn++) await callOnce(room);
  await room.audit.close();
  const next = await auditing({ directory: room.directory });
  await callOnce(next);
  const { spans, url } = await collector(Array.from({ length: 8 }, () => 400));
  const behind = await exporting(room, [url]);
  await expect
    .poll(() => behind.status())
    .toEqual([{ target: url, lag: 10, exported: 0, rejected: 0, lastError: "it answered 400" }]);
  await expect.poll(() => spans.length, { timeout: 5_000 }).toBe(10);
  const closed = await exporting(room, ["http://user:secret@127.0.0.1:1/"]);
  await expect
    .poll(() => closed.status())
    .toEqual([{ target: "http://127.0.0.1:1", lag: 10, exported: 0, rejected: 0, lastError: "ECONNREFUSED" }]);
});

test("two collectors are served each at its own pace", async () => {
  const room = await auditing();
  await callOnce(room);
  const [good, bad] = [await collector(), await collector(Array.from({ length: 1_000 }, () => 503))];
  const exports = await exporting(room, [good.url, bad.url]);
  await expect.poll(() => good.spans.length).toBe(2);
  expect(bad.spans).toEqual([]);
  await expect.poll(() => exports.status().map(({ lag }) => lag)).toEqual([0, 2]);
});

describe("the cursor", () => {
  test("that cannot be read means all is sent again", async () => {
    const room = await auditing();
    await callOnce(room);
    const { spans, url } = await collector();
    await (await delivered(room, url, spans, 2)).close();
    const cursor = (await readdir(room.directory)).find((file) => file.endsWith(".json")) ?? "";
    await writeFile(join(room.directory, cursor), "{");
    await delivered(room, url, spans, 4);
    expect(numbersOf(spans)).toEqual([1, 2, 1, 2]);
  });

  test("in a segment that was taken away goes on with the oldest after it", async () => {
    const room = await auditing({ segmentBytes: 4_000 });
    await callOnce(room);
    const { spans, url } = await collector();
    await (await delivered(room, url, spans, 2)).close();
    const [first = ""] = await spoolFiles(room.directory);
    for (let turn = 0; turn < 4; turn++) await callOnce(room);
    await rm(join(room.directory, first));
    await delivered(room, url, spans, 10);
    expect(numbersOf(spans)).toEqual(numbers(10));
  });

  test("is moved only by a delivery", async () => {
    const room = await auditing();
    await callOnce(room);
    const { requests, url } = await collector(Array.from({ length: 1_000 }, () => 503));
    const exports = await exporting(room, [url]);
    await expect.poll(() => requests.length).toBeGreaterThan(2);
    await exports.close();
    expect((await readdir(room.directory)).filter((file) => file.endsWith(".json"))).toEqual([]);
  });

  async function delivered(room: Auditing, url: string, spans: readonly Received[], count: number) {
    const exports = await exporting(room, [url]);
    await expect.poll(() => spans.length).toBe(count);
    await expect.poll(() => exports.status()[0]?.lag).toBe(0);
    return exports;
  }
});

test("the SDK is not loaded where nothing is exported", () => {
  const src = pathToFileURL(join(import.meta.dirname, "../src")).href;
  const program = `
    import { registerHooks } from "node:module";
    registerHooks({ load: (url, context, next) => { if (url.includes("@opentelemetry")) console.log(url); return next(url, context); } });
    const { startExports } = await import("${src}/audit/export.ts");
    await import("${src}/audit/audit.ts");
    const { realPorts, silent } = await import("${src}/ports.ts");
    await startExports({ directory: "/nonexistent", targets: [], version: "1" }, realPorts(silent));
    console.log("end");`;
  expect(execFileSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" })).toBe("end\n");
});

test("an SDK that its environment switches off is a failure, not a silent loss", async () => {
  const room = await auditing();
  await callOnce(room);
  const src = pathToFileURL(join(import.meta.dirname, "../src")).href;
  const program = `
    const { startExports } = await import("${src}/audit/export.ts");
    const { realPorts, silent } = await import("${src}/ports.ts");
    const exports = await startExports({ directory: ${JSON.stringify(room.directory)}, targets: [{ otlp: "http://127.0.0.1:1", protocol: "http/protobuf", headers: {}, sample: 1 }], version: "1" }, realPorts(silent));
    while (exports.status()[0].lag === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    console.log(JSON.stringify(exports.status()[0]));
    await exports.close();`;
  const env = { ...process.env, OTEL_SDK_DISABLED: "true" };
  const status = JSON.parse(
    execFileSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8", env }),
  ) as object;
  expect(status).toMatchObject({ exported: 0, lag: 2, lastError: "OTEL_SDK_DISABLED" });
});
