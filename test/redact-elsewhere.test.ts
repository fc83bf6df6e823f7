/**
 * The promise: an answer of megabytes is redacted as a small one is, text by text, while other calls go on; and whoever
 * goes away meanwhile, or whatever becomes of the thread, nothing of it leaves as it was.
 */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Answer, Call, Obligations } from "../src/model.ts";
import type { Permit } from "../src/policy/authorize.ts";
import { REDACTION_PATTERNS } from "../src/policy/patterns.ts";
import { createRedactor, redacted } from "../src/policy/redactor.ts";
import { redact } from "../src/policy/redact.ts";
import { turns } from "./support/loop.ts";

const FULL = process.env["FULL"] === "1";
/** 50 ms are promised; five times that is asserted, since test machines are slow. */
const STALL_MS = 250;
const MIB = 1024 * 1024;
const ALL = Object.keys(REDACTION_PATTERNS).map((pattern) => ({ pattern }));

const elsewhere = createRedactor(0);
const usual = createRedactor();
afterAll(async () => {
  await elsewhere.close();
  await usual.close();
});

function permitOf(rules: Obligations["redact"], bytesMax: number | null = null): Permit {
  return { obligations: { redact: rules, max_result_bytes: bytesMax } } as unknown as Permit;
}
const answerOf = (result: object): Answer => ({ kind: "result", result }) as unknown as Answer;
const callOf = (signal = new AbortController().signal): Call => ({ asked: { signal } }) as unknown as Call;

/** What may be seen, or why not. */
async function seen(make: () => Answer | Promise<Answer>): Promise<unknown> {
  try {
    return JSON.stringify(await make());
  } catch (refusal) {
    return String(refusal);
  }
}

describe("an answer that another thread looks through", () => {
  const words = fc.constantFrom(
    ...["ann@example.org", "4111 1111 1111 1111", "\\u0061nn@example.org", "ann%40example.org", "é", "\u0065\u0301"],
    ...["secret", "123-45-6789", "plain", "1", '{"ssn":"secret"}', '["secret", 7]', "[redacted]", " "],
  );
  const text = fc.array(words, { maxLength: 4 }).map((some) => some.join(" "));
  const base64 = text.map((one) => Buffer.from(one).toString("base64"));
  const binary = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString("base64"));
  const number = fc.constantFrom<unknown>(7, 4111111111111111, 12.5, JSON.rawJSON("41111111111111111111"), true, null);
  const item = fc.oneof(
    fc.record({ type: fc.constant("text"), text }),
    fc.record({ type: fc.constant("image"), data: fc.oneof(base64, binary), mimeType: text }),
    fc.record({ type: fc.constant("resource"), resource: fc.record({ uri: text, blob: fc.oneof(base64, binary) }) }),
  );
  const value = fc.letrec((tie) => ({
    node: fc.oneof({ maxDepth: 3 }, text, number, fc.array(tie("node")), fc.dictionary(text, tie("node"))),
  })).node;
  const results = fc.record({
    content: fc.array(item, { maxLength: 4 }),
    structuredContent: fc.record({ ssn: fc.oneof(text, number), data: base64, more: value }),
  });
  const rules = fc.subarray([
    ...[{ pattern: "email" }, { pattern: "card" }, { pattern: "ssn" }],
    ...[{ path: "/structuredContent/ssn" }, { path: "/*/more" }, { path: "/content/0/text" }],
  ]);

  test("is what it is here, whatever is in it", async () => {
    await fc.assert(
      fc.asyncProperty(results, rules, fc.constantFrom(null, 60, 400), async (result, some, bytesMax) => {
        const permit = permitOf(some, bytesMax);
        const here = await seen(() => redact(permit, answerOf(result)));
        expect(await seen(() => redacted(elsewhere, permit, answerOf(result), callOf()))).toBe(here);
      }),
      { numRuns: FULL ? 5_000 : 400 },
    );
  });

  test("hides what a text of it says, everywhere else too", async () => {
    const content = ['{"ssn":"only-here"}', "it is only-here"].map((one) => ({ type: "text", text: one }));
    const permit = permitOf([{ path: "/structuredContent/ssn" }]);
    expect(await seen(() => redacted(elsewhere, permit, answerOf({ content }), callOf()))).not.toContain("only-here");
  });

  test("with more to hide than can be looked for is refused", async () => {
    const who = `${"a".repeat(MIB)}b`;
    const content = [{ type: "text", text: "a".repeat(4 * MIB) }];
    const permit = permitOf([{ path: "/structuredContent/who" }]);
    const answer = answerOf({ structuredContent: { who }, content });
    expect(await seen(() => redacted(usual, permit, answer, callOf()))).toContain(
      "more to hide than can be looked for",
    );
  });

  test("is refused where nobody waits for it any more, and where the thread comes to no end", async () => {
    const answer = answerOf({ content: [{ type: "text", text: "ann@example.org ".repeat(MIB / 4) }] });
    const gone = new AbortController();
    const asked = seen(() => redacted(usual, permitOf(ALL), answer, callOf(gone.signal)));
    // it is being looked through by now
    await new Promise((later) => setTimeout(later, 20));
    gone.abort();
    expect(await asked).toContain("The caller went away.");
    // nobody else waits for what it would have taken
    const next = answerOf({ content: [{ type: "text", text: "ann@example.org ".repeat(MIB / 64) }] });
    expect(await seen(() => redacted(usual, permitOf(ALL), next, callOf()))).not.toContain("ann@example.org");
    expect(await seen(() => redacted(usual, permitOf(ALL), answer, callOf(gone.signal)))).toContain("went away");
    const broken = { ...usual, leash: { ...usual.leash, ask: () => Promise.reject(new Error("the thread ended")) } };
    expect(await seen(() => redacted(broken, permitOf(ALL), answer, callOf()))).toContain("more to hide");
  });

  test("comes in turn with those of other tenants, and is not taken apart before", async () => {
    const asked: string[] = [];
    const { promise: start, resolve } = Promise.withResolvers<void>();
    const leash = {
      ...elsewhere.leash,
      ask: async ({ texts }: { readonly texts: readonly string[] }) => {
        asked.push(texts[0] ?? "");
        await start;
        return new Map([[0, "seen"]]);
      },
    };
    const of = (tenant: string, text: string, signal = new AbortController().signal) => {
      const call = { asked: { signal }, principal: { tenant } } as unknown as Call;
      return redacted({ ...elsewhere, leash }, permitOf(ALL), answerOf({ content: [text] }), call) as Promise<Answer>;
    };
    const away = new AbortController();
    const all = [of("a", "a1"), of("a", "a2"), of("a", "a3"), of("b", "b1")];
    const leaving = of("b", "b2", away.signal);
    away.abort();
    await expect(leaving).rejects.toThrow("The caller went away.");
    await new Promise((later) => setTimeout(later, 20));
    expect(asked).toEqual(["a1"]);
    resolve();
    expect(await Promise.all(all)).toEqual(all.map(() => answerOf({ content: ["seen"] })));
    expect(asked).toEqual(["a1", "a2", "b1", "a3"]);
  });

  test("that is small is redacted at once, without a promise", () => {
    const answer = answerOf({ content: [{ type: "text", text: "ann@example.org" }] });
    expect(redacted(usual, permitOf(ALL), answer, callOf())).toEqual(
      answerOf({ content: [{ type: "text", text: "[redacted]" }] }),
    );
  });
});

describe("16 MiB", () => {
  beforeAll(async () => {
    // to start the thread is no stall of an answer's
    await redacted(usual, permitOf(ALL), answerOf({ text: "x".repeat(MIB) }), callOf());
  });

  /** A string in one piece, as what was received is. */
  const many = (part: string, length: number): string => Buffer.alloc(length, part).toString("latin1");
  const prose = "write to ann@example.org or call +49 30 1234567, card 4111 1111 1111 1111; ";
  const rows = Array.from({ length: 20_000 }, (_, id) => ({ id, who: `ann${id}@example.org`, note: prose }));
  test.each<[string, object]>([
    ["prose", { content: [{ type: "text", text: many(prose, 16 * MIB) }] }],
    ["escapes", { content: [{ type: "text", text: many(String.raw`\u0061nn%40example.org `, 16 * MIB) }] }],
    ["JSON", { content: [{ type: "text", text: JSON.stringify(rows) }] }],
    ["small values", { content: [], structuredContent: { rows, more: rows, third: rows } }],
    [
      "a file",
      {
        content: [
          { type: "resource", resource: { uri: "x:y", blob: Buffer.alloc(12 * MIB, prose).toString("base64") } },
        ],
      },
    ],
  ])("of %s leave the event loop to others", async (_, result) => {
    const stalls = turns();
    const answer = await redacted(
      usual,
      permitOf([...ALL, { path: "/structuredContent/x" }]),
      answerOf(result),
      callOf(),
    );
    expect(await stalls.end()).toBeLessThan(STALL_MS);
    const told = JSON.stringify(answer);
    expect(told).not.toMatch(/(?:@|%40)example\.org/);
    expect(told.length).toBeGreaterThan(MIB);
  });
});
