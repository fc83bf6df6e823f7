/** Which instance takes the next call follows from the figures: checked against what each way of balancing says. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { choose, newLoad, observe, observeFailure, slownessAt } from "../src/upstream/balance.ts";
import type { Load } from "../src/upstream/balance.ts";

type One = { readonly load: Load };
const RUNS = process.env["FULL"] === "1" ? 20_000 : 500;
const runs = { numRuns: RUNS };

const one = fc.record({
  weight: fc.integer({ min: 1, max: 100 }),
  inFlight: fc.integer({ min: 0, max: 50 }),
  slowness: fc.double({ min: 0.01, max: 1000, noNaN: true }),
  atMs: fc.integer({ min: 0, max: 100_000 }),
});
const several = fc
  .array(one, { minLength: 1, maxLength: 12 })
  .map((all): One[] => all.map((load) => ({ load: { ...load, missed: 0, credit: 0 } })));
const chances = fc.infiniteStream(fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }));
const fractionOf = (stream: IterableIterator<number>) => () => stream.next().value as number;
const costAt = ({ load }: One, nowMs: number) => ((load.inFlight + 1) * slownessAt(load, nowMs)) / load.weight;
const loadOf = (more: Partial<Load> = {}): One => ({ load: { ...newLoad(1, 0), ...more } });

describe("ewma", () => {
  test("takes the less costly of two different ones, and so never the most costly", () => {
    fc.assert(
      fc.property(several, chances, fc.integer({ min: 100_000, max: 200_000 }), (all, stream, nowMs) => {
        const chosen = choose("ewma", all, { nowMs, fraction: fractionOf(stream) });
        expect(all).toContain(chosen);
        const own = costAt(chosen as One, nowMs);
        const beaten = all.filter((each) => each !== chosen && costAt(each, nowMs) >= own);
        if (all.length > 1) expect(beaten.length).toBeGreaterThan(0);
      }),
      runs,
    );
  });

  test("takes each pair of instances as often as any other", () => {
    const all = [loadOf({ inFlight: 0 }), loadOf({ inFlight: 1 }), loadOf({ inFlight: 2 })];
    const counts = all.map(() => 0);
    const steps = 30;
    for (let a = 0; a < steps; a++) {
      for (let b = 0; b < steps; b++) {
        const draws = [(a + 0.5) / steps, (b + 0.5) / steps];
        const chosen = choose("ewma", all, { nowMs: 0, fraction: () => draws.shift() ?? 0 });
        counts[all.indexOf(chosen as One)]!++;
      }
    }
    // of three pairs the idle one is in two
    expect(counts).toEqual([600, 300, 0]);
  });

  test("measures an instance by what the tool takes elsewhere, not by how long the tool takes", () => {
    const [report, echo, ill] = [newLoad(1, 0), newLoad(1, 0), newLoad(1, 0)];
    observe(report, 30_000, 30_000, 1000);
    observe(echo, 2, 2, 1000);
    observe(ill, 200, 2, 1000);
    expect(slownessAt(report, 1000)).toBe(slownessAt(echo, 1000));
    expect(slownessAt(ill, 1000)).toBeGreaterThan(10);
  });

  test("believes a peak at once, and what is better only by and by", () => {
    const load = newLoad(1, 0);
    observe(load, 995, 5, 0);
    const peak = slownessAt(load, 0);
    expect(peak).toBe(100);
    observe(load, 5, 5, 1000);
    expect(load.slowness).toBeGreaterThan(80);
    expect(load.slowness).toBeLessThan(peak);
  });

  test("forgives an instance that nobody asks, so that it is asked again", () => {
    const load = newLoad(1, 0);
    observe(load, 10_000, 5, 0);
    expect(slownessAt(load, 120_000)).toBeLessThan(1.01);
  });

  test("does not take an instance for fast because it fails at once", () => {
    const [failing, working] = [loadOf(), loadOf()];
    observeFailure(failing.load, 0);
    observe(working.load, 200, 20, 0);
    for (const fraction of [0, 0.99])
      expect(choose("ewma", [failing, working], { nowMs: 0, fraction: () => fraction })).toBe(working);
  });
});

describe("least", () => {
  test("takes one with the least in flight for its weight", () => {
    fc.assert(
      fc.property(several, chances, (all, stream) => {
        const chosen = choose("least", all, { nowMs: 0, fraction: fractionOf(stream) }) as One;
        const least = Math.min(...all.map(({ load }) => load.inFlight / load.weight));
        expect(chosen.load.inFlight / chosen.load.weight).toBe(least);
      }),
      runs,
    );
  });

  test("breaks ties by chance", () => {
    const all = [loadOf(), loadOf(), loadOf()];
    const seen = new Set<One | null>();
    for (let draw = 0; draw < 1; draw += 0.1) {
      const draws = [0.5, draw, 1 - draw];
      seen.add(choose("least", all, { nowMs: 0, fraction: () => draws.shift() ?? 0 }));
    }
    expect(seen.size).toBe(3);
  });
});

describe("round-robin", () => {
  test("gives each its share by weight, exactly, over one round", () => {
    const weights = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(weights, fc.nat(3), (given, before) => {
        const all = given.map((weight) => loadOf({ weight }));
        const round = given.reduce((sum, weight) => sum + weight, 0);
        const turn = () => choose("round-robin", all, { nowMs: 0, fraction: () => 0 }) as One;
        for (let calls = 0; calls < before; calls++) turn();
        const counts = given.map(() => 0);
        for (let calls = 0; calls < round; calls++) counts[all.indexOf(turn())]!++;
        expect(counts).toEqual(given);
      }),
      runs,
    );
  });

  test("spreads the turns of one with a great weight", () => {
    const all = [loadOf({ weight: 2 }), loadOf({ weight: 1 })];
    const turns = Array.from({ length: 6 }, () =>
      all.indexOf(choose("round-robin", all, { nowMs: 0, fraction: () => 0 }) as One),
    );
    expect(turns).toEqual([0, 1, 0, 0, 1, 0]);
  });
});

describe.each(["least", "round-robin"] as const)("%s", (balance) => {
  const [mute, well] = [loadOf(), loadOf({ inFlight: 5 })];
  const taken = (nowMs: number, all = [mute, well]) =>
    Array.from({ length: 10 }, () => choose(balance, all, { nowMs, fraction: () => 0.5 })).filter((one) => one === mute)
      .length;

  test("passes over an instance that lets call after call run out, tries it again, and believes an answer", () => {
    observeFailure(mute.load, 0);
    observeFailure(mute.load, 0);
    expect(taken(0)).toBeGreaterThan(0);
    observeFailure(mute.load, 0);
    expect(taken(1000)).toBe(0);
    expect(taken(10_000)).toBeGreaterThan(0);
    observeFailure(mute.load, 10_000);
    expect(taken(11_000)).toBe(0);
    observe(mute.load, 5, 5, 11_000);
    expect(taken(11_000)).toBeGreaterThan(0);
  });

  test("passes over none where all are like that", () => {
    const all = [loadOf(), loadOf()];
    for (const { load } of all) for (let calls = 0; calls < 5; calls++) observeFailure(load, 0);
    expect(choose(balance, all, { nowMs: 0, fraction: () => 0 })).not.toBeNull();
  });
});

test("of no instance none is taken, and of one that one, whatever it costs", () => {
  const lone = loadOf({ inFlight: 1000, slowness: 1000 });
  for (const balance of ["ewma", "least", "round-robin"] as const) {
    expect(choose(balance, [], { nowMs: 0, fraction: () => 0 })).toBeNull();
    expect(choose(balance, [lone], { nowMs: 0, fraction: () => 0 })).toBe(lone);
  }
});
