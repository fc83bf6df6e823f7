/** The one parser of JSON from outside: what it lets through is what JSON says; what two readers could read differently, it refuses. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DEPTH_MAX, isObject, isScalar, JsonFault, parseJson, parseJsonText, parseOwnJson } from "../src/json.ts";
import type { Json } from "../src/model.ts";

const nested = (depth: number): string => "[".repeat(depth) + "]".repeat(depth);

describe("strict JSON", () => {
  test("reads what JSON.parse reads, and the result serialises to the same value", () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        const text = JSON.stringify(value);
        fc.pre(!text.includes('"__proto__"') && text.isWellFormed() && !/\\ud[89a-f]/i.test(text));
        expect(parseJsonText(text)).toEqual(JSON.parse(text));
      }),
    );
  });

  test.each([
    ["a duplicate key", '{"a":1,"a":2}'],
    ["a duplicate key deep inside", '{"x":[{"b":{"c":1,"c":2}}]}'],
    ["a duplicate key spelt with an escape", String.raw`{"a":1,"\u0061":2}`],
    ["a duplicate key after a string full of colons", String.raw`{"t":"a:\":{b","k":1,"k":2}`],
    ["__proto__", '{"__proto__":{"admin":true}}'],
    ["__proto__ spelt with an escape", String.raw`{"\u005f_proto__":1}`],
    ["a lone surrogate", String.raw`{"a":"\ud800"}`],
    ["a lone surrogate in a key", String.raw`{"\udc00":1}`],
    ["a number too large for a double", '{"a":1e999}'],
    ["NaN", '{"a":NaN}'],
    ["trailing text", '{"a":1} {"b":2}'],
    ["a trailing comma", '{"a":1,}'],
    ["a comment", '{"a":1/*x*/}'],
    ["nothing", ""],
    ["a byte order mark", "\ufeff{}"],
    ["an unclosed string", '{"a":"b'],
    ["too deep a nesting", nested(DEPTH_MAX + 1)],
  ])("refuses %s", (_, text) => {
    expect(() => parseJson(Buffer.from(text))).toThrow(JsonFault);
  });

  test.each(["12345678901234567890", "-9007199254740993", "18446744073709551615", "9007199254740993.5"])(
    "does not alter %s: refuses it, or keeps it as it is",
    (number) => {
      const text = `{"a":[${number},1.5],"b":7}`;
      expect(() => parseJsonText(text)).toThrow("more digits");
      expect(JSON.stringify(parseJsonText(text, "kept"))).toBe(text);
      expect(JSON.stringify(parseOwnJson(text))).toBe(text);
      expect(parseJsonText(text, "rounded")).toEqual({ a: [Number(number), 1.5], b: 7 });
      const [kept] = (parseJsonText(text, "kept") as { a: Json[] }).a;
      expect([isObject(kept), isScalar(kept as Json)]).toEqual([false, true]);
    },
  );

  test("keeps what a double holds, as a number", () => {
    for (const number of ["9007199254740992", "-86890285605501860", "1e300", "0.1234567890123456789", "1E2"])
      expect(parseJsonText(`[${number}]`)).toEqual([Number(number)]);
  });

  test("refuses bytes that are not UTF-8, overlong forms included", () => {
    expect(() => parseJson(Buffer.from([0x22, 0xc0, 0xaf, 0x22]))).toThrow(JsonFault);
    expect(() => parseJson(Buffer.from([0x22, 0xff, 0x22]))).toThrow(JsonFault);
  });

  test("takes what is as deep as it may be, and escapes, pairs and brackets in strings", () => {
    expect(parseJsonText(nested(DEPTH_MAX))).toBeDefined();
    expect(parseJsonText(String.raw`{"a\"b":"[{:\\","c":"\ud83d\ude00"}`)).toEqual({ 'a"b': "[{:\\", c: "😀" });
  });
});
