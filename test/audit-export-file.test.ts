/** `audit export` prints what is on disk, beside a running gateway or without one, in the two forms that it names. */
import { mkdir, rename } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { parseSpan } from "../src/audit/span.ts";
import { auditing, callOnce, folder, lines, spoolFiles } from "./audit-parts.ts";
import { portcullis } from "./cli-io.ts";

const parsed = (stdout: string) =>
  stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as never);
type Otlp = { resourceSpans: { scopeSpans: { spans: { name: string; spanId: string; kind: number }[] }[] }[] };

test("otlp-json: each record's own line, its children beside it", async () => {
  const room = await auditing();
  await callOnce(room, { path: "/tmp/ünï" });
  const { code, stdout, stderr } = await portcullis(["audit", "export", room.directory]);
  expect([code, stderr]).toEqual([0, "2 records.\n"]);
  const own = (await lines(room.directory)).map(parseSpan);
  const printed = stdout.trimEnd().split("\n");
  expect(printed.map(parseSpan)).toEqual(own);
  const spans = parsed(stdout).map((line: Otlp) => line.resourceSpans[0]?.scopeSpans[0]?.spans ?? []);
  expect(spans.map((some) => some.length)).toEqual([1, 1]);
});

test("jsonl: a flat object a record, names as in the registry", async () => {
  const room = await auditing();
  await callOnce(room);
  const { stdout } = await portcullis(["audit", "export", room.directory, "--format", "jsonl"]);
  expect(parsed(stdout)).toMatchObject([
    { name: "intent", "portcullis.record": "intent", durationMs: 0 },
    { "portcullis.record": "outcome", "portcullis.principal.id": "alice", status: "ok", "audit.sequence.number": 2 },
  ]);
});

test("since and until leave out what is not between", async () => {
  const room = await auditing();
  await callOnce(room);
  await sleep(20);
  const middle = new Date().toISOString();
  await sleep(20);
  await callOnce(room);
  const numbers = async (...words: string[]) => {
    const { stdout } = await portcullis(["audit", "export", room.directory, "--format", "jsonl", ...words]);
    return parsed(stdout).map((one: { "audit.sequence.number": number }) => one["audit.sequence.number"]);
  };
  expect(await numbers("--since", middle)).toEqual([3, 4]);
  expect(await numbers("--until", middle)).toEqual([1, 2]);
});

test("what was gathered from others is there too", async () => {
  const [own, other] = [await auditing(), await auditing()];
  await callOnce(own);
  await callOnce(other);
  const gathered = join(own.directory, "gathered/edge-1");
  await mkdir(gathered, { recursive: true });
  const [file = ""] = await spoolFiles(other.directory);
  await rename(join(other.directory, file), join(gathered, file));
  expect((await portcullis(["audit", "export", own.directory])).stderr).toBe("4 records.\n");
});

test.each([
  [["--format", "xml"], "--format takes otlp-json or jsonl"],
  [["--since", "noon"], "--since takes a time such as 2026-08-01T12:00:00Z"],
])("%j is refused with what it takes", async (words, message) => {
  const { code, stderr } = await portcullis(["audit", "export", await folder(), ...words]);
  expect(code).toBe(2);
  expect(stderr).toContain(message);
});

test("a folder that is not there is named", async () => {
  const { code, stderr } = await portcullis(["audit", "export", "/nonexistent/audit"]);
  expect(code).toBe(2);
  expect(stderr).toContain("/nonexistent/audit: no such file");
});
