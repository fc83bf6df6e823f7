/** A value that policy hides is in no reading of the answer: whoever decodes what stands there does not find it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Answer, Call, CallRequest, Json, JsonObject, Obligations } from "../src/model.ts";
import type { Permit } from "../src/policy/authorize.ts";
import { redact, withholdProgress } from "../src/policy/redact.ts";

const FULL = process.env["FULL"] === "1";
const NONE: Obligations = {
  redact: [],
  mask_audit: [],
  limits: [],
  cost: null,
  max_result_bytes: null,
  rows: null,
  route: null,
};
const permit = (rules: Obligations["redact"]): Permit => ({ obligations: { ...NONE, redact: rules } }) as Permit;
const ascii = (text: string): string =>
  text.replaceAll(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
const units = (text: string): string =>
  Array.from({ length: text.length }, (_, at) => `\\u${text.charCodeAt(at).toString(16).padStart(4, "0")}`).join("");
/** As Go writes it by default. */
const goJson = (value: Json): string =>
  JSON.stringify(value).replaceAll(/[<>&]/g, (sign) => `\\u00${sign.charCodeAt(0).toString(16)}`);
const base64 = (text: string): string => Buffer.from(text).toString("base64");

/** Where a server may put it, each as a part of a result. */
const PLACES: { readonly [name: string]: (value: string) => JsonObject } = {
  prose: (value) => ({ content: [{ type: "text", text: `it is ${value}.` }] }),
  "JSON as text": (value) => ({ content: [{ type: "text", text: JSON.stringify({ a: [value], b: 1.0 }, null, 2) }] }),
  "JSON in prose": (value) => ({ content: [{ type: "text", text: `Result: ${JSON.stringify({ a: value })}` }] }),
  "ASCII JSON as text": (value) => ({ content: [{ type: "text", text: ascii(JSON.stringify({ a: value })) }] }),
  "ASCII JSON in prose": (value) => ({
    content: [{ type: "text", text: `Result: ${ascii(JSON.stringify({ a: value }))}` }],
  }),
  "JSON in prose that escapes all": (value) => ({
    content: [{ type: "text", text: `Result: {"a":"${units(value)}"}` }],
  }),
  "a fenced block of JSON": (value) => ({
    content: [{ type: "text", text: `It is:\n\`\`\`json\n${goJson({ a: value })}\n\`\`\`\nso` }],
  }),
  "lines of JSON": (value) => ({ content: [{ type: "text", text: `${goJson({ b: 1 })}\n${goJson({ a: value })}\n` }] }),
  "JSON in JSON in prose": (value) => ({
    content: [{ type: "text", text: `Result: ${JSON.stringify({ a: `{"b":"${units(value)}"}` })}` }],
  }),
  "a key twice, first": (value) => ({ content: [{ type: "text", text: `{"a": "${units(value)}", "a": 1}` }] }),
  "a data link of JSON": (value) => ({
    content: [{ type: "text", text: `see data:application/json;base64,${base64(`x {"a":"${units(value)}"}`)}` }],
  }),
  "JSON in JSON": (value) => ({
    content: [{ type: "text", text: JSON.stringify({ a: JSON.stringify({ b: JSON.stringify([value]) }) }) }],
  }),
  "a key twice": (value) => ({ content: [{ type: "text", text: `{"a": 1, "a": "${units(value)}"}` }] }),
  "JSON that escapes all": (value) => ({ content: [{ type: "text", text: `{"a": ["${units(value)}"]}` }] }),
  "a key": (value) => ({ _meta: { [value]: true } }),
  "a link": (value) => ({
    content: [{ type: "resource_link", name: "x", uri: `https://x.example/a?q=${encodeURIComponent(value)}&r=1` }],
  }),
  "a form's link": (value) => ({
    content: [{ type: "text", text: `see <https://x.example/?${new URLSearchParams({ q: value })}>` }],
  }),
  "a data link": (value) => ({
    content: [{ type: "resource_link", name: "x", uri: `data:text/plain;base64,${base64(`it is ${value}`)}` }],
  }),
  "a blob": (value) => ({
    content: [{ type: "resource", resource: { uri: "file:///x", blob: base64(`a,b\n1,${value}\n`) } }],
  }),
  "a blob of JSON": (value) => ({
    content: [{ type: "resource", resource: { uri: "file:///x", blob: base64(ascii(JSON.stringify({ a: value }))) } }],
  }),
  "the other normal form": (value) => ({ content: [{ type: "text", text: `it is ${value.normalize("NFD")}.` }] }),
};

/** Everything that a reader could take an answer for. */
function readings(value: Json, depth = 0): readonly string[] {
  if (typeof value === "string")
    return [
      value,
      value.normalize("NFC"),
      ...(depth > 6 ? [] : decodings(value).flatMap((one) => readings(one, depth + 1))),
    ];
  if (typeof value !== "object" || value === null) return [String(value)];
  return Object.entries(value).flatMap(([key, item]: [string, Json]) => [
    ...readings(key, 7),
    ...readings(item, depth + 1),
  ]);
}

function decodings(text: string): readonly Json[] {
  const found: Json[] = [];
  const attempt = (decode: () => Json): void => {
    try {
      found.push(decode());
    } catch {}
  };
  attempt(() => JSON.parse(text) as Json);
  // also of a key that stands twice, the first
  for (const [, member = ""] of text.matchAll(/"a": ("[^"]*")/g)) attempt(() => JSON.parse(member) as Json);
  for (const inner of text.match(/\{.*\}/g) ?? []) if (inner !== text) attempt(() => JSON.parse(inner) as Json);
  for (const inner of text.match(/\{.*\}/gs) ?? []) if (inner !== text) attempt(() => JSON.parse(inner) as Json);
  for (const word of text.split(/[\s<>]+/))
    if (word.includes("%")) attempt(() => decodeURIComponent(word.replaceAll("+", " ")));
  const data = /;base64,(.*)$/.exec(text)?.[1] ?? text;
  if (/^[A-Za-z0-9+/]{8,}=*$/.test(data)) found.push(Buffer.from(data, "base64").toString());
  return found;
}

const secret = fc
  .array(fc.constantFrom(...("abcXYZ019 \"\\/%+&=<é\u00fcß日本😀\n\t'".match(/./gsu) ?? [])), {
    minLength: 4,
    maxLength: 12,
  })
  .map((letters) => `Q${letters.join("")}Z`.normalize("NFC"));

describe("a value that a path names", () => {
  test.each(Object.entries(PLACES))("is in no reading of %s", (_, place) => {
    fc.assert(
      fc.property(secret, (value) => {
        const structured = { structuredContent: { hidden: value, shown: "kept" } };
        const answer = { kind: "result", result: { ...structured, ...place(value) } } as Answer;
        expect(readings(answer as unknown as Json).some((one) => one.normalize("NFC").includes(value))).toBe(true);
        const clean = redact(permit([{ path: "/structuredContent/hidden" }]), answer) as unknown as Json;
        expect(readings(clean).filter((one) => one.includes(value))).toEqual([]);
        expect(JSON.stringify(clean)).toContain("kept");
      }),
      { numRuns: FULL ? 2000 : 60 },
    );
  });

  test("is hidden also where a server says as text alone what others structure", () => {
    const text = JSON.stringify({ hidden: "abc-1", flag: true, shown: "kept" });
    const prose = (value: string) => ({ type: "text", text: `again: ${value}` });
    const answer = {
      kind: "result",
      result: { content: [{ type: "text", text }, prose("abc-1")] },
    } as unknown as Answer;
    const rules = [{ path: "/structuredContent/hidden" }, { path: "/structuredContent/flag" }];
    expect(redact(permit(rules), answer)).toEqual({
      kind: "result",
      result: {
        content: [
          { type: "text", text: '{"hidden":"[redacted]","flag":"[redacted]","shown":"kept"}' },
          prose("[redacted]"),
        ],
      },
    });
  });
});

describe("a pattern", () => {
  test.each(Object.entries(PLACES))("is found in %s", (_, place) => {
    const value = "ann.lee@mail.example.org";
    const answer = { kind: "result", result: place(value) } as Answer;
    const clean = redact(permit([{ pattern: "email" }]), answer) as unknown as Json;
    expect(readings(clean).filter((one) => one.includes(value))).toEqual([]);
    expect(JSON.stringify(clean)).not.toBe(JSON.stringify(answer));
  });

  test("is found in a number, and in an upstream's error with its data", () => {
    const answer = {
      kind: "error",
      error: { code: -32000, message: "card 4111111111111111", data: { card: 4111111111111111 } },
    } as Answer;
    expect(JSON.stringify(redact(permit([{ pattern: "card" }]), answer))).not.toContain("4111");
  });
});

test("what holds nothing hidden comes through byte for byte", () => {
  const content = [
    { type: "text", text: '{ "a" : 1.0, "b": "\\u00e9", "n": 12345678901234567890 }' },
    { type: "text", text: "100 % of https://x.example/?q=a%20b+c" },
    { type: "image", mimeType: "image/png", data: "iVBORw0KGgo=" },
    { type: "resource", resource: { uri: "file:///x", blob: base64("plain") } },
  ];
  const answer = { kind: "result", result: { content } } as unknown as Answer;
  expect(redact(permit([{ pattern: "email" }, { path: "/structuredContent/x" }]), answer)).toEqual(answer);
});

test("what stands in another reading is replaced where it stands, and nothing beside it", () => {
  const told = (text: string): Answer =>
    redact(permit([{ path: "/structuredContent/hidden" }, { pattern: "email" }]), {
      kind: "result",
      result: { structuredContent: { hidden: "AT&T \u{1f600} Corp" }, text },
    } as unknown as Answer);
  for (const [text, expected] of [
    ['so {"a\\n":"\\u00e9 AT\\u0026T \\ud83d\\ude00 Corp\\n"} it', 'so {"a\\n":"\\u00e9 [redacted]\\n"} it'],
    ['so "{\\"a\\":\\"ann\\\\u0040example.org\\"}" it', 'so "{\\"a\\":\\"[redacted]\\"}" it'],
    [
      "at https://x.example/%C3%BC?q=AT%26T+%F0%9F%98%80+Corp&r=%2B1 it",
      "at https://x.example/%C3%BC?q=[redacted]&r=%2B1 it",
    ],
    ["at https://x.example/?q=ann%40example.org%20x", "at https://x.example/?q=[redacted]%20x"],
    ['so {"a":"x\\nann@example.org"} it', 'so {"a":"x[redacted]"} it'],
    ["%zz %4 \\u00g0 \\q %F0%28 \\", "%zz %4 \\u00g0 \\q %F0%28 \\"],
  ] as const)
    expect(JSON.stringify(told(text))).toContain(JSON.stringify({ text: expected }).slice(1, -1));
});

test("a long hostile text costs time in proportion to its length", () => {
  for (const unit of ["%41", "%", "%é", ";base64,QQ", '{"', "[", "+ %2", '\\"']) {
    const answer = {
      kind: "result",
      result: { structuredContent: { hidden: "secret" }, text: unit.repeat(100_000) },
    } as unknown as Answer;
    expect(redact(permit([{ path: "/structuredContent/hidden" }, { pattern: "email" }]), answer).kind).toBe("result");
  }
});

test("what is hidden may itself look like a mark, and makes the answer no longer; names of the protocol stay", () => {
  const mark = "[redacted]";
  const places = Array.from({ length: mark.length }, (_, at) => at);
  const parts = places.flatMap((from) =>
    places.map((to) => mark.slice(from, to + 1)).filter((part) => part.length > 1),
  );
  const content = [{ type: "text", text: "te and content and text" }];
  const result = { structuredContent: { hidden: [...parts, "te", "content", "text"] }, content };
  const answer = { kind: "result", result } as unknown as Answer;
  const told = redact(permit([{ path: "/structuredContent/hidden" }]), answer) as Extract<Answer, { kind: "result" }>;
  expect(told.result).toEqual({
    structuredContent: { hidden: mark },
    content: [{ type: "text", text: `${mark} and ${mark} and ${mark}` }],
  });
});

test("more to hide than can be looked for is refused", () => {
  const hidden = Array.from({ length: 60_000 }, (_, at) => `value ${at}`);
  const answer = { kind: "result", result: { structuredContent: { hidden } } } as unknown as Answer;
  expect(() => redact(permit([{ path: "/structuredContent/hidden" }]), answer)).toThrow(/more to hide/);
});

test("progress says how far it is and nothing else, where anything is to be hidden", () => {
  const told: JsonObject[] = [];
  const request = { onProgress: (params: JsonObject) => void told.push(params) } as unknown as CallRequest;
  const message = { progress: 1, total: 3, message: "reading ann@example.org" };
  withholdProgress(permit([{ pattern: "email" }]), request).onProgress?.(message, {} as Call);
  withholdProgress(permit([{ path: "/x" }]), request).onProgress?.({ progress: "ann@example.org" }, {} as Call);
  withholdProgress(permit([]), request).onProgress?.(message, {} as Call);
  expect(told).toEqual([{ progress: 1, total: 3 }, {}, message]);
});
