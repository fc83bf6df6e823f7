/**
 * The promise: a built-in that the engine adds answers as OPA's own does. Each is compared with OPA's Go built-in on
 * generated operands; both sides read and write Rego terms, so that sets and long numbers count.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import { type Context, OUT_OF_STEPS, UNFIT } from "../src/policy/builtins/operand.ts";
import { written } from "../src/policy/builtins/order.ts";
import { HOST_BUILTINS } from "../src/policy/builtins/table.ts";
import { bytesOf, parseTerm, printTerm, textOf } from "../src/policy/builtins/term.ts";
import { createCompiler } from "../src/policy/compiler.ts";
import { OPERANDS } from "./support/operands.ts";
import { item, policyBench, use, valueOf, WASM_PATH } from "./support/policy.ts";

const FULL = process.env["FULL"] === "1";
const compiler = createCompiler({ wasmPath: WASM_PATH });
afterAll(async () => compiler.close());

const bench = policyBench();

/** Null is undefined. */
function ours(name: string, operands: readonly string[], given: Partial<Context> = {}): string | null {
  const context: Context = { charge: () => {}, nowNs: () => null, ...given };
  try {
    const value = HOST_BUILTINS[name]?.(operands.map(parseTerm), context);
    return value === undefined ? null : written(parseTerm(printTerm(value)));
  } catch (thrown) {
    if (thrown === UNFIT) return null;
    throw thrown;
  }
}

async function theirs(name: string, operands: readonly string[]): Promise<string | null> {
  const answer = await compiler.builtin(name, operands);
  return answer.ok ? answer.value : null;
}

/** Where one answer ends and the next begins: a name, and below it the operands of a call a line, as Rego text. */
const EDGES = readFileSync(join(import.meta.dirname, "support/edges.tsv"), "utf8")
  .split(/\n(?=\S)/)
  .map((group) => group.trimEnd().split("\n\t"))
  .map(([name = "", ...rows]) => [name, rows.map((row) => row.split("\t"))] as const);

describe("a built-in of the engine", () => {
  test("has operands to be compared on", () => {
    const compared = Object.keys(HOST_BUILTINS).filter((name) => name !== "time.now_ns");
    expect(Object.keys(OPERANDS).toSorted()).toEqual(compared.toSorted());
  });

  test.each(Object.entries(OPERANDS))(
    "answers as OPA's own: %s",
    async (name, operands) => {
      await fc.assert(
        fc.asyncProperty(operands, async (given) => {
          expect(ours(name, given)).toBe(await theirs(name, given));
        }),
        { numRuns: FULL ? 1500 : 100 },
      );
    },
    120_000,
  );

  test.each(EDGES)("answers as OPA's own at its edges: %s", async (name, rows) => {
    for (const given of rows) expect([given, ours(name, given)]).toEqual([given, await theirs(name, given)]);
  });

  test("compares versions also where OPA's own never comes back", () => {
    const [most, more] = ['"1.0.0-9223372036854775807"', '"1.0.0-99999999999999999999"'];
    expect(ours("semver.compare", [most, more])).toBe("0");
    expect(ours("semver.compare", [more, most])).toBe("0");
  });

  test("tells the time that it is told, or none", () => {
    expect(ours("time.now_ns", [], { nowNs: () => 1_795_345_200_000_000_001n })).toBe("1795345200000000001");
    expect(ours("time.now_ns", [])).toBeNull();
  });

  test("names a time zone as OPA does, or not at all", async () => {
    const zones = Intl.supportedValuesOf("timeZone").filter((_, at) => FULL || at % 12 === 0);
    const strange = ["Antarctica/Casey", "Asia/Colombo", "Africa/Casablanca", "Africa/Windhoek", "Asia/Kolkata"];
    for (const zone of [...zones, ...strange, "GMT", "Etc/UTC"]) {
      for (const at of [
        "0",
        "-850000000000000000",
        "800000000000000000",
        "1000000000000000000",
        "1700000000000000000",
        "1720000000000000000",
      ]) {
        const operands = [JSON.stringify([0, zone, "MST"]).replace("0", at)];
        expect([null, await theirs("time.format", operands)]).toContain(ours("time.format", operands));
      }
    }
    expect(ours("time.format", ['[1720000000000000000, "Europe/Berlin", "RFC1123"]'])).toBe(
      '"Wed, 03 Jul 2024 11:46:40 CEST"',
    );
  });
});

describe("a built-in's steps", () => {
  const spent = (budget: number, name: string, operands: readonly string[]): boolean => {
    let left = budget;
    const charge = (steps: number): void => {
      left -= steps;
      if (left <= 0) throw OUT_OF_STEPS;
    };
    try {
      ours(name, operands, { charge });
      return false;
    } catch (thrown) {
      if (thrown !== OUT_OF_STEPS) throw thrown;
      return true;
    }
  };
  const many = JSON.stringify("ab,".repeat(20_000));
  const deep = `[${Array.from({ length: 3000 }, (_, at) => at % 2).join(",")}]`;
  const costly: readonly (readonly [name: string, ...operands: string[]])[] = [
    ["sprintf", JSON.stringify("%999999d".repeat(9)), `[${"1,".repeat(8)}1]`],
    ["net.cidr_expand", '"10.0.0.0/8"'],
    ["net.cidr_expand", '"::/0"'],
    ["net.cidr_merge", `[${'"10.0.0.1", '.repeat(10_000)}"10.0.0.1"]`],
    ["numbers.range_step", "1", "9007199254740993", "1"],
    ["numbers.range_step", "1e-99999999", "1", "1"],
    ["units.parse", '"1e999999"'],
    ["units.parse_bytes", JSON.stringify("9".repeat(5000))],
    ["object.subset", deep, deep.replace("0,1", "0,1,1")],
    ["strings.any_prefix_match", `[${'"x",'.repeat(2000)}"x"]`, `[${'"y",'.repeat(2000)}"y"]`],
    ["regex.find_n", '"(?:a|b|,)*c|[ab]"', many, "-1"],
    ["regex.replace", many, '"((a|b){100}){10}"', '""'],
    ["regex.find_n", JSON.stringify("((((a?){10}){10}){10})".repeat(40)), '"a"', "-1"],
    ["regex.find_n", JSON.stringify("((((a?){10}){10}){10})".repeat(40)), '"a"', "0"],
  ];
  test.each(costly)("are spent by what would take too long: %s", (name, ...operands) => {
    const before = performance.now();
    expect(spent(500_000, name, operands)).toBe(true);
    expect(performance.now() - before).toBeLessThan(5 * 200);
  });

  test("are the same whether a pattern was seen before or not", () => {
    const cost = (): number => {
      let total = 0;
      ours("regex.replace", ['"abcabc"', '"(b)(c)?"', '"$2$1"'], { charge: (steps) => (total += steps) });
      return total;
    };
    const first = cost();
    expect(first).toBeGreaterThan(0);
    expect(cost()).toBe(first);
  });
});

test("bytes that are no text are never taken for other text: OPA's module gives up on them, which denies", async () => {
  const policy = await bench.load({
    "p.rego": `package portcullis

default decision := {"allow": false}

decision := {"allow": true, "reasons": [crypto.sha256(hex.decode(input.arguments.text))]}
`,
  });
  const decide = (text: string) => policy.decide(use(item("a", []), { text }));
  const digest = createHash("sha256").update("é").digest("hex");
  expect(valueOf(decide("c3a9"))["decision"]).toMatchObject({ reasons: [digest] });
  for (const text of ["ff", "c3", "eda080"])
    expect(decide(text)).toEqual({ ok: false, fault: "policy_error", detail: "illegal utf-8" });
});

test("bytes that are no text survive on their way through a built-in", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
      expect([...bytesOf(textOf(bytes))]).toEqual([...bytes]);
      const text = JSON.stringify(Buffer.from(bytes).toString("hex"));
      const decoded = printTerm(HOST_BUILTINS["hex.decode"]?.([parseTerm(text)], {} as Context) ?? null);
      expect(ours("hex.encode", [decoded])).toBe(text);
    }),
  );
});
