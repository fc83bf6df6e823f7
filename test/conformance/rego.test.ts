/** The promise: what our capabilities admit of OPA's own conformance cases is answered as OPA wants it. A sample; all of them under FULL. */
import { expect, test } from "vitest";
import { EXCEPTIONS, readCases, runCases } from "./rego/run.ts";

const FULL = process.env["FULL"] === "1";

test("OPA's own cases come out right", async () => {
  const cases = readCases();
  expect(cases.length).toBe(4427);
  const notes = new Set(cases.map(({ note }) => note));
  expect([...EXCEPTIONS].filter((note) => !notes.has(note))).toEqual([]);
  const chosen = FULL ? cases : cases.filter((_, at) => at % 50 === 7);
  const wrong: string[] = [];
  let right = 0;
  for await (const { case: one, outcome, why } of runCases(chosen, 2)) {
    if (outcome === "right") right++;
    if (outcome === "wrong") wrong.push(`${one.version} ${one.note}: ${why}`);
  }
  expect(wrong).toEqual([]);
  expect(right).toBeGreaterThan(chosen.length * 0.7);
}, 900_000);
