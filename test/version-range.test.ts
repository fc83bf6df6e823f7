/** The promise: a version is meant by its name, or by a range as npm reads it; what is not there is nothing else instead. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fits, meant, order } from "../src/version-range.ts";

const THERE = ["1.0.0", "1.2.0", "1.2.5", "v1.10", "2.0.0", "2.1.0-beta", "0.2.3", "blue"];

describe("a name", () => {
  test.each([
    ["1.2.0", "1.2.0"],
    ["v1.2.0", "1.2.0"],
    ["1.10.0", "v1.10"],
    ["2.1.0-beta", "2.1.0-beta"],
    ["blue", "blue"],
    ["1.2.1", undefined],
    ["2.1.0", undefined],
    ["2.1.0-bet", undefined],
    ["v2.1.0-beta", undefined],
    ["Blue", undefined],
    ["bl", undefined],
  ])("%s means %s", (asked, version) => {
    expect(meant(THERE, asked)).toBe(version);
  });

  test("that is there is meant before all that it would be a range of", () => {
    expect(meant(["1.9.0", "1"], "1")).toBe("1");
    expect(meant(["1.0.0", "1"], "v1.0.0")).toBe("1.0.0");
    expect(meant(["1.0.0"], "1.00.0")).toBe("1.0.0");
  });
});

describe("a range", () => {
  test.each([
    ["1", "v1.10"],
    ["v1", "v1.10"],
    ["1.2", "1.2.5"],
    ["^1.2", "v1.10"],
    ["^0.2", "0.2.3"],
    ["~1.2.0", "1.2.5"],
    ["~1", "v1.10"],
    [">=1.2 <2", "v1.10"],
    [">=1.2 <1.10", "1.2.5"],
    ["<=1.2.0", "1.2.0"],
    [">1.2.5 <2.0.0", "v1.10"],
    ["=1.2.5", "1.2.5"],
    [">0", "2.0.0"],
    ["3", undefined],
    ["^2.1", undefined],
    [">2.0.0", undefined],
    [">=2 <1", undefined],
    // no range of ours, though one of npm's
    ["*", undefined],
    ["", undefined],
    ["x", undefined],
    ["1.x", undefined],
    ["1 || 2", undefined],
    ["1.0.0 - 2.0.0", undefined],
    ["^2.1.0-beta", undefined],
    [" 1", undefined],
    ["1 ", undefined],
    ["latest", undefined],
    [Array(16).fill(">=1").join(" "), "2.0.0"],
    [Array(17).fill(">=1").join(" "), undefined],
  ])("%s means %s", (asked, version) => {
    expect(meant(THERE, asked)).toBe(version);
  });

  test("means the highest of what it fits, in whatever order they stand", () => {
    const part = fc.nat(3);
    const version = fc.tuple(part, part, part).map((parts) => parts.join("."));
    const range = fc.tuple(fc.constantFrom("", "^", "~", ">=", "<="), version, fc.constantFrom(1, 2, 3));
    fc.assert(
      fc.property(fc.uniqueArray(version, { minLength: 1 }), range, (versions, [sign, whole, parts]) => {
        const asked = `${sign}${whole.split(".").slice(0, parts).join(".")}`;
        const found = meant(versions, asked);
        expect(meant(versions.toReversed(), asked)).toBe(found);
        for (const one of versions.filter((each) => fits(each, asked)))
          expect(found !== undefined && order(found, one) >= 0).toBe(true);
        if (found !== undefined) expect(fits(found, asked)).toBe(true);
      }),
    );
  });

  test("of hostile length or form is none", () => {
    for (const asked of ["1 ".repeat(40_000), "^".repeat(40_000), `1.${"0".repeat(40_000)}`])
      expect(meant(THERE, asked)).toBeUndefined();
  });
});
