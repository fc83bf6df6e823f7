/** The promise: each server version is asked for its tools in the background, and again when it says that they changed. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import type { Discovery } from "../src/model.ts";
import { realPorts, silent } from "../src/ports.ts";
import { createDiscoverer } from "../src/registry/discovery.ts";
import { until } from "./support/gateway.ts";

const DISCOVERY: Discovery = {
  era: "modern",
  protocol: "2026-07-28",
  serverInfo: {},
  capabilities: {},
  instructions: null,
  tools: [],
};
const FILES = { server: "files", version: "1.0.0" };

type Question = {
  readonly signal: AbortSignal;
  readonly answer: () => void;
  readonly fail: (cause: Error) => void;
};

let close = (): void => {};
afterEach(() => close());

/** A discoverer whose questions the test answers, and what it reports. */
function discoverer(nowMs = () => 0, hasTurn = () => true) {
  const questions: Question[] = [];
  const reports: string[] = [];
  const ports = realPorts(silent);
  const made = createDiscoverer(
    {
      hasTurn,
      ask: (_server, _version, signal) =>
        new Promise((resolve, reject) => {
          questions.push({ signal, answer: () => resolve(DISCOVERY), fail: reject });
        }),
    },
    {
      found: (server, version) => void reports.push(`found ${server}@${version}`),
      failed: (server, version) => void reports.push(`failed ${server}@${version}`),
    },
    { ...ports, clock: { ...ports.clock, monotonicMs: nowMs } },
  );
  close = made.close;
  const asked = (count: number) => until(() => questions.length >= count, `${count} questions`);
  const reported = (count: number) => until(() => reports.length >= count, `${count} reports`);
  return { ...made, questions, reports, asked, reported };
}

describe("discovery", () => {
  test("asks each new version at once, and no version twice", () => {
    const { reconcile, questions } = discoverer();
    reconcile([FILES]);
    reconcile([FILES, { server: "files", version: "2.0.0" }]);
    expect(questions).toHaveLength(2);
  });

  test("reports a failure, and asks again", async () => {
    const { reconcile, questions, reports, reported, asked } = discoverer();
    reconcile([FILES]);
    questions[0]?.fail(new Error("away"));
    await asked(2);
    questions[1]?.answer();
    await reported(2);
    expect(reports).toEqual(["failed files@1.0.0", "found files@1.0.0"]);
  });

  test("asks again after a wish, once for many", async () => {
    const { reconcile, refresh, questions, reported, asked } = discoverer();
    reconcile([FILES]);
    questions[0]?.answer();
    await reported(1);
    for (let wish = 0; wish < 10; wish++) refresh("files", "1.0.0");
    await asked(2);
    expect(questions).toHaveLength(2);
  });

  test("keeps a wish that comes while an answer is awaited", async () => {
    const { reconcile, refresh, questions, asked } = discoverer();
    reconcile([FILES]);
    refresh("files", "1.0.0");
    questions[0]?.answer();
    await asked(2);
    expect(questions).toHaveLength(2);
  });

  test("is not put off by a server that wishes without end", async () => {
    const { reconcile, refresh, questions, reported, asked } = discoverer();
    reconcile([FILES]);
    questions[0]?.answer();
    await reported(1);
    const flood = setInterval(() => refresh("files", "1.0.0"), 5);
    await asked(2).finally(() => clearInterval(flood));
    expect(questions.length).toBeGreaterThanOrEqual(2);
  });

  test("asks a server that wishes without end once in a while", async () => {
    const { reconcile, refresh, questions, reported } = discoverer(() => performance.now());
    reconcile([FILES]);
    questions[0]?.answer();
    await reported(1);
    const flood = setInterval(() => {
      refresh("files", "1.0.0");
      questions.at(-1)?.answer();
    }, 5);
    await sleep(1500);
    clearInterval(flood);
    expect(questions.length).toBe(2);
  });

  test("ends with its version: the question is given up, and a late answer is not reported", async () => {
    const { reconcile, questions, reports } = discoverer();
    reconcile([FILES]);
    reconcile([]);
    expect(questions[0]?.signal.aborted).toBe(true);
    questions[0]?.answer();
    await new Promise(setImmediate);
    expect(reports).toEqual([]);
  });

  test("has settled once every version was tried, or two seconds have passed", async () => {
    let nowMs = 0;
    const { reconcile, settled, questions, reported } = discoverer(() => nowMs);
    reconcile([FILES]);
    expect(settled()).toBe(false);
    nowMs = 2_000;
    expect(settled()).toBe(true);
    nowMs = 0;
    questions[0]?.answer();
    await reported(1);
    await until(settled, "the first attempt counts");
  });
});
