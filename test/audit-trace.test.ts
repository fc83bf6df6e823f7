/** A caller's trace is continued, and never decides what is recorded. */
import { expect, test } from "vitest";
import { audited } from "../src/audit/record.ts";
import { parseSpan } from "../src/audit/span.ts";
import { asked, auditing, callOnce, lines } from "./audit-parts.ts";

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
