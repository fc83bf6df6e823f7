/** Bodies are bounded together as their bytes arrive, and what they took is given back exactly once. */
import type { IncomingMessage } from "node:http";
import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { BODIES_BYTES_MAX, readBody } from "../src/doors/body.ts";

const HEADERS = { "content-type": "application/json", "transfer-encoding": "chunked" };

function body(budget: { bodiesBytes: number }, bytesMax = 1000) {
  const stream = new PassThrough();
  const read = readBody(stream as unknown as IncomingMessage, HEADERS, bytesMax, budget);
  return { stream, read };
}

test("a body that goes beyond what all may take together is shed, the others are read", async () => {
  const budget = { bodiesBytes: BODIES_BYTES_MAX - 10 };
  const { stream, read } = body(budget);
  stream.write("[1,2,3,4,5,6]");
  await expect(read).rejects.toMatchObject({ code: "overloaded" });
  expect(budget.bodiesBytes).toBe(BODIES_BYTES_MAX - 10);
  const small = body(budget);
  small.stream.end("[1]");
  expect(await small.read).toEqual([1]);
  expect(budget.bodiesBytes).toBe(BODIES_BYTES_MAX - 10);
});

test("a caller who goes away after a refusal is not counted out twice", async () => {
  const budget = { bodiesBytes: 0 };
  const { stream, read } = body(budget, 5);
  stream.write("[1,2,3,4]");
  await expect(read).rejects.toMatchObject({ code: "payload_too_large" });
  stream.destroy(new Error("reset"));
  await new Promise(setImmediate);
  expect(budget.bodiesBytes).toBe(0);
});
