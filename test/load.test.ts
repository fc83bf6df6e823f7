/** The promise: what is too much is shed, and whoever asks for most of it first. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createLoad } from "../src/limits/load.ts";
import type { Load } from "../src/limits/load.ts";
import { Refusal } from "../src/refusal.ts";

function stand(options: { readonly inFlightMax?: number } = {}) {
  const time = { nowMs: 0, delayMs: 0 };
  const clock = { nowMs: () => time.nowMs, monotonicMs: () => time.nowMs, threadCpuMs: () => 0 };
  const delay = { ms: () => time.delayMs, close: () => {} };
  const load = createLoad({ inFlightMax: options.inFlightMax ?? 8, delayMsMax: 100 }, clock, delay);
  return { load, time };
}

const enters = (load: Load, tenant: string): (() => void) | null => {
  try {
    return load.enter(tenant);
  } catch (refusal) {
    if (refusal instanceof Refusal && refusal.code === "overloaded") return null;
    throw refusal;
  }
};
const taken = (load: Load, tenant: string, times: number): number =>
  Array.from({ length: times }, () => enters(load, tenant)).filter((end) => end !== null).length;

describe("what is in flight", () => {
  test("is bounded, and room comes back as calls end", () => {
    const { load } = stand();
    const ends = Array.from({ length: 8 }, () => load.enter("acme"));
    expect(enters(load, "acme")).toBeNull();
    ends[0]?.();
    expect(enters(load, "acme")).not.toBeNull();
    expect(load.status()).toMatchObject({ inFlight: 8, shed: 1 });
  });

  test("is shared: who has little is taken in while who has most is not", () => {
    const { load } = stand();
    expect(taken(load, "flood", 100)).toBe(8);
    expect(taken(load, "small", 3)).toBe(3);
    expect(taken(load, "flood", 10)).toBe(0);
    expect(taken(load, "small", 10)).toBe(1);
  });

  test("is never more than twice the bound, whoever asks and ends in whatever order", () => {
    const steps = fc.array(fc.tuple(fc.constantFrom("a", "b", "c", "d", "e"), fc.boolean()), { maxLength: 400 });
    fc.assert(
      fc.property(steps, (asked) => {
        const { load } = stand();
        const ends: (() => void)[] = [];
        for (const [tenant, ending] of asked) {
          const end = ending ? ends.shift() : undefined;
          end?.();
          const entered = enters(load, tenant);
          if (entered !== null) ends.push(entered);
          expect(load.status().inFlight).toBeLessThanOrEqual(16);
          expect(load.status().inFlight).toBe(ends.length);
        }
      }),
    );
  });

  test("is no more than twice the bound where one tenant after the other fills its share", () => {
    const { load } = stand();
    for (const tenant of ["a", "b", "c", "d", "e", "f"]) taken(load, tenant, 100);
    expect(load.status().inFlight).toBe(16);
  });
});

describe("an event loop that is late", () => {
  test("sheds a tenant that is alone, until it is in time again", () => {
    const { load, time } = stand();
    taken(load, "acme", 3);
    time.delayMs = 101;
    expect(enters(load, "acme")).toBeNull();
    time.delayMs = 100;
    expect(enters(load, "acme")).not.toBeNull();
  });

  test("sheds nobody who asks for one thing at a time, however often", () => {
    const { load, time } = stand();
    for (let call = 0; call < 10; call++) enters(load, "acme")?.();
    time.delayMs = 5000;
    for (let call = 0; call < 10; call++) {
      const end = enters(load, "acme");
      expect(end).not.toBeNull();
      expect(enters(load, "acme")).toBeNull();
      end?.();
    }
  });

  test("sheds who had most lately, and nobody else", () => {
    const { load, time } = stand({ inFlightMax: 1000 });
    enters(load, "flood");
    for (let round = 0; round < 100; round++) {
      enters(load, "flood")?.();
      if (round % 10 === 0) enters(load, "small")?.();
      time.nowMs += 10;
    }
    time.delayMs = 500;
    expect(taken(load, "flood", 10)).toBe(0);
    expect(taken(load, "small", 10)).toBe(10);
  });

  test("holds nothing against anybody for long", () => {
    const { load, time } = stand({ inFlightMax: 1000 });
    enters(load, "flood");
    for (let call = 0; call < 100; call++) enters(load, "flood")?.();
    enters(load, "small")?.();
    time.nowMs += 10_000;
    time.delayMs = 500;
    expect(taken(load, "flood", 1)).toBe(1);
  });
});
