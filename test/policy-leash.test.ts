/**
 * The promise: whatever becomes of a worker, and whenever, whoever asks is told, the process goes on, and the next question
 * has a worker; and a worker that is closed, or whose question nobody waits for any more, is at an end at once.
 */
import * as disk from "node:fs/promises";
import { afterEach, expect, test } from "vitest";
import { createBulk } from "../src/policy/bulk.ts";
import { PolicyRefused } from "../src/policy/diagnostic.ts";
import { createLeash, type Leash } from "../src/policy/leash.ts";

const WORKER = `
import { parentPort } from "node:worker_threads";
parentPort.on("message", (word) => {
  if (word === "endless") for (;;);
  parentPort.postMessage("heard " + word);
  if (word === "fail later") setTimeout(() => { throw new Error("later"); }, 50);
  if (word === "end later") setTimeout(() => process.exit(3), 50);
});
`;
/** Longer than it takes to start a worker; what is at an end at once is not waited for so long. */
const LONG_MS = 5_000;
const url = new URL(`data:text/javascript,${encodeURIComponent(WORKER)}`);

const open: Leash<string, string>[] = [];
afterEach(async () => {
  for (const leash of open.splice(0)) await leash.close();
});
const leash = (): Leash<string, string> => {
  const made = createLeash<string, string>({ url, name: "the worker" });
  open.push(made);
  return made;
};
const later = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test.each(["fail later", "end later"])("a worker that is idle may %s: the next question has another", async (word) => {
  const { ask } = leash();
  expect(await ask(word)).toBe(`heard ${word}`);
  await later(200);
  expect(await ask("again", { timeoutMs: LONG_MS })).toBe("heard again");
});

test("a question that is taken back ends the worker that is at it, and the next one has another", async () => {
  const { ask } = leash();
  const away = new AbortController();
  const asked = ask("endless", { timeoutMs: 60_000, signal: away.signal });
  const next = ask("next", { timeoutMs: LONG_MS });
  const unasked = ask("endless", { signal: away.signal });
  await later(100);
  away.abort();
  await expect(asked).rejects.toThrow("the worker is not asked any more");
  expect(await next).toBe("heard next");
  await expect(unasked).rejects.toThrow("the worker is not asked any more");
});

test("to close it waits for nothing that it is at, and who asked is told", async () => {
  const { ask, close } = leash();
  const all = [ask("endless"), ask("next")].map((asked) => asked.catch(String));
  await later(100);
  await Promise.race([close(), later(LONG_MS).then(() => Promise.reject(new Error("it does not end")))]);
  expect(await Promise.all(all)).toEqual([
    "Error: the worker's thread ended",
    "Error: the worker is not asked any more",
  ]);
  await expect(ask("again")).rejects.toThrow("the worker is not asked any more");
});

test("what a large bundle is refused for is told from what its thread failed at", async () => {
  const bulk = createBulk(disk);
  await bulk.close();
  const asked = bulk.createEngine(new Uint8Array(), `{"a":"${"x".repeat(200_000)}"}`);
  await expect(asked).rejects.toThrow(PolicyRefused);
  await expect(asked).rejects.toThrow("thread_fault");
});
