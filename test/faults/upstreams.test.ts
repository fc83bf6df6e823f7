/**
 * The promise: whatever an upstream server does, callers of that server are refused at once after a few failures, it is
 * back soon after it is well, and calls to other servers go on, each with its own answer. With FULL=1 many more calls.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import type { Upstreams } from "../../src/upstream/forward.ts";
import { createUpstreams } from "../../src/upstream/upstreams.ts";
import {
  PORTS,
  callOn,
  codeOf,
  fixtureOverStdio,
  http,
  textOf,
  until,
  upstreamsOf,
} from "../support/upstreams/calling.ts";
import { startIll } from "../support/upstreams/ill.ts";
import type { Ill, Illness } from "../support/upstreams/ill.ts";

const FULL = process.env["FULL"] === "1";
/** Five failures, or a second after the first, are promised; five times that is asserted, since test machines are slow. */
const FAILURES_MAX = 5;
const OPEN_MS_MAX = 5 * 1000;
/** One pause between probes, and a second; five times. */
const BACKOFF = { backoffFirstMs: 100, backoffMaxMs: 400 };
const HEALED_MS_MAX = 5 * (500 + 1000);

const MILLION_MS_MAX = FULL ? 1_800_000 : 60_000;

const open: { close: () => Promise<unknown> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one.close();
});

async function ill(options: Parameters<typeof startIll>[0] = {}): Promise<Ill> {
  const one = await startIll(options);
  open.push(one);
  return one;
}

/** An instance that can be killed and stopped; writes the text of each call into `journal` before it answers. */
async function ownProcess(journal = "/dev/null"): Promise<{ url: string; child: ChildProcess }> {
  const file = new URL("../support/upstreams/ill.ts", import.meta.url).pathname;
  const child = spawn(process.execPath, [file, "--journal", journal, "--took", "5"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const gone = once(child, "exit");
  open.push({ close: async () => void (child.kill("SIGKILL"), await gone) });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  return { url: line.toString().trim(), child };
}

/** `sick` has what is given, `well` two instances in good health. */
async function beside(sick: readonly string[]): Promise<Upstreams> {
  const well = [await ill(), await ill()];
  const options = { resultBytesMax: 1 << 20, searchPath: "", connectTimeoutMs: 500, ...BACKOFF };
  const upstreams = createUpstreams(options, PORTS);
  open.push(upstreams);
  upstreams.reconcile([
    { server: "sick", version: "1", specs: sick.map((url) => http(url, { id: url })) },
    { server: "well", version: "1", specs: well.map(({ url }) => http(url, { id: url })) },
  ]);
  return upstreams;
}

const breakerOf = (upstreams: Upstreams, id: string) => upstreams.status().find((one) => one.id === id)?.breaker;
const sickCall = (upstreams: Upstreams) => callOn(upstreams, "echo", { server: "sick", timeoutMs: 300 });

type Load = { calls: number; wrong: string[]; tookMs: number[] };

/** Calls to `well` without end; stops with how many there were, what each took, and what went wrong. */
function loadOn(upstreams: Upstreams, concurrency = 8): () => Promise<Load> {
  const load = { stopped: false, calls: 0, wrong: [] as string[], tookMs: [] as number[] };
  const workers = Array.from({ length: concurrency }, async () => {
    while (!load.stopped) {
      const text = `well ${load.calls++}`;
      const begun = performance.now();
      const { answer, came } = callOn(upstreams, "echo", { server: "well", args: { text } });
      const said = await answer.then(textOf, came);
      load.tookMs.push(performance.now() - begun);
      if (said !== text) load.wrong.push(`${text}: ${said}`);
    }
  });
  const stop = async () => {
    load.stopped = true;
    await Promise.all(workers);
    return load;
  };
  // also where the test fails before it asks
  open.push({ close: stop });
  return stop;
}

/** Calls until it is refused unsent; how many failed before, and how long after the first. */
async function untilOpen(upstreams: Upstreams, id: string): Promise<{ failures: number; tookMs: number }> {
  let failures = 0;
  let firstMs = Infinity;
  for (;;) {
    const { call, came } = sickCall(upstreams);
    const said = await came();
    expect(said, "no answer is made up").not.toBe("result");
    if (call.attempts === 0 || breakerOf(upstreams, id) !== "closed")
      return { failures, tookMs: Math.max(0, performance.now() - firstMs) };
    failures++;
    firstMs = Math.min(firstMs, performance.now());
    if (failures > FAILURES_MAX && performance.now() - firstMs > 2 * OPEN_MS_MAX) throw new Error("It never opens.");
  }
}

function expectOpened({ failures, tookMs }: { failures: number; tookMs: number }): void {
  expect(failures <= FAILURES_MAX || tookMs <= OPEN_MS_MAX, `${failures} failures, ${tookMs} ms`).toBe(true);
}

async function expectRefusedUnsent(upstreams: Upstreams): Promise<void> {
  const { call, came } = sickCall(upstreams);
  expect([await came(), call.executed, call.attempts]).toEqual(["upstream_unavailable", "no", 0]);
}

type Way = { readonly fall: () => unknown; readonly rise: () => unknown };

function p99Of({ tookMs }: Load): number {
  return tookMs.toSorted((a, b) => a - b)[Math.floor(tookMs.length * 0.99)] ?? 0;
}

/** 1.25 times, or 5 ms, is promised; five times that more is asserted, and only where nothing else runs. */
function expectUnfelt(before: Load, meanwhile: Load): void {
  const [usual, now] = [p99Of(before), p99Of(meanwhile)];
  if (FULL) expect(now, `p99 ${usual} ms before`).toBeLessThan(Math.max(usual * (1 + 5 * 0.25), usual + 5 * 5));
}

/** Falls, is left alone, is well again and back; all the while others are served: what went wrong with them. */
async function fallAndRise(upstreams: Upstreams, id: string, way: Way): Promise<readonly string[]> {
  const alone = loadOn(upstreams);
  expect(await callOn(upstreams, "echo", { server: "sick" }).came()).toBe("result");
  await sleep(FULL ? 2000 : 50);
  const before = await alone();
  const end = loadOn(upstreams);
  await way.fall();
  expectOpened(await untilOpen(upstreams, id));
  await expectRefusedUnsent(upstreams);
  await sleep(300);
  await way.rise();
  await until(() => breakerOf(upstreams, id) === "closed", HEALED_MS_MAX);
  // where its tool was at fault, that is tried again after a pause of its own
  const back = () => callOn(upstreams, "echo", { server: "sick", args: { text: "back" } });
  await expect.poll(() => back().answer.then(textOf, codeOf), { timeout: HEALED_MS_MAX }).toBe("back");
  const meanwhile = await end();
  expect(meanwhile.calls).toBeGreaterThan(100);
  expectUnfelt(before, meanwhile);
  return [...before.wrong, ...meanwhile.wrong];
}

const ILLNESSES: readonly Illness[] = [
  "hang",
  "hang after headers",
  "reset",
  "drip",
  "garbage",
  "wrong id",
  "huge",
  "wrong content type",
  "429",
  "503",
];

describe("a server beside others", () => {
  test.for(ILLNESSES)(
    "that falls ill (%s) is left alone until it is well, and the others do not feel it",
    async (how) => {
      const sick = await ill();
      const upstreams = await beside([sick.url]);
      const way = { fall: () => sick.falls(how), rise: () => sick.falls("none") };
      expect(await fallAndRise(upstreams, sick.url, way)).toEqual([]);
    },
  );

  test("that refuses connections is left alone until it listens", async () => {
    const sick = await startIll();
    const upstreams = await beside([sick.url]);
    const port = Number(new URL(sick.url).port);
    const way = { fall: sick.close, rise: () => ill({ port }) };
    expect(await fallAndRise(upstreams, sick.url, way)).toEqual([]);
  });

  test("that stands still with its connections open is left alone until it moves", async () => {
    const { url, child } = await ownProcess();
    const upstreams = await beside([url]);
    const way = { fall: () => child.kill("SIGSTOP"), rise: () => child.kill("SIGCONT") };
    expect(await fallAndRise(upstreams, url, way)).toEqual([]);
  });

  test("that does not speak TLS where it should is left alone", async () => {
    const plain = createServer((socket) => {
      socket.on("error", () => {}).once("data", () => socket.destroy());
      socket.write("HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    await new Promise<void>((resolve) => plain.listen(0, "127.0.0.1", resolve));
    open.push({ close: () => new Promise((resolve) => plain.close(resolve)) });
    const url = `https://127.0.0.1:${(plain.address() as AddressInfo).port}/mcp`;
    const upstreams = await beside([url]);
    const end = loadOn(upstreams);
    expectOpened(await untilOpen(upstreams, url));
    await expectRefusedUnsent(upstreams);
    expect((await end()).wrong).toEqual([]);
  });

  test("that says Retry-After is not called before", async () => {
    const sick = await ill();
    const upstreams = await beside([sick.url]);
    await callOn(upstreams, "echo", { server: "sick" }).answer;
    sick.falls("429");
    const asked = performance.now();
    const { answer } = callOn(upstreams, "echo", { server: "sick" });
    await expect(answer).rejects.toMatchObject({ code: "upstream_unavailable", detail: { retryAfterMs: 1000 } });
    sick.falls("none");
    const before = sick.calls();
    while ((await sickCall(upstreams).came()) !== "result") await sleep(20);
    expect(performance.now() - asked).toBeGreaterThan(900);
    expect(sick.calls()).toBe(before + 1);
  });

  test.each<Illness>(["429", "503", "reset"])("is shut for no tenant by what another asks for (%s)", async (how) => {
    const three = [await ill(), await ill(), await ill()];
    const upstreams = await beside(three.map(({ url }) => url));
    for (const one of three) one.falls(how, "ill");
    const ask = (tenant: string, text: string) => callOn(upstreams, "echo", { server: "sick", tenant, args: { text } });
    const state = { stopped: false, unsent: 0 };
    const alice = Array.from({ length: 4 }, async () => {
      while (!state.stopped) {
        const { came, call } = ask("alice", "ill");
        await came();
        if (call.attempts === 0) state.unsent++;
        await sleep(5);
      }
    });
    const said: string[] = [];
    for (let calls = 0; calls < 150; calls++) {
      said.push(await ask("bob", "well").came());
      await sleep(10);
    }
    state.stopped = true;
    await Promise.all(alice);
    expect(said.filter((one) => one !== "result")).toEqual([]);
    // and what fails again and again is left alone
    expect(state.unsent).toBeGreaterThan(20);
  });
});

test("a process that one tenant's calls end is there for the others", async () => {
  const upstreams = upstreamsOf([fixtureOverStdio()]);
  open.push(upstreams);
  const state = { stopped: false };
  // it works for somebody: of one that has not, nobody knows whose fault it is
  expect(await callOn(upstreams, "echo", { tenant: "bob", args: { text: "x" } }).came()).toBe("result");
  const alice = (async () => {
    while (!state.stopped) {
      await callOn(upstreams, "die", { tenant: "alice" }).came();
      await sleep(20);
    }
  })();
  const said: string[] = [];
  for (let calls = 0; calls < 20; calls++) {
    // so seldom that alice's failures are many in a row
    await sleep(300);
    said.push(await callOn(upstreams, "echo", { tenant: "bob", args: { text: "x" } }).came());
  }
  state.stopped = true;
  await alice;
  // under way as it ended, or while it was started
  expect(said.filter((one) => one !== "result").length).toBeLessThan(10);
}, 30_000);

describe("one of three instances", () => {
  test("that is killed costs no call that may be sent again, and no other runs twice", async () => {
    const folder = await mkdtemp(join(tmpdir(), "portcullis-killed-"));
    open.push({ close: () => rm(folder, { recursive: true }) });
    const journals = [0, 1, 2].map((at) => join(folder, String(at)));
    const three = await Promise.all(journals.map((journal) => ownProcess(journal)));
    const upstreams = await beside(three.map(({ url }) => url));
    const total = FULL ? 50_000 : 6000;
    let made = 0;
    const wrong: string[] = [];
    const worker = async () => {
      while (made < total) {
        const text = `${made++}`;
        if (made === total / 2) three[1]?.child.kill("SIGKILL");
        const idempotent = made % 2 === 0;
        const { answer, call, came } = callOn(upstreams, "echo", { server: "sick", idempotent, args: { text } });
        const said = await answer.then(textOf, came);
        // what was under way there and may not be sent again is lost, and said to be
        const lost = !idempotent && said === "upstream_error" && call.executed === "unknown";
        if (said !== text && !lost) wrong.push(`${text}: ${said}`);
      }
    };
    await Promise.all(Array.from({ length: 32 }, worker));
    expect(wrong).toEqual([]);
    const texts = await Promise.all(journals.map((journal) => readFile(journal, "utf8")));
    const ran = texts.flatMap((text) => text.split("\n").filter((line) => line !== ""));
    expect(texts[1]?.length).toBeGreaterThan(0);
    const mayNotRunTwice = ran.filter((text) => Number(text) % 2 === 0);
    expect(mayNotRunTwice.length - new Set(mayNotRunTwice).size).toBe(0);
  });

  test("that stands still is noticed long before a call there runs out", async () => {
    const three = await Promise.all([ownProcess(), ownProcess(), ownProcess()]);
    const upstreams = await beside(three.map(({ url }) => url));
    const [hung] = three;
    const ask = () => callOn(upstreams, "echo", { server: "sick", timeoutMs: 60_000 });
    for (let calls = 0; calls < 9; calls++) await ask().answer;
    hung.child.kill("SIGSTOP");
    const stoppedMs = performance.now();
    const waiting: ReturnType<typeof ask>[] = [];
    while (breakerOf(upstreams, hung.url) === "closed" && performance.now() - stoppedMs < 30_000) {
      waiting.push(ask());
      await sleep(20);
    }
    expect(performance.now() - stoppedMs).toBeLessThan(OPEN_MS_MAX);
    expect(three.map(({ url }) => breakerOf(upstreams, url) === "closed")).toEqual([false, true, true]);
    for (let calls = 0; calls < 20; calls++) expect(await ask().came()).toBe("result");
    // those that it has are answered once it moves
    hung.child.kill("SIGCONT");
    expect(new Set(await Promise.all(waiting.map(({ came }) => came())))).toEqual(new Set(["result"]));
    await until(() => breakerOf(upstreams, hung.url) === "closed", HEALED_MS_MAX);
  });

  test("that is slow gets few of the calls", async () => {
    const three = [await ill(), await ill(), await ill()];
    const upstreams = await beside(three.map(({ url }) => url));
    three[0]?.falls("slow");
    const worker = async () => {
      for (let calls = 0; calls < 50; calls++)
        expect(await callOn(upstreams, "echo", { server: "sick", args: { text: "x" } }).came()).toBe("result");
    };
    await Promise.all(Array.from({ length: 8 }, worker));
    const [slow = 0, ...rest] = three.map((one) => one.calls());
    expect(slow).toBeLessThan(Math.min(...rest) / 2);
  });

  test(
    "that comes and goes costs calls that may be sent again nothing, and misroutes none",
    async () => {
      const three = [await ill(), await ill(), await ill()];
      const upstreams = await beside(three.map(({ url }) => url));
      let up = true;
      const flapping = setInterval(() => {
        up = !up;
        three[0]?.falls(up ? "none" : "reset");
      }, 100);
      open.push({ close: async () => clearInterval(flapping) });
      const total = FULL ? 1_000_000 : 5000;
      let made = 0;
      const wrong: string[] = [];
      const worker = async () => {
        while (made < total) {
          const text = `call ${made++}`;
          const idempotent = made % 2 === 0;
          const { answer, call, came } = callOn(upstreams, "echo", { server: "sick", idempotent, args: { text } });
          const said = await answer.then(textOf, came);
          const lost = !idempotent && said === "upstream_error" && call.executed === "unknown" && call.attempts < 3;
          if (said !== text && !lost) wrong.push(`${text}: ${said}`);
        }
      };
      await Promise.all(Array.from({ length: 64 }, worker));
      expect(wrong).toEqual([]);
    },
    MILLION_MS_MAX,
  );
});
