/** A call goes to the least busy fit instance, is sent twice only where that is harmless, and its fate is told truly. */
import { getEventListeners } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { callOn, fixtureOverStdio, http, textOf, until, upstreamsOf } from "./support/upstreams/calling.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";
import type { Upstreams } from "../src/upstream/forward.ts";

const open: { close: () => Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).toReversed()) await one.close();
});

async function fixtures(count: number, options: Parameters<typeof startFixture>[0] = {}): Promise<Fixture[]> {
  const started = await Promise.all(Array.from({ length: count }, () => startFixture({ era: "modern", ...options })));
  open.push(...started);
  return started;
}

function over(urls: readonly string[], options?: Parameters<typeof upstreamsOf>[1]): Upstreams {
  const upstreams = upstreamsOf(
    urls.map((url) => http(url)),
    options,
  );
  open.push(upstreams);
  return upstreams;
}

/** An address where nobody listens. */
async function nobody(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}/mcp`;
}

const state = (upstreams: Upstreams, at = 0) => upstreams.status()[at]?.state;
const arrived = (all: readonly Fixture[]): number[] => all.map((fixture) => fixture.state.arrivals.length);

describe("balance", () => {
  test("sends a call to the instance with the least in flight", async () => {
    const both = await fixtures(2);
    const upstreams = over(both.map(({ url }) => url));
    const slow = Array.from({ length: 4 }, () => callOn(upstreams, "slow", { args: { ms: 400 } }));
    await Promise.all(slow.map(({ answer }) => answer));
    expect(arrived(both)).toEqual([2, 2]);
  });

  test("breaks ties by chance", async () => {
    const both = await fixtures(2);
    const upstreams = over(both.map(({ url }) => url));
    for (let calls = 0; calls < 40; calls++) await callOn(upstreams, "echo").answer;
    expect(Math.min(...arrived(both))).toBeGreaterThan(0);
  });

  test("names the instance that answered", async () => {
    const [one] = await fixtures(1);
    const { call, answer } = callOn(over([one?.url ?? ""]), "echo");
    await answer;
    expect(call.instance).toBe(`s@1#${one?.url}`);
  });
});

describe("a call that was not sent", () => {
  test("is tried on the next instance, also if it may not run twice", async () => {
    const [up] = await fixtures(1);
    const upstreams = over([await nobody(), up?.url ?? ""]);
    while (state(upstreams) !== "set_aside")
      expect(textOf(await callOn(upstreams, "echo", { args: { text: "x" } }).answer)).toBe("x");
    expect(upstreams.status()[0]?.lastError).toBe("The server cannot be reached.");
  });

  test("is unavailable and not executed when no instance is left", async () => {
    const { call, came } = callOn(over([await nobody(), await nobody()]), "echo");
    expect([await came(), call.executed, call.attempts]).toEqual(["upstream_unavailable", "no", 2]);
  });

  test("is unavailable at once when every instance is set aside", async () => {
    const upstreams = over([await nobody()], { backoffFirstMs: 60_000, backoffMaxMs: 60_000 });
    await callOn(upstreams, "echo").came();
    const { call, came } = callOn(upstreams, "echo");
    expect([await came(), call.executed, call.attempts]).toEqual(["upstream_unavailable", "no", 0]);
  });

  test("is unavailable when the server has no instance", async () => {
    const { call, came } = callOn(over([]), "echo");
    expect([await came(), call.executed, call.attempts]).toEqual(["upstream_unavailable", "no", 0]);
  });
});

describe("a call that was sent", () => {
  test("and whose fate is unknown is not sent again", async () => {
    const both = await fixtures(2);
    const { call, came } = callOn(over(both.map(({ url }) => url)), "die");
    expect([await came(), call.executed, call.attempts]).toEqual(["upstream_error", "unknown", 1]);
    expect(arrived(both).toSorted((a, b) => a - b)).toEqual([0, 1]);
  });

  test("and refused is not sent again unless the tool is idempotent, for a proxy may refuse what came of it", async () => {
    const both = await fixtures(2);
    const upstreams = over(both.map(({ url }) => url));
    while (Math.min(...arrived(both)) === 0) await callOn(upstreams, "echo").answer;
    for (const one of both) one.answerWith(403);
    const { call, came } = callOn(upstreams, "echo");
    expect([await came(), call.attempts]).toEqual(["upstream_error", 1]);
    const again = callOn(upstreams, "echo", { idempotent: true });
    expect([await again.came(), again.call.attempts]).toEqual(["upstream_error", 2]);
  });

  test("is sent again when the tool is idempotent, once per instance", async () => {
    const three = await fixtures(3);
    const { call, came } = callOn(over(three.map(({ url }) => url)), "die", { idempotent: true });
    expect([await came(), call.executed, call.attempts]).toEqual(["upstream_error", "unknown", 3]);
    expect(arrived(three)).toEqual([1, 1, 1]);
  });

  test("is sent three times at most, so that a call which makes instances fail does not go round all of them", async () => {
    const five = await fixtures(5);
    const gone = await Promise.all([nobody(), nobody(), nobody()]);
    const upstreams = over([...five.map(({ url }) => url), ...gone]);
    const { call, came } = callOn(upstreams, "die", { idempotent: true });
    expect([await came(), call.executed]).toEqual(["upstream_error", "unknown"]);
    expect(arrived(five).reduce((a, b) => a + b)).toBe(3);
  });

  test("succeeds on the second instance when the tool is idempotent", async () => {
    const both = await fixtures(2);
    const upstreams = over(both.map(({ url }) => url));
    await upstreams.discover("s", "1", new AbortController().signal);
    both[0]?.answerWith(500);
    for (let calls = 0; calls < 10; calls++) {
      const { call, came } = callOn(upstreams, "echo", { idempotent: true });
      expect([await came(), call.executed]).toEqual(["result", "yes"]);
    }
  });

  test("stays of unknown fate when the second attempt cannot be sent", async () => {
    const [ill] = await fixtures(1);
    ill?.answerWith(null);
    const upstreams = over([ill?.url ?? "", await nobody()]);
    await upstreams.discover("s", "1", new AbortController().signal);
    ill?.answerWith(500);
    // whichever is first by chance: once both were tried, the fate of the one that was sent is what counts
    const { call, came } = callOn(upstreams, "echo", { idempotent: true });
    await came();
    expect([call.attempts, call.executed]).toEqual([2, "unknown"]);
  });

  test("and answered is never sent again, whatever the answer", async () => {
    const both = await fixtures(2);
    const { call, came } = callOn(over(both.map(({ url }) => url)), "odd_kind", { idempotent: true });
    expect([await came(), call.executed, call.attempts]).toEqual(["upstream_error", "yes", 1]);
  });

  test("and ran, but answered too much, is not sent again either", async () => {
    const upstreams = upstreamsOf([fixtureOverStdio("--era", "modern"), fixtureOverStdio("--era", "legacy")]);
    open.push(upstreams);
    const { call, came } = callOn(upstreams, "big", {
      idempotent: true,
      args: { bytes: 100_000 },
      resultBytesMax: 1000,
    });
    expect([await came(), call.executed, call.attempts]).toEqual(["upstream_error", "yes", 1]);
  });

  test("is not sent again after its deadline, nor after a cancel", async () => {
    const both = await fixtures(2);
    const upstreams = over(both.map(({ url }) => url));
    const late = callOn(upstreams, "hang", { idempotent: true, timeoutMs: 150 });
    expect([await late.came(), late.call.executed, late.call.attempts]).toEqual(["upstream_timeout", "unknown", 1]);
    const controller = new AbortController();
    const gone = callOn(upstreams, "slow", { idempotent: true, signal: controller.signal, args: { ms: 3000 } });
    setTimeout(() => controller.abort(), 50);
    expect([await gone.came(), gone.call.attempts]).toEqual(["cancelled", 1]);
    expect(arrived(both).reduce((a, b) => a + b)).toBe(2);
  });
});

test("a call leaves nothing on the caller's signal and no timer behind", async () => {
  const [one] = await fixtures(1);
  const upstreams = over([one?.url ?? ""]);
  const { signal } = new AbortController();
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  await callOn(upstreams, "echo", { signal }).answer;
  const before = timers();
  for (let calls = 0; calls < 20; calls++)
    await callOn(upstreams, calls % 2 === 0 ? "echo" : "die", { signal, timeoutMs: 60_000 }).came();
  expect(getEventListeners(signal, "abort")).toEqual([]);
  expect(timers() - before).toBeLessThan(5);
});

describe("an instance that fails", () => {
  test("comes back by itself when it answers again", async () => {
    const [up] = await fixtures(1);
    const port = Number(new URL(up?.url ?? "").port);
    await up?.close();
    const upstreams = over([up?.url ?? ""]);
    expect(await callOn(upstreams, "echo").came()).toBe("upstream_unavailable");
    expect(state(upstreams)).toBe("set_aside");
    await fixtures(1, { port });
    await until(() => state(upstreams) === "ready");
    expect(await callOn(upstreams, "echo").came()).toBe("result");
  });

  test("after sending is set aside only after five in a row, and callers are not its test", async () => {
    const [ill] = await fixtures(1);
    const upstreams = over([ill?.url ?? ""], { backoffFirstMs: 300, backoffMaxMs: 300 });
    await callOn(upstreams, "echo").answer;
    ill?.answerWith(500);
    for (let calls = 0; calls < 4; calls++) await callOn(upstreams, "echo").came();
    expect(state(upstreams)).toBe("ready");
    await callOn(upstreams, "echo").came();
    expect(state(upstreams)).toBe("set_aside");
    const before = ill?.requests.filter(({ rpc }) => rpc === "tools/call").length;
    for (let calls = 0; calls < 5; calls++) expect(await callOn(upstreams, "echo").came()).toBe("upstream_unavailable");
    await until(() => (ill?.requests.at(-1)?.rpc ?? "") === "initialize");
    expect(ill?.requests.filter(({ rpc }) => rpc === "tools/call").length).toBe(before);
    ill?.answerWith(null);
    await until(() => state(upstreams) === "ready");
  });

  test("is not blamed for a tool's own failures", async () => {
    const [up] = await fixtures(1);
    const upstreams = over([up?.url ?? ""]);
    for (let calls = 0; calls < 5; calls++) {
      await callOn(upstreams, "fail").answer;
      await callOn(upstreams, "rpc_error").answer;
    }
    expect(upstreams.status()).toMatchObject([{ state: "ready", lastError: null }]);
  });

  test("is not blamed for a status that blames what it was asked with, or for", async () => {
    const [up] = await fixtures(1);
    const upstreams = over([up?.url ?? ""]);
    await callOn(upstreams, "echo").answer;
    for (const status of [401, 403, 409, 422, 409, 422, 409, 422]) {
      up?.answerWith(status);
      expect(await callOn(upstreams, "echo").came()).toBe("upstream_error");
    }
    expect(state(upstreams)).toBe("ready");
  });

  test("is not blamed for an answer that is only too large for who asked", async () => {
    const [up] = await fixtures(1);
    for (const spec of [http(up?.url ?? ""), fixtureOverStdio("--era", "modern")]) {
      const upstreams = upstreamsOf([spec]);
      open.push(upstreams);
      const wish = { args: { bytes: 100_000 } };
      for (let calls = 0; calls < 6; calls++)
        expect(await callOn(upstreams, "big", { ...wish, resultBytesMax: 1000 }).came()).toBe("upstream_error");
      expect(await callOn(upstreams, "big", wish).came()).toBe("result");
    }
  });

  test("is not blamed for a slow tool, as long as it answers otherwise", async () => {
    const [up] = await fixtures(1);
    const upstreams = over([up?.url ?? ""]);
    for (let calls = 0; calls < 5; calls++)
      expect(await callOn(upstreams, "hang", { timeoutMs: 50 }).came()).toBe("upstream_timeout");
    await until(() => (up?.requests.filter(({ rpc }) => rpc === "server/discover").length ?? 0) > 1);
    expect(state(upstreams)).toBe("ready");
  });

  test("is set aside when it is silent altogether", async () => {
    const [up] = await fixtures(1);
    const upstreams = over([up?.url ?? ""]);
    await callOn(upstreams, "echo").answer;
    up?.mute(true);
    expect(await callOn(upstreams, "echo", { timeoutMs: 50 }).came()).toBe("upstream_timeout");
    await until(() => state(upstreams) === "set_aside");
  });
});

describe("a reload", () => {
  test("keeps the connections of instances that did not change", async () => {
    const [one] = await fixtures(1, { era: "legacy" });
    const upstreams = over([one?.url ?? ""]);
    await callOn(upstreams, "echo").answer;
    upstreams.reconcile([{ server: "s", version: "1", specs: [http(one?.url ?? "")] }]);
    await callOn(upstreams, "echo").answer;
    expect(one?.state.handshakes).toBe(1);
  });

  test("replaces an instance whose credential changed", async () => {
    const [one] = await fixtures(1, { era: "legacy" });
    const upstreams = over([one?.url ?? ""]);
    await callOn(upstreams, "echo").answer;
    upstreams.reconcile([
      { server: "s", version: "1", specs: [http(one?.url ?? "", { headers: { authorization: "Bearer new" } })] },
    ]);
    await callOn(upstreams, "echo").answer;
    expect(one?.state.arrivals.map(({ headers }) => headers["authorization"])).toEqual([undefined, "Bearer new"]);
    await until(() => one?.sessions.size === 1);
  });

  test("lets a call in flight finish on an instance that is gone, and sends it no other", async () => {
    const [one] = await fixtures(1);
    const upstreams = over([one?.url ?? ""]);
    const slow = callOn(upstreams, "slow", { args: { ms: 300 } });
    await until(() => one?.state.arrivals.length === 1);
    upstreams.reconcile([]);
    expect(await callOn(upstreams, "echo").came()).toBe("upstream_unavailable");
    expect(textOf(await slow.answer)).toBe("slept");
    expect(upstreams.status()).toEqual([]);
  });
});
