/** The promise: tenants come round, one at a time, however much one of them has to do; who goes away holds up nobody. */
import { expect, test } from "vitest";
import { createTurns } from "../src/policy/turns.ts";

const staying = {
  signal: new AbortController().signal,
  gone: () => new Error("gone"),
  waitMs: 60_000,
  late: () => new Error("late"),
};

test("each tenant in turn, each tenant's own in order, one at a time", async () => {
  const { take } = createTurns();
  const done: string[] = [];
  let running = 0;
  const one = (name: string): Promise<void> =>
    take(
      name.slice(0, 1),
      async () => {
        expect(++running).toBe(1);
        await new Promise(setImmediate);
        running--;
        done.push(name);
        if (name === "a3") throw new Error(name);
      },
      staying,
    );
  const all = ["a1", "a2", "a3", "a4", "b1", "b2", "c1"].map(one);
  const settled = await Promise.allSettled(all);
  expect(done).toEqual(["a1", "a2", "b1", "c1", "a3", "b2", "a4"]);
  expect(settled.filter(({ status }) => status === "rejected")).toHaveLength(1);
  await one("d1");
  expect(done.at(-1)).toBe("d1");
});

test("who goes away while he waits has no turn, and is told at once", async () => {
  const { take } = createTurns();
  const away = new AbortController();
  const first = Promise.withResolvers<void>();
  const held = take("a", () => first.promise, staying);
  let taken = 0;
  const leaving = take("b", () => Promise.resolve(taken++), { ...staying, signal: away.signal });
  const behind = take("b", () => Promise.resolve("behind"), staying);
  away.abort();
  await expect(leaving).rejects.toThrow("gone");
  await expect(take("b", () => Promise.resolve(), { ...staying, signal: away.signal })).rejects.toThrow("gone");
  first.resolve();
  await held;
  expect(await behind).toBe("behind");
  expect(taken).toBe(0);
});

test("whose turn does not come in time is told so, and holds up nobody behind", async () => {
  const { take } = createTurns();
  const first = Promise.withResolvers<void>();
  const held = take("a", () => first.promise, staying);
  let taken = 0;
  const late = take("b", () => Promise.resolve(taken++), { ...staying, waitMs: 20 });
  const behind = take("b", () => Promise.resolve("behind"), staying);
  await expect(late).rejects.toThrow("late");
  first.resolve();
  await held;
  expect(await behind).toBe("behind");
  expect(taken).toBe(0);
});
