/** No server takes more of the gateway than its part: calls at one moment, calls that wait, calls sent again, time. */
import { afterEach, describe, expect, test } from "vitest";
import { TRAFFIC } from "../src/config-traffic.ts";
import type { Upstreams } from "../src/upstream/forward.ts";
import { createBudget } from "../src/upstream/budget.ts";
import { callOn, http, textOf, until, upstreamsOf } from "./support/upstreams/calling.ts";
import type { Made } from "./support/upstreams/calling.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

const open: { close: () => Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one.close();
});

async function fixture(options: Parameters<typeof startFixture>[0] = {}): Promise<Fixture> {
  const started = await startFixture({ era: "modern", ...options });
  open.push(started);
  return started;
}

function over(all: readonly Fixture[], terms: Partial<typeof TRAFFIC> = {}): Upstreams {
  const upstreams = upstreamsOf(
    all.map(({ url }) => http(url)),
    { terms: { ...TRAFFIC, ...terms } },
  );
  open.push(upstreams);
  return upstreams;
}

const traffic = (upstreams: Upstreams) => upstreams.traffic()[0];
const came = (calls: readonly Made[]) => Promise.all(calls.map((one) => one.came()));

describe("concurrency", () => {
  test("is the most that run at one moment, on all instances together; others wait for their turn", async () => {
    let running = 0;
    let most = 0;
    const work = async () => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setTimeout(resolve, 30));
      running--;
      return { result: { content: [] } };
    };
    const both = [await fixture({ handlers: { work } }), await fixture({ handlers: { work } })];
    const upstreams = over(both, { concurrency: 3 });
    const calls = Array.from({ length: 12 }, () => callOn(upstreams, "work"));
    await until(() => running > 0);
    expect(traffic(upstreams)).toMatchObject({ running: 3, waiting: 9 });
    expect(await came(calls)).toEqual(Array.from({ length: 12 }, () => "result"));
    expect(most).toBe(3);
    expect(traffic(upstreams)).toMatchObject({ running: 0, waiting: 0 });
  });

  test("beyond the queue refuses at once, unsent, and says when to try again", async () => {
    const upstreams = over([await fixture()], { concurrency: 1, queue: 2 });
    const calls = Array.from({ length: 3 }, () => callOn(upstreams, "slow", { args: { ms: 100 } }));
    const refused = callOn(upstreams, "echo");
    await expect(refused.answer).rejects.toMatchObject({
      code: "upstream_unavailable",
      message: "Too many calls wait for this server.",
      detail: { retryAfterMs: 1000 },
    });
    expect([refused.call.executed, refused.call.attempts]).toEqual(["no", 0]);
    expect(await came(calls)).toEqual(["result", "result", "result"]);
  });

  test("lets tenants take turns, however many calls one of them has waiting", async () => {
    const one = await fixture();
    const upstreams = over([one], { concurrency: 1 });
    const flood = Array.from({ length: 30 }, (_, at) =>
      callOn(upstreams, "echo", { tenant: "loud", args: { text: `loud ${at}` } }),
    );
    const quiet = callOn(upstreams, "echo", { tenant: "quiet", args: { text: "quiet" } });
    await quiet.answer;
    expect(one.state.arrivals.length).toBeLessThanOrEqual(4);
    await came(flood);
  });

  test("that is raised lets those who wait go on at once", async () => {
    const one = await fixture();
    const upstreams = over([one], { concurrency: 1 });
    const calls = Array.from({ length: 3 }, () => callOn(upstreams, "slow", { args: { ms: 300 } }));
    await until(() => traffic(upstreams)?.waiting === 2);
    const terms = { ...TRAFFIC, concurrency: 3 };
    upstreams.reconcile([{ server: "s", version: "1", specs: [http(one.url)], terms }]);
    expect(traffic(upstreams)).toMatchObject({ running: 3, waiting: 0 });
    expect(await came(calls)).toEqual(["result", "result", "result"]);
    expect(traffic(upstreams)).toMatchObject({ running: 0, waiting: 0 });
  });

  test("has room in the queue for a tenant beside one that fills it, whose newest call gives way", async () => {
    const upstreams = over([await fixture()], { concurrency: 1, queue: 3 });
    const loud = Array.from({ length: 4 }, () => callOn(upstreams, "slow", { tenant: "loud", args: { ms: 100 } }));
    const quiet = callOn(upstreams, "echo", { tenant: "quiet" });
    expect(traffic(upstreams)?.waiting).toBe(3);
    expect(await loud[3]?.came()).toBe("upstream_unavailable");
    expect(loud[3]?.call).toMatchObject({ executed: "no", attempts: 0 });
    expect(await callOn(upstreams, "echo", { tenant: "loud" }).came()).toBe("upstream_unavailable");
    expect(await quiet.came()).toBe("result");
    expect(await came(loud.slice(0, 3))).toEqual(["result", "result", "result"]);
    expect(traffic(upstreams)).toMatchObject({ running: 0, waiting: 0 });
  });

  test("counts the wait against the call's time, and gives its place back", async () => {
    const one = await fixture();
    const upstreams = over([one], { concurrency: 1 });
    const slow = callOn(upstreams, "slow", { args: { ms: 300 } });
    const late = callOn(upstreams, "echo", { timeoutMs: 50 });
    expect([await late.came(), late.call.executed, late.call.attempts]).toEqual(["upstream_timeout", "no", 0]);
    const controller = new AbortController();
    const gone = callOn(upstreams, "echo", { signal: controller.signal });
    controller.abort();
    expect([await gone.came(), gone.call.executed]).toEqual(["cancelled", "no"]);
    expect(traffic(upstreams)).toMatchObject({ running: 1, waiting: 0 });
    await slow.answer;
    expect(await callOn(upstreams, "echo").came()).toBe("result");
    expect(one.state.arrivals.length).toBe(2);
  });
});

describe("an instance that fails at once", () => {
  test("gets few of the calls, also before it is set aside", async () => {
    const both = [await fixture(), await fixture()];
    const never = { ...TRAFFIC.outlierDetection, consecutiveErrors: 1000 };
    const upstreams = over(both, { outlierDetection: never });
    await upstreams.discover("s", "1", new AbortController().signal);
    const handed = () => both[0]?.requests.filter(({ rpc }) => rpc === "tools/call").length ?? 0;
    await callOn(upstreams, "echo").came();
    both[0]?.answerWith(500);
    for (let calls = 0; calls < 30; calls++) await callOn(upstreams, "echo").came();
    expect(handed()).toBeLessThan(5);
  });
});

test("an instance that lets calls run into their deadline gets few of them, though it answers a probe", async () => {
  // some take longer than others: next to them one that never answers must not look steady
  let turn = 0;
  const work = async () => {
    await new Promise((resolve) => setTimeout(resolve, (turn++ % 4) * 10));
    return { result: { content: [] } };
  };
  const hole = async () => ({ fault: "hang" }) as const;
  const both = [await fixture({ handlers: { work: hole } }), await fixture({ handlers: { work } })];
  const upstreams = over(both);
  for (let calls = 0; calls < 40; calls++) await callOn(upstreams, "work", { timeoutMs: 200 }).came();
  expect(both[0]?.state.arrivals.length).toBeLessThan(5);
});

describe("sending again", () => {
  test("is a tenth of the calls and a few, however much fails", async () => {
    const three = [await fixture(), await fixture(), await fixture()];
    // none is ever set aside: all that holds the load down is the budget
    const never = { ...TRAFFIC.outlierDetection, consecutiveErrors: 1000 };
    const upstreams = over(three, { outlierDetection: never });
    const began = performance.now();
    for (let calls = 0; calls < 300; calls++) await callOn(upstreams, "die", { idempotent: true }).came();
    const seconds = (performance.now() - began) / 1000;
    const sent = three.reduce((sum, one) => sum + one.state.arrivals.length, 0);
    expect(sent - 300).toBe(traffic(upstreams)?.retries);
    expect(sent - 300).toBeLessThan(300 * 0.1 + 50 + 5 * seconds + 1);
    expect(sent - 300).toBeGreaterThan(50);
  });

  test("is not earned by calls that were refused unsent", async () => {
    const one = await fixture();
    const upstreams = over([one]);
    one.answerWith(429);
    await callOn(upstreams, "echo").came();
    one.mute(true);
    await until(() => upstreams.status()[0]?.state === "set_aside");
    for (let calls = 0; calls < 300; calls++) await callOn(upstreams, "echo").came();
    const budget = upstreams.group("s", "1")?.budget;
    let left = 0;
    while (budget?.withdraw() === true) left++;
    expect(left).toBeLessThanOrEqual(50);
  });

  test("has a reserve of fifty at rest, five more each second, and a tenth of the calls", () => {
    let now = 0;
    const budget = createBudget(() => now);
    const drain = (): number => {
      let drained = 0;
      while (budget.withdraw()) drained++;
      return drained;
    };
    expect(drain()).toBe(50);
    now += 1000;
    expect(drain()).toBe(4);
    for (let calls = 0; calls < 100; calls++) budget.deposit();
    expect(drain()).toBe(10);
    for (let calls = 0; calls < 1000; calls++) budget.deposit();
    now += 120_000;
    expect(drain()).toBeLessThanOrEqual(50);
  });

  test("gives the server the same key each time, and another for another call; none where it is sent once", async () => {
    const both = [await fixture(), await fixture()];
    const upstreams = over(both);
    const first = callOn(upstreams, "die", { idempotent: true });
    await first.came();
    const second = callOn(upstreams, "echo", { idempotent: true, meta: { "portcullis/idempotencyKey": "forged" } });
    await second.came();
    await callOn(upstreams, "echo").came();
    const keys = both.flatMap(({ state }) =>
      state.arrivals.map(({ name, meta }) => [name, meta["portcullis/idempotencyKey"] ?? null]),
    );
    const { id } = first.call as unknown as { id: string };
    const other = (second.call as unknown as { id: string }).id;
    expect(keys.toSorted()).toEqual(
      [
        ["die", id],
        ["die", id],
        ["echo", other],
        ["echo", null],
      ].toSorted(),
    );
  });
});

describe("time", () => {
  test("without progress is bounded by idleTimeout, which each word of progress begins anew", async () => {
    const upstreams = over([await fixture()]);
    const busy = callOn(upstreams, "progress", { idleTimeoutMs: 250, args: { steps: 8, ms: 80 } });
    expect(textOf(await busy.answer)).toBe("done");
    const idle = callOn(upstreams, "slow", { idleTimeoutMs: 250, args: { ms: 2000 } });
    expect([await idle.came(), idle.call.executed]).toEqual(["upstream_timeout", "unknown"]);
  });

  test("without progress is counted from when it is sent, not while it waits for its turn", async () => {
    const upstreams = over([await fixture()], { concurrency: 1 });
    const first = callOn(upstreams, "slow", { args: { ms: 500 } });
    const second = callOn(upstreams, "echo", { idleTimeoutMs: 250 });
    expect(await came([first, second])).toEqual(["result", "result"]);
  });

  test("in all is bounded however much progress there is", async () => {
    const upstreams = over([await fixture()]);
    const wish = { idleTimeoutMs: 200, timeoutMs: 400, args: { steps: 100, ms: 50 } };
    expect(await callOn(upstreams, "progress", wish).came()).toBe("upstream_timeout");
  });

  test("that is left is told to the server, less what was spent waiting", async () => {
    const one = await fixture();
    const upstreams = over([one], { concurrency: 1 });
    const calls = [callOn(upstreams, "slow", { args: { ms: 200 } }), callOn(upstreams, "echo", { timeoutMs: 1000 })];
    await came(calls);
    const left = one.state.arrivals.map(({ meta }) => Number(meta["portcullis/timeLeftMs"]));
    expect(left[0]).toBeGreaterThan(4000);
    expect(left[1]).toBeGreaterThan(0);
    expect(left[1]).toBeLessThan(850);
  });
});

describe("an answer that is more than an answer may be", () => {
  test("is the tool's doing: not sent again elsewhere, nothing against its instance, and five in a row are enough", async () => {
    const big = async () => ({ result: { content: [{ type: "text", text: "x".repeat(200_000) }] } });
    const both = [await fixture({ handlers: { big } }), await fixture({ handlers: { big } })];
    const specs = both.map(({ url }) => http(url));
    const upstreams = upstreamsOf(specs, { resultBytesMax: 100_000, terms: { ...TRAFFIC, outlierDetection: STRICT } });
    open.push(upstreams);
    for (let calls = 0; calls < 5; calls++) {
      const one = callOn(upstreams, "big", { idempotent: true });
      await expect(one.answer).rejects.toMatchObject({ code: "upstream_error" });
      expect(one.call.attempts).toBe(1);
    }
    const refused = callOn(upstreams, "big");
    expect([await refused.came(), refused.call.attempts]).toEqual(["upstream_unavailable", 0]);
    expect(traffic(upstreams)).toMatchObject({ openTools: ["big"], retries: 0 });
    for (let calls = 0; calls < 4; calls++)
      expect(await callOn(upstreams, "big", { tenant: "other" }).came()).toBe("upstream_error");
    expect(await callOn(upstreams, "echo").came()).toBe("result");
    expect(upstreams.status()).toMatchObject([{ breaker: "closed" }, { breaker: "closed" }]);
  });

  test("for this caller alone says nothing against the tool either", async () => {
    const upstreams = over([await fixture()]);
    for (let calls = 0; calls < 6; calls++)
      expect(await callOn(upstreams, "big", { args: { bytes: 100_000 }, resultBytesMax: 1000 }).came()).toBe(
        "upstream_error",
      );
    expect(traffic(upstreams)).toMatchObject({ openTools: [] });
  });
});

const STRICT = { ...TRAFFIC.outlierDetection, consecutiveErrors: 5 };

describe("a tool that runs into its deadline", () => {
  const late = { timeoutMs: 40 };

  test("five times in a row is not called for a while, and others of its server are", async () => {
    const upstreams = over([await fixture()]);
    await callOn(upstreams, "echo").answer;
    for (let calls = 0; calls < 5; calls++)
      expect(await callOn(upstreams, "hang", late).came()).toBe("upstream_timeout");
    await until(() => traffic(upstreams)?.openTools[0] === "hang");
    const refused = callOn(upstreams, "hang", late);
    await expect(refused.answer).rejects.toMatchObject({ code: "upstream_unavailable" });
    expect([refused.call.executed, refused.call.attempts]).toEqual(["no", 0]);
    expect(await callOn(upstreams, "echo").came()).toBe("result");
    expect(upstreams.status()).toMatchObject([{ state: "ready", breaker: "closed" }]);
  });

  test("is refused before it waits for a turn", async () => {
    const upstreams = over([await fixture()], { concurrency: 1 });
    await callOn(upstreams, "echo").answer;
    for (let calls = 0; calls < 5; calls++) await callOn(upstreams, "hang", late).came();
    await until(() => traffic(upstreams)?.openTools[0] === "hang");
    const busy = callOn(upstreams, "slow", { args: { ms: 500 } });
    const waiting = callOn(upstreams, "echo");
    const refused = callOn(upstreams, "hang", late);
    const first = await Promise.race([refused.came(), waiting.came(), busy.came()]);
    expect([first, traffic(upstreams)?.waiting]).toEqual(["upstream_unavailable", 1]);
    expect(await came([busy, waiting])).toEqual(["result", "result"]);
  });

  test("is tried by one call after the pause, whose answer opens it for all", async () => {
    let slow = true;
    const moody = async () => {
      await new Promise((resolve) => setTimeout(resolve, slow ? 150 : 30));
      return { result: { content: [] } };
    };
    const one = await fixture({ handlers: { moody } });
    let skipped = 0;
    const upstreams = upstreamsOf([http(one.url)], { aheadMs: () => skipped });
    open.push(upstreams);
    await callOn(upstreams, "echo").answer;
    while (traffic(upstreams)?.openTools.length === 0) await callOn(upstreams, "moody", late).came();
    const before = one.state.arrivals.length;
    skipped += 5000;
    slow = false;
    const wave = Array.from({ length: 10 }, () => callOn(upstreams, "moody", { timeoutMs: 3000 }));
    const said = await came(wave);
    expect(said.filter((code) => code === "result").length).toBe(1);
    expect(one.state.arrivals.length - before).toBe(1);
    expect(await callOn(upstreams, "moody").came()).toBe("result");
  });

  test("now and then stays open: an answer between two of them begins the count anew", async () => {
    const upstreams = over([await fixture()]);
    for (let calls = 0; calls < 4; calls++)
      await callOn(upstreams, "slow", { timeoutMs: 40, args: { ms: 200 } }).came();
    await until(() => traffic(upstreams)?.running === 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    await callOn(upstreams, "slow", { args: { ms: 1 } }).answer;
    for (let calls = 0; calls < 4; calls++)
      await callOn(upstreams, "slow", { timeoutMs: 40, args: { ms: 200 } }).came();
    expect(await callOn(upstreams, "slow", { args: { ms: 1 } }).came()).toBe("result");
  });
});

describe("a drained instance", () => {
  test("gets no new call, and finishes those under way", async () => {
    const both = [await fixture(), await fixture()];
    const specs = both.map(({ url }) => http(url));
    const upstreams = over(both);
    const slow = Array.from({ length: 4 }, () => callOn(upstreams, "slow", { args: { ms: 200 } }));
    await until(() => both.every(({ state }) => state.arrivals.length === 2));
    upstreams.reconcile([{ server: "s", version: "1", specs, weights: [0, 1] }]);
    for (let calls = 0; calls < 10; calls++) await callOn(upstreams, "echo").answer;
    expect(both.map(({ state }) => state.arrivals.length)).toEqual([2, 12]);
    expect(await came(slow)).toEqual(["result", "result", "result", "result"]);
  });
});
