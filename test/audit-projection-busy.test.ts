/** The index of a gateway that is never quiet: it waits longer, and then is read to its end, however long that takes. */
import { EventEmitter } from "node:events";
import { afterEach, expect, onTestFinished, test, vi } from "vitest";
import { createProjection } from "../src/audit/projection.ts";
import { realPorts, silent } from "../src/ports.ts";

const thread = vi.hoisted(() => ({ asked: 0, behindBytes: 0 }));

vi.mock("node:worker_threads", () => ({
  /** Each time it is asked it is behind by as much as the test says. */
  Worker: class extends EventEmitter {
    readonly unref = (): void => {};
    readonly terminate = (): Promise<number> => Promise.resolve(0);
    postMessage({ id }: { readonly id: number }): void {
      thread.asked++;
      const { behindBytes } = thread;
      this.emit("message", { id, answer: { kind: "done", behindBytes } });
    }
  },
}));

afterEach(() => void vi.useRealTimers());

test("what was not read in time still waits", async () => {
  vi.useFakeTimers({ toFake: ["setInterval"] });
  let records = 150_000;
  const options = { directory: "/nowhere", records: () => records, utilization: () => 0.9 };
  const projection = createProjection(options, realPorts(silent));
  onTestFinished(() => projection.close());
  const look = () => vi.advanceTimersByTimeAsync(1_000);
  await look();
  expect(thread.asked).toBe(0);
  records = 250_000;
  thread.behindBytes = 1_000_000;
  for (let turn = 1; turn <= 3; turn++) {
    await look();
    expect(thread.asked).toBe(turn);
  }
  thread.behindBytes = 0;
  await look();
  expect(thread.asked).toBe(4);
  records += 100_000;
  await look();
  expect(thread.asked).toBe(4);
});
