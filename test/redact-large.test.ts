/** However much an upstream answers, and whatever, to hide in it holds up nobody for long. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Answer, Obligations } from "../src/model.ts";
import type { Permit } from "../src/policy/authorize.ts";
import { REDACTION_PATTERNS } from "../src/policy/patterns.ts";
import { redact } from "../src/policy/redact.ts";
import { wordSearch } from "../src/policy/words.ts";

const FULL = process.env["FULL"] === "1";
/** 50 ms are promised; five times that is asserted, since test machines are slow. */
const STALL_MS = 250;
const MIB = 1024 * 1024;
const PATH = [{ path: "/structuredContent/who" }];

/** The answer as redacted, or the reason why there is none; and how long that took. */
function redacted(rules: Obligations["redact"], result: object): { readonly told: string; readonly tookMs: number } {
  const permit = { obligations: { redact: rules, max_result_bytes: null } } as unknown as Permit;
  // of this thread: others may have the processor
  const before = process.threadCpuUsage();
  let told: string;
  try {
    told = JSON.stringify(redact(permit, { kind: "result", result } as unknown as Answer));
  } catch (error) {
    told = String(error);
  }
  const { user, system } = process.threadCpuUsage(before);
  return { told, tookMs: (user + system) / 1000 };
}
const text = (...parts: readonly string[]) => ({ content: parts.map((part) => ({ type: "text", text: part })) });

describe("values that a path names", () => {
  test("are looked for at once, however many, and however alike the text is to each", () => {
    const who = Array.from({ length: 1_000 }, (_, at) => `${"a".repeat(at + 2)}b`);
    const { told, tookMs } = redacted(PATH, { structuredContent: { who }, ...text("a".repeat(MIB), `x${who[900]}x`) });
    expect(tookMs).toBeLessThan(STALL_MS);
    expect(told).toContain('"x[redacted]x"');
  });

  test("may be many, or as long as a document", () => {
    const many = Array.from({ length: 20_000 }, (_, at) => `person ${at} of them all`);
    const long = Array.from({ length: 100_000 }, (_, at) => `line ${at}\n`).join("");
    for (const who of [many, [long]]) {
      const value = who.at(-1) ?? "";
      const texts = text(`it is ${value}.`, `not ${value.slice(0, -1)}.`, "a person of all. ".repeat(30_000));
      const { told, tookMs } = redacted(PATH, { structuredContent: { who }, ...texts });
      expect(tookMs).toBeLessThan(STALL_MS);
      expect(told).toContain('"it is [redacted]."');
      expect(told).toContain(JSON.stringify(`not ${value.slice(0, -1)}.`));
    }
  });

  test("whose text would have to be compared again and again are refused, and soon", () => {
    const who = `${"a".repeat(MIB)}b`;
    const { told, tookMs } = redacted(PATH, { structuredContent: { who }, ...text("a".repeat(4 * MIB)) });
    expect(tookMs).toBeLessThan(STALL_MS);
    expect(told).toContain("more to hide than can be looked for");
  });
});

describe("patterns", () => {
  const all = Object.keys(REDACTION_PATTERNS).map((pattern) => ({ pattern }));
  const bytes = Buffer.from(Array.from({ length: 3 * MIB }, (_, at) => (at * at) % 251));

  const units = ["a", "a@", '"@', "%41", "-eyJ", "eyJhbGciOi.", "+123456", "1234 ", "DE89 ", "1.", "sk-", "ü@"];
  test.each<[string, object]>([
    ["an image", { content: [{ type: "image", mimeType: "image/png", data: bytes.toString("base64") }] }],
    ["a file", { content: [{ type: "resource", resource: { uri: "file:///x", blob: bytes.toString("base64") } }] }],
    ...units.map((unit): [string, object] => [unit, text(unit.repeat((2 * MIB) / unit.length))]),
  ])("are looked for soon in millions of characters of %s", (_, result) => {
    const { told, tookMs } = redacted(all, result);
    expect(tookMs).toBeLessThan(STALL_MS);
    expect(told).toContain('"kind":"result"');
  });

  test("are not looked for in the letters of what is no text, whatever these look like", () => {
    const data = `${Buffer.from([0xff, 0xfe, 0xfd]).toString("base64")}+12345678901+${"A".repeat(12)}`;
    const content = [
      { type: "image", mimeType: "image/png", data },
      { type: "resource", resource: { uri: "file:///x", blob: data } },
    ];
    expect(redacted([{ pattern: "phone" }], { content }).told).toBe(
      JSON.stringify({ kind: "result", result: { content } }),
    );
    const elsewhere = { structuredContent: { data: "4111111111111111", blob: "4111111111111111" } };
    expect(redacted([{ pattern: "card" }], elsewhere).told).not.toContain("4111");
    const who = { structuredContent: { who: data }, content };
    expect(redacted(PATH, who).told).not.toContain(data);
  });
});

describe("the search for words", () => {
  /** Each place of each word, those that overlap as one. */
  function everyPlace(words: readonly string[], within: string): readonly number[] {
    const [known, lengths] = [new Set(words), new Set(words.map((word) => word.length))];
    const spans: number[] = [];
    for (let from = 0; from < within.length; from++) {
      const to = Math.max(
        ...[...lengths].map((size) =>
          known.has(within.slice(from, from + size).padEnd(size, "!")) ? from + size : -1,
        ),
      );
      const last = spans.at(-1) ?? 0;
      if (to !== -1 && from < last) spans.splice(-1, 1, Math.max(last, to));
      else if (to !== -1) spans.push(from, to);
    }
    return spans;
  }
  const text = (max: number) => fc.string({ unit: fc.constantFrom("a", "b", "é", "-"), minLength: 1, maxLength: max });
  /** After so much no search is a plain one. */
  const PADDING = "z".repeat(3_000);

  test("finds each place of each, plainly and by the automaton", () => {
    fc.assert(
      fc.property(fc.uniqueArray(text(6), { minLength: 1, maxLength: 12 }), text(60), (words, within) => {
        const [plain, automaton] = [wordSearch(words), wordSearch([...words, PADDING])];
        automaton(PADDING.replaceAll("z", "-"));
        expect(plain(within)).toEqual(everyPlace(words, within));
        expect(automaton(within)).toEqual(everyPlace(words, within));
      }),
      { numRuns: FULL ? 5_000 : 300 },
    );
  });

  test("also of more than the automaton has room for", () => {
    let state = 1;
    const next = (): number => (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) >>> 16;
    const letters = Array.from({ length: 50_000 }, () => "abcé"[next() % 4]).join("");
    const some = Array.from({ length: 45_000 }, (_, at) => letters.slice(at, at + 9 + (at % 23)));
    const words = [...new Set(some)];
    const within = words.filter((_, at) => at % 9 === 0).map((word, at) => (at % 2 === 0 ? word : word.slice(0, -1)));
    const spans = wordSearch(words)(within.join(""));
    expect(spans).toEqual(everyPlace(words, within.join("")));
    expect(spans.length).toBeGreaterThan(1_000);
  });
});
