/** The promise: what time it is, and how long ago something was, are right though a clock stood still or was put back. */
import { afterEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { realPorts, silent, stopwatch } from "../src/ports.ts";
import { DOORS } from "./support/ask.ts";
import { discovered, fixtureServer, keyOf, startGateway, until } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

afterEach(() => void vi.restoreAllMocks());

describe("a stopwatch", () => {
  const started = { nowMs: 1_000_000, monotonicMs: 500 };
  test.each([
    ["while a machine is suspended", { nowMs: 1_060_000, monotonicMs: 500 }, 60_000],
    ["when the wall clock is put back", { nowMs: 900_000, monotonicMs: 7_500 }, 7_000],
  ])("goes on %s", (_, later, elapsed) => {
    let now = started;
    const watch = stopwatch({ nowMs: () => now.nowMs, monotonicMs: () => now.monotonicMs });
    expect(watch()).toBe(0);
    now = later;
    expect(watch()).toBe(elapsed);
  });

  test("may have begun before, or so long ago that nobody knows", () => {
    const clock = { nowMs: () => started.nowMs, monotonicMs: () => started.monotonicMs };
    expect(stopwatch(clock, 250)()).toBe(250);
    expect(stopwatch(clock, Number.POSITIVE_INFINITY)()).toBe(Number.POSITIVE_INFINITY);
  });
});

test.each([-3_600_000, 3_600_000])(
  "a call takes as long as it takes, whatever is done to the clock: by %i ms",
  async (byMs) => {
    const fixture = await startFixture();
    onTestFinished(fixture.close);
    const { clock } = realPorts(silent);
    let ahead = 0;
    const gateway = await startGateway(
      { servers: [fixtureServer(fixture)] },
      { clock: { ...clock, nowMs: () => clock.nowMs() + ahead } },
    );
    onTestFinished(gateway.close);
    await discovered(gateway, "fixture");
    const slow = DOORS["rest"]!(gateway, { key: keyOf("alice"), tool: "slow", arguments: { ms: 400 } });
    await until(() => fixture.requests.some(({ rpc }) => rpc === "tools/call"), "the server works");
    ahead = byMs;
    expect((await slow).code).toBe("ok");
    const outcome = (await gateway.records()).find((one) => one["portcullis.record"] === "outcome");
    const ends = JSON.stringify(outcome?.["portcullis.stage.ends"]).match(/\d+/g)?.map(Number) ?? [];
    expect(ends).toEqual(ends.toSorted((a, b) => a - b));
    expect(ends.at(-1)).toBeGreaterThan(350_000);
    expect(ends.at(-1)).toBeLessThan(60_000_000);
  },
);

describe("the wall clock", () => {
  test("has fractions of a millisecond, and no two readings go back", () => {
    const { nowMs } = realPorts(silent).clock;
    const read = Array.from({ length: 1_000 }, nowMs);
    expect(read.toSorted((a, b) => a - b)).toEqual(read);
    expect(read.some((one) => !Number.isInteger(one))).toBe(true);
    expect(Math.abs(nowMs() - Date.now())).toBeLessThan(100);
  });

  test.each([
    ["went on while the process stood still", 3_600_000],
    ["was put back", -3_600_000],
  ])("is the system's again where that %s", (_, byMs) => {
    const { nowMs } = realPorts(silent).clock;
    const system = Date.now.bind(Date);
    vi.spyOn(Date, "now").mockImplementation(() => system() + byMs);
    expect(Math.abs(nowMs() - system() - byMs)).toBeLessThan(100);
  });
});
