/**
 * Breaker and ejection under simulated time and random schedules, against a model that is written as the promise reads:
 * so many failures in a row open it, nobody passes before its pause is over, then one does, and its word decides.
 */
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { TRAFFIC } from "../src/config-traffic.ts";
import type { Answer } from "../src/model.ts";
import { Refusal } from "../src/refusal.ts";
import { admit, newBreaker, open, report } from "../src/upstream/breaker.ts";
import type { Pass, Verdict } from "../src/upstream/breaker.ts";
import { newExchange } from "../src/upstream/connection.ts";
import type { Connection, Exchange } from "../src/upstream/connection.ts";
import { observe, observeFailure } from "../src/upstream/balance.ts";
import { createGroup } from "../src/upstream/group.ts";
import { openInstance } from "../src/upstream/instance.ts";
import type { Instance } from "../src/upstream/instance.ts";
import { PORTS, http } from "./support/upstreams/calling.ts";

const FULL = process.env["FULL"] === "1";

describe("a breaker", () => {
  type Step =
    | { readonly kind: "pass"; readonly verdict: Verdict }
    | { readonly kind: "wait"; readonly ms: number }
    /** Passes, and tells how it went only later. */
    | { readonly kind: "begin" }
    | { readonly kind: "end"; readonly verdict: Verdict };
  const verdict = fc.constantFrom<Verdict>("worked", "failed", "failed", "nothing");
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ kind: fc.constant("pass" as const), verdict }),
    fc.record({ kind: fc.constant("wait" as const), ms: fc.nat(150) }),
    fc.record({ kind: fc.constant("begin" as const) }),
    fc.record({ kind: fc.constant("end" as const), verdict }),
  );
  const PAUSE = 100;

  test("does what the model says, whatever comes in whatever order", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 6 }), fc.array(step, { maxLength: 120 }), (failuresMax, steps) => {
        const breaker = newBreaker();
        const model = { failed: 0, openUntil: null as number | null, probing: false };
        const pending: Pass[] = [];
        let now = 0;
        const pass = (): Pass | null => {
          const expected =
            model.openUntil === null ? "call" : model.probing || now < model.openUntil ? null : ("probe" as const);
          if (expected === "probe") model.probing = true;
          expect(admit(breaker, now)).toBe(expected);
          return expected;
        };
        const end = (by: Pass, how: Verdict): void => {
          if (report(breaker, by, how, failuresMax)) open(breaker, now + PAUSE);
          if (by === "probe") {
            model.probing = false;
            if (how === "failed") model.openUntil = now + PAUSE;
            if (how === "worked") Object.assign(model, { failed: 0, openUntil: null });
          } else if (model.openUntil === null && how !== "nothing") {
            model.failed = how === "worked" ? 0 : model.failed + 1;
            if (model.failed >= failuresMax) model.openUntil = now + PAUSE;
          }
          expect(breaker.state).toBe(model.openUntil === null ? "closed" : model.probing ? "half_open" : "open");
        };
        for (const one of steps) {
          if (one.kind === "wait") now += one.ms;
          else if (one.kind === "end") {
            const by = pending.shift();
            if (by !== undefined) end(by, one.verdict);
          } else {
            const by = pass();
            if (by === null) continue;
            if (one.kind === "begin") pending.push(by);
            else end(by, one.verdict);
          }
        }
      }),
      { numRuns: FULL ? 50_000 : 2000 },
    );
  });
});

/** Instances whose connection is a switch: well, failing each call, or not to be reached. */
type Health = "well" | "failing" | "gone" | "silent";
type Simulated = {
  health: Health;
  /** Calls of this tenant fail, however well it is. */
  failsFor: string | null;
  probes: number;
  probing: number;
  probingMax: number;
  readonly instance: Instance;
};
const PROBE_MS = 5;

describe("a group of instances", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  const ports = { ...PORTS, clock: { ...PORTS.clock, monotonicMs: () => performance.now() } };

  function simulate(count: number, terms = TRAFFIC) {
    const group = createGroup(terms, ports);
    const all = Array.from({ length: count }, (_, at) => simulated(String(at), group));
    group.adopt(
      all.map(({ instance }) => instance),
      terms,
    );
    return { group, all };
  }

  function simulated(id: string, group: ReturnType<typeof createGroup>): Simulated {
    const greeting = { era: "modern", protocol: "", serverInfo: {}, capabilities: {}, instructions: null } as const;
    const send = async (exchange: Exchange): Promise<Answer> => {
      if (exchange.method !== "tools/call") {
        one.probes++;
        one.probingMax = Math.max(one.probingMax, ++one.probing);
        await new Promise((resolve) => setTimeout(resolve, PROBE_MS));
        one.probing--;
      }
      if (one.health === "silent")
        return await new Promise((_, reject) => {
          exchange.stop = () => reject(exchange.gaveUp ?? new Error("stopped"));
        });
      if (one.health === "gone") throw new Refusal("upstream_unavailable", "gone");
      const fails = one.health === "failing" || (one.failsFor !== null && one.failsFor === exchange.tenant);
      if (fails && exchange.method === "tools/call") {
        exchange.executed = "unknown";
        throw new Refusal("upstream_error", "failing");
      }
      return { kind: "result", result: {} };
    };
    const connection = { open: async () => greeting, send, alive: () => true } as unknown as Connection;
    const instance = openInstance(
      http(`http://127.0.0.1/${id}`),
      { server: "s", version: "1" },
      {
        connect: () => ({ ...connection, forget: () => {}, listen: () => {} }),
        connection: { resultBytesMax: 1, searchPath: "", cwd: null, ports },
        fitness: {
          backoffFirstMs: 500,
          backoffMaxMs: 30_000,
          terms: () => group.terms().outlierDetection,
          mayEject: group.mayEject,
          onTurn: group.turned,
        },
        maySpare: group.maySpare,
        onListChanged: () => {},
      },
    );
    const one: Simulated = { health: "well", failsFor: null, probes: 0, probing: 0, probingMax: 0, instance };
    return one;
  }

  const call = async (group: ReturnType<typeof createGroup>): Promise<Instance | null> => {
    const instance = group.pick([]);
    await instance?.send(newExchange("tools/call", {}, 1)).then(
      () => observe(instance.load, 5, 5, performance.now()),
      () => observeFailure(instance.load, performance.now()),
    );
    return instance;
  };
  async function failingCalls(group: ReturnType<typeof createGroup>, instance: Instance, count: number): Promise<void> {
    for (let calls = 0; calls < count; calls++) await instance.send(newExchange("tools/call", {}, 1)).catch(() => {});
    expect(group.instances()).toContain(instance);
  }
  const busy = (retryAfterMs: number) => new Refusal("upstream_unavailable", "busy", { retryAfterMs });
  const breakers = (all: readonly Simulated[]) => all.map(({ instance }) => instance.fitness.breaker());

  test("never gives a call to one that is set aside, probes one at a time, and takes back who is well", async () => {
    type Step =
      | { readonly kind: "turn"; readonly at: number; readonly health: Health }
      | { readonly kind: "drain"; readonly at: number; readonly weight: number }
      | { readonly kind: "calls"; readonly count: number }
      | { readonly kind: "wait"; readonly ms: number };
    const step: fc.Arbitrary<Step> = fc.oneof(
      fc.record({ kind: fc.constant("drain" as const), at: fc.nat(4), weight: fc.constantFrom(0, 1) }),
      fc.record({
        kind: fc.constant("turn" as const),
        at: fc.nat(4),
        health: fc.constantFrom<Health>("well", "failing", "gone"),
      }),
      fc.record({ kind: fc.constant("calls" as const), count: fc.integer({ min: 1, max: 20 }) }),
      fc.record({ kind: fc.constant("wait" as const), ms: fc.nat(40_000) }),
    );
    const law = fc.asyncProperty(
      fc.constantFrom("ewma", "least", "round-robin" as const),
      fc.integer({ min: 1, max: 5 }),
      fc.array(step, { maxLength: 40 }),
      async (balance, count, steps) => {
        const { group, all } = simulate(count, { ...TRAFFIC, balance });
        const isDrained = (at: number): boolean => all[at]?.instance.load.weight === 0;
        const weigh = (at: number, weight: number): void => {
          const which = all[at];
          if (which !== undefined) which.instance.load.weight = weight;
          group.adopt(group.instances(), group.terms());
        };
        const inARow = all.map(() => 0);
        for (const one of steps) {
          if (one.kind === "wait") await vi.advanceTimersByTimeAsync(one.ms);
          else if (one.kind === "drain") weigh(one.at % count, one.weight);
          else if (one.kind === "turn") {
            const which = all[one.at % count];
            if (which !== undefined) which.health = one.health;
          } else
            for (let calls = 0; calls < one.count; calls++) {
              const closed = breakers(all).map((state, at) => state === "closed" && !isDrained(at));
              const taken = await call(group);
              const index = all.findIndex(({ instance }) => instance === taken);
              expect(index === -1 ? closed.includes(true) : closed[index] !== true, "only who is fit").toBe(false);
              if (index === -1) continue;
              const health = all[index]?.health;
              inARow[index] = health === "well" ? 0 : (inARow[index] ?? 0) + 1;
              const opens = health === "gone" || inARow[index] >= 5;
              expect(breakers(all)[index], `${health} ${inARow[index]} in a row`).toBe(opens ? "open" : "closed");
              if (opens) inARow[index] = 0;
            }
        }
        expect(Math.max(...all.map(({ probingMax }) => probingMax))).toBeLessThanOrEqual(1);
        for (const one of all) one.health = "well";
        // the longest ejection, and its jitter
        await vi.advanceTimersByTimeAsync(300_000 * 1.1 + 60_000);
        expect(breakers(all)).toEqual(all.map(() => "closed"));
        // and none is forgotten: each that is not drained is called again
        const called = new Set<Instance | null>();
        for (let calls = 0; calls < 60 * count; calls++) called.add(await call(group));
        const taking = all.filter((_, at) => !isDrained(at)).map(({ instance }) => instance);
        expect(called).toEqual(new Set(taking.length === 0 ? [null] : taking));
        for (const { instance } of all) instance.fitness.stop();
        // the group's own timer, or each run would turn those of all before it
        group.adopt([], group.terms());
      },
    );
    await fc.assert(law, { numRuns: FULL ? 3000 : 150 });
  });

  test("sets none aside for a second of silence, whatever ran into its deadline meanwhile but for five calls", async () => {
    const { group, all } = simulate(3);
    const [paused] = all as [Simulated];
    for (let times = 0; times < 5; times++) {
      paused.health = "silent";
      for (let calls = 0; calls < 4; calls++) void paused.instance.suspect(true);
      await vi.advanceTimersByTimeAsync(1100);
      paused.health = "well";
      await vi.advanceTimersByTimeAsync(2000);
      expect([times, breakers(all)[0]]).toEqual([times, "closed"]);
      await paused.instance.send(newExchange("tools/call", {}, 1));
    }
    paused.health = "silent";
    for (let calls = 0; calls < 4; calls++) void paused.instance.suspect(true);
    await vi.advanceTimersByTimeAsync(1100);
    expect(breakers(all)[0]).toBe("closed");
    // the fifth, of one that is known to be silent
    void paused.instance.suspect(true);
    expect(breakers(all)[0]).toBe("open");
    expect(group.pick([])).not.toBe(paused.instance);
  });

  test("sets aside what is silent for three seconds, also where one call alone waited, or none", async () => {
    for (const wait of ["call", "look"]) {
      const { all } = simulate(3);
      const [hung] = all as [Simulated];
      hung.health = "silent";
      if (wait === "look") hung.instance.look();
      const answers = wait === "call" ? hung.instance.suspect(true) : null;
      await vi.advanceTimersByTimeAsync(2500);
      expect([wait, breakers(all)[0]]).toEqual([wait, "closed"]);
      await vi.advanceTimersByTimeAsync(700);
      expect([wait, breakers(all)[0], hung.instance.fitness.ejections()]).toEqual([wait, "open", 1]);
      expect((await answers) ?? false).toBe(false);
      hung.health = "well";
      await vi.advanceTimersByTimeAsync(1000);
      expect(breakers(all)[0]).toBe("closed");
    }
  });

  test("sets aside what is called and says nothing for three seconds, long before a call runs out", async () => {
    const { group, all } = simulate(3);
    const [hung] = all as [Simulated];
    hung.health = "silent";
    void hung.instance.send(newExchange("tools/call", {}, 1)).catch(() => {});
    await vi.advanceTimersByTimeAsync(2_400);
    expect(breakers(all)[0]).toBe("closed");
    await vi.advanceTimersByTimeAsync(1_500);
    expect(breakers(all)).not.toEqual(["closed", "closed", "closed"]);
    expect(breakers(all).slice(1)).toEqual(["closed", "closed"]);
    expect(group.pick([])).not.toBe(hung.instance);
    hung.health = "well";
    await vi.advanceTimersByTimeAsync(3_000);
    expect(breakers(all)[0]).toBe("closed");
  });

  test("leaves in peace what is at work and answers a probe, and asks it ever more seldom", async () => {
    const { all } = simulate(2);
    const [busyOne] = all as [Simulated];
    busyOne.health = "silent";
    void busyOne.instance.send(newExchange("tools/call", {}, 1)).catch(() => {});
    busyOne.health = "well";
    await vi.advanceTimersByTimeAsync(60_000);
    expect(breakers(all)).toEqual(["closed", "closed"]);
    expect(busyOne.probes).toBeGreaterThan(3);
    expect(busyOne.probes).toBeLessThan(15);
  });

  test.each([
    [1, 0],
    [3, 1],
    [4, 2],
  ])("sets aside, of %i that all say nothing, %i: they may be at work", async (count, aside) => {
    const { all } = simulate(count);
    for (const one of all) {
      one.health = "silent";
      void one.instance.send(newExchange("tools/call", {}, 1)).catch(() => {});
    }
    await vi.advanceTimersByTimeAsync(30_000);
    expect(breakers(all).filter((state) => state !== "closed")).toHaveLength(aside);
  });

  describe("whose calls fail for one tenant alone", () => {
    const callOf = async (instance: Instance, tenant: string): Promise<void> =>
      instance.send({ ...newExchange("tools/call", {}, 1), tenant }).then(
        () => {},
        () => {},
      );

    test("stays for the others, however often", async () => {
      const { all } = simulate(1);
      const [only] = all as [Simulated];
      only.failsFor = "alice";
      await callOf(only.instance, "bob");
      for (let calls = 0; calls < 200; calls++) {
        await callOf(only.instance, "alice");
        await vi.advanceTimersByTimeAsync(50);
        if (calls % 40 === 0) await callOf(only.instance, "bob");
      }
      expect(breakers(all)).toEqual(["closed"]);
    });

    test("is set aside where nobody else was served lately, and where others fail too", async () => {
      const { all } = simulate(1);
      const [only] = all as [Simulated];
      only.failsFor = "alice";
      await callOf(only.instance, "bob");
      for (let calls = 0; calls < 5; calls++) await callOf(only.instance, "alice");
      expect(breakers(all)).toEqual(["closed"]);
      only.health = "failing";
      await callOf(only.instance, "bob");
      expect(breakers(all)).toEqual(["open"]);
      only.health = "well";
      await vi.advanceTimersByTimeAsync(10_000);
      expect(breakers(all)).toEqual(["closed"]);
      for (let calls = 0; calls < 5; calls++) await callOf(only.instance, "alice");
      expect(breakers(all)).toEqual(["open"]);
    });
  });

  test("sends one that fails away for thirty seconds, and longer each time", async () => {
    const { group, all } = simulate(3);
    const [ill] = all as [Simulated];
    const away: number[] = [];
    for (let times = 0; times < 3; times++) {
      ill.health = "failing";
      await failingCalls(group, ill.instance, 5);
      ill.health = "well";
      const since = performance.now();
      while (ill.instance.fitness.breaker() !== "closed") await vi.advanceTimersByTimeAsync(100);
      away.push((performance.now() - since) / 30_000);
    }
    for (const [at, times] of away.entries()) {
      expect(times).toBeGreaterThan(at + 0.99);
      expect(times).toBeLessThan((at + 1) * 1.1 + 0.1);
    }
    expect(ill.instance.fitness.ejections()).toBe(3);
  });

  test("forgets an ejection after thirty seconds of good standing", async () => {
    const { group, all } = simulate(3);
    const [ill] = all as [Simulated];
    for (let times = 0; times < 2; times++) {
      ill.health = "failing";
      await failingCalls(group, ill.instance, 5);
      ill.health = "well";
      await vi.advanceTimersByTimeAsync(33_100);
      expect(ill.instance.fitness.breaker()).toBe("closed");
      await vi.advanceTimersByTimeAsync(31_000);
    }
  });

  test("sends no more away than a tenth, but always one; another comes back once a probe answers", async () => {
    const { group, all } = simulate(5);
    const [first, second] = all as [Simulated, Simulated];
    for (const one of [first, second]) {
      one.health = "failing";
      await failingCalls(group, one.instance, 5);
      one.health = "well";
    }
    await vi.advanceTimersByTimeAsync(1000);
    expect(breakers(all)).toEqual(["open", "closed", "closed", "closed", "closed"]);
  });

  test("takes one back at the next probe when fewer than half are fit", async () => {
    const { group, all } = simulate(3);
    const [first, second, third] = all as [Simulated, Simulated, Simulated];
    first.health = "failing";
    await failingCalls(group, first.instance, 5);
    await vi.advanceTimersByTimeAsync(2000);
    expect(breakers(all)).toEqual(["open", "closed", "closed"]);
    for (const one of [second, third]) {
      one.health = "gone";
      await failingCalls(group, one.instance, 1);
    }
    await vi.advanceTimersByTimeAsync(1000);
    expect(breakers(all)[0]).toBe("closed");
  });

  test("does not let a single instance sit out an ejection", async () => {
    const { group, all } = simulate(1);
    const [only] = all as [Simulated];
    only.health = "failing";
    await failingCalls(group, only.instance, 5);
    expect([...breakers(all), only.instance.fitness.ejections()]).toEqual(["open", 1]);
    expect(group.pick([])).toBeNull();
    await vi.advanceTimersByTimeAsync(1000);
    expect(breakers(all)).toEqual(["closed"]);
  });

  test("says when the first of its instances may be fit again, where none is", async () => {
    const { group, all } = simulate(2);
    const [one, other] = all as [Simulated, Simulated];
    for (let calls = 0; calls < 5; calls++) {
      one.instance.fitness.failed(busy(20_000), false);
      other.instance.fitness.failed(busy(9000), false);
    }
    await vi.advanceTimersByTimeAsync(2000);
    expect(group.none()).toMatchObject({ code: "upstream_unavailable", detail: { retryAfterMs: 7000 } });
  });

  test("does not count a drained instance among those that could take a call", async () => {
    const { group, all } = simulate(2);
    const [drained, other] = all as [Simulated, Simulated];
    drained.instance.load.weight = 0;
    group.adopt(group.instances(), group.terms());
    for (let calls = 0; calls < 10; calls++) expect(await call(group)).toBe(other.instance);
    other.health = "failing";
    await failingCalls(group, other.instance, 5);
    expect(group.pick([])).toBeNull();
    // an ejection would last thirty seconds
    await vi.advanceTimersByTimeAsync(1000);
    expect(group.pick([])).toBe(other.instance);
  });

  test("does not believe what began before an instance was set aside", async () => {
    const { all } = simulate(3);
    const [one] = all as [Simulated];
    one.instance.fitness.failed(busy(5000), true);
    one.instance.fitness.worked(null);
    expect(one.instance.fitness.breaker()).toBe("open");
  });
});
