/** An answer belongs to its question, however late it comes. */
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { createSchemaThread } from "../src/registry/schema-thread.ts";

const SLOW = { type: "object", properties: { a: { type: "string", pattern: "^(x+)+y$|^x+$" } } };
const STRICT = { type: "object", required: ["must"], properties: { must: { type: "number" } } };

function check(schema: object, args: { readonly [key: string]: string }) {
  const text = JSON.stringify(schema);
  return { kind: "check", digest: text, text, args } as const;
}

test("what a worker that was ended had already said answers nobody else's question", async () => {
  const thread = createSchemaThread({ compileMs: 5000, checkMs: 150, waitMs: 20_000, idleMs: 5000 });
  const text = "x".repeat(await slowEnough(thread));
  const ends: string[] = [];
  const answers: unknown[] = [];
  for (let round = 0; round < 12; round++) {
    await thread.ask(check(SLOW, { a: "xy" }));
    const slow = thread.ask(check(SLOW, { a: text }));
    const strict = thread.ask(check(STRICT, {}));
    await sleep(15);
    await new Promise<void>((resolve) => setImmediate(resolve));
    // the worker answers while nobody listens; when this ends, the deadline comes first and the answer after it
    const until = performance.now() + 400;
    while (performance.now() < until);
    ends.push((await slow)?.kind ?? "none");
    answers.push(await strict);
  }
  thread.close();
  // the race was run, not missed
  expect(ends).toContain("overrun");
  expect(answers).toEqual(
    answers.map(() => ({ kind: "faults", faults: [{ pointer: "/must", message: "is required" }] })),
  );
});

/** So many characters that a check takes longer than the sleep above and less than the deadline. */
async function slowEnough(thread: ReturnType<typeof createSchemaThread>): Promise<number> {
  await thread.ask(check(SLOW, { a: "xy" }));
  for (let length = 12; length < 40; length++) {
    const startedMs = performance.now();
    await thread.ask(check(SLOW, { a: "x".repeat(length) }));
    if (performance.now() - startedMs > 50) return length;
  }
  throw new Error("No text is slow enough.");
}
