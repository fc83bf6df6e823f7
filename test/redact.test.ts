/** What policy says must not be seen is not seen, wherever in the answer it stands. */
import { describe, expect, test } from "vitest";
import { parseJsonText } from "../src/json.ts";
import type { Answer, Obligations } from "../src/model.ts";
import type { Permit } from "../src/policy/authorize.ts";
import { readVerdict } from "../src/policy/decision.ts";
import { redact } from "../src/policy/redact.ts";
import { Refusal } from "../src/refusal.ts";

const NONE: Obligations = {
  redact: [],
  mask_audit: [],
  limits: [],
  cost: null,
  max_result_bytes: null,
  rows: null,
  route: null,
};
const permit = (obligations: Partial<Obligations>): Permit => ({ obligations: { ...NONE, ...obligations } }) as Permit;
const result = (value: object): Answer => ({ kind: "result", result: value }) as Answer;

describe("redaction", () => {
  test("replaces a path's value wherever it stands: in text, in JSON inside text, in keys", () => {
    const answer = result({
      structuredContent: { ssn: 'a"1-2', name: "Ann" },
      content: [
        { type: "text", text: 'the number is a"1-2.' },
        { type: "text", text: JSON.stringify({ ssn: 'a"1-2' }) },
      ],
      _meta: { 'a"1-2': true },
    });
    const text = JSON.stringify(redact(permit({ redact: [{ path: "/structuredContent/ssn" }] }), answer));
    expect(text).not.toContain("1-2");
    expect(text).toContain("Ann");
  });

  test("reaches a number of many digits, and leaves others as they are", () => {
    const body = parseJsonText('{"structuredContent":{"a":12345678901234567890,"b":98765432109876543210}}', "kept");
    const clean = redact(permit({ redact: [{ path: "/structuredContent/a" }] }), result(body as object));
    expect(JSON.stringify(clean)).toContain('{"structuredContent":{"a":"[redacted]","b":98765432109876543210}}');
  });

  test("blanks a path whose value is too short to be looked for elsewhere", () => {
    const clean = redact(
      permit({ redact: [{ path: "/structuredContent/flag" }] }),
      result({ structuredContent: { flag: true, other: true } }),
    );
    expect(clean).toEqual(result({ structuredContent: { flag: "[redacted]", other: true } }));
  });

  test("reaches into arrays and escaped segments, and does nothing where the path is not", () => {
    const rules = permit({ redact: [{ path: "/a~1b/1/x" }, { path: "/not/there" }] });
    expect(redact(rules, result({ "a/b": [{ x: "keep" }, { x: "secret" }] }))).toEqual(
      result({ "a/b": [{ x: "keep" }, { x: "[redacted]" }] }),
    );
  });

  test("takes * for every member of a list or an object, also for one of that name", () => {
    const rules = permit({ redact: [{ path: "/content/*/text" }, { path: "/structuredContent/*/pin" }] });
    const content = [
      { type: "text", text: "alpha" },
      { type: "image", data: "AAAA", mimeType: "x" },
      { type: "text", text: "beta" },
    ];
    const structuredContent = {
      a: { pin: "11-11", of: "alpha, kept" },
      "*": { pin: "22-22" },
      b: [{ pin: "33-33" }],
      c: 1,
    };
    const told = '{"a":{"pin":"44-44"},"b":1}';
    expect(redact(rules, result({ content, structuredContent, again: "beta 22-22" }))).toEqual(
      result({
        content: [{ type: "text", text: "[redacted]" }, content[1], { type: "text", text: "[redacted]" }],
        structuredContent: {
          a: { pin: "[redacted]", of: "[redacted], kept" },
          "*": { pin: "[redacted]" },
          b: [{ pin: "33-33" }],
          c: 1,
        },
        again: "[redacted] [redacted]",
      }),
    );
    const text = redact(
      permit({ redact: [{ path: "/*/*/pin" }] }),
      result({ content: [{ type: "text", text: told }] }),
    );
    expect(JSON.stringify(text)).not.toContain("44-44");
  });

  test.each([
    ["email", "write to ann.lee+x@mail.example.org now"],
    ["ssn", "ssn 123-45-6789 here"],
    ["card", "card 4111 1111 1111 1111 here"],
    ["iban", "iban DE89 3704 0044 0532 0130 00 here"],
    ["phone", "call +49 170 1234567 here"],
    ["ipv4", "host 10.20.30.40 here"],
    ["secret", `key AKIAABCDEFGHIJKLMNOP here`],
    ["jwt", "token eyJhbGciOiJ.eyJzdWIiOiIx.c2lnbmF0dXJl here"],
  ])("knows the pattern %s", (pattern, text) => {
    const clean = redact(permit({ redact: [{ pattern }] }), result({ content: [{ type: "text", text }] }));
    expect(JSON.stringify(clean)).toMatch(/"(write to|ssn|card|iban|call|host|key|token) \[redacted\] (now|here)"/);
  });

  test.each([
    ["email", "a@bücher.example"],
    ["email", '"a b"@example.org'],
    ["email", "o'brien@example.org"],
    ["email", "jürgen.müller@example.org"],
    ["email", "a@example.org@example.com"],
    ["card", "3782 822463 10005"],
    ["card", "3782-822463-10005"],
    ["jwt", `eyJhbGciOi.${"a".repeat(9_000)}.c2ln`],
    ["jwt", "x-eyJhbGciOi.eyJzdWIi.c2ln"],
  ])("knows the pattern %s also as %s, whole", (pattern, value) => {
    const clean = redact(permit({ redact: [{ pattern }] }), result({ content: [`it is '${value}'`, value] }));
    const [within, alone] = (clean as unknown as { result: { content: readonly string[] } }).result.content;
    expect([within, alone]).toEqual([
      expect.stringMatching(/^it is '(x-)?\[redacted\]'$/),
      expect.stringMatching(/^(x-)?\[redacted\]$/),
    ]);
  });

  test("covers an upstream's own error as well", () => {
    const answer: Answer = {
      kind: "error",
      error: { code: -32000, message: "no account ann@example.org", data: { who: "ann@example.org" } },
    };
    expect(JSON.stringify(redact(permit({ redact: [{ pattern: "email" }] }), answer))).not.toContain("ann@");
  });

  test("refuses a result larger than policy allows, as executed", () => {
    expect(() => redact(permit({ max_result_bytes: 10 }), result({ content: ["01234567890"] }))).toThrow(Refusal);
    expect(redact(permit({ max_result_bytes: 1000 }), result({ content: [] }))).toEqual(result({ content: [] }));
  });

  test("stays linear on a long hostile text", () => {
    for (const pattern of ["email", "phone", "card", "iban", "ssn", "ipv4", "jwt", "secret"]) {
      for (const unit of ["a@", "1", "+1 ", "DE89 ", "eyJ", "a.", "1.", "1-"]) {
        expect(redact(permit({ redact: [{ pattern }] }), result({ text: unit.repeat(50_000) })).kind).toBe("result");
      }
    }
  });
});

describe("a decision", () => {
  const read = (decision: unknown, listed: unknown = true) =>
    readVerdict({ ok: true, value: { decision, listed } }).decision;

  test("allows on boolean true only", () => {
    expect(read({ allow: true }).allow).toBe(true);
    for (const allow of ["true", 1, {}, [true], null, undefined]) expect(read({ allow }).allow).toBe(false);
  });

  test.each([
    ["an unknown obligation", { allow: true, obligations: { forward: { version: "2" } } }],
    ["a route without a version", { allow: true, obligations: { route: {} } }],
    ["a route with more than a version", { allow: true, obligations: { route: { version: "2", server: "x" } } }],
    ["an obligation of the wrong type", { allow: true, obligations: { limits: "gold" } }],
    ["an unknown redaction pattern", { allow: true, obligations: { redact: [{ pattern: "aura" }] } }],
    ["a redaction with two ways", { allow: true, obligations: { redact: [{ pattern: "email", path: "/x" }] } }],
    ["a mask that is no pointer", { allow: true, obligations: { mask_audit: ["arguments.password"] } }],
    ["a negative size", { allow: true, obligations: { max_result_bytes: -1 } }],
    ["a cost of nothing", { allow: true, obligations: { cost: 0 } }],
    ["a cost without bound", { allow: true, obligations: { cost: 1_000_001 } }],
    ["reasons that are no list", { allow: true, reasons: "because" }],
  ])("denies %s", (_, decision) => {
    expect(read(decision)).toMatchObject({ allow: false, reasons: ["policy_shape"] });
  });

  test("denies what is not listed, whatever the rules say to the use", () => {
    expect(read({ allow: true }, false)).toMatchObject({ allow: false, reasons: ["not_listed"] });
    expect(read({ allow: true }, "true").allow).toBe(false);
  });

  test("denies every fault of the evaluation, named", () => {
    expect(readVerdict({ ok: false, fault: "policy_budget", detail: "" }).decision).toMatchObject({
      allow: false,
      reasons: ["policy_budget"],
    });
    for (const value of [null, [], "x", {}, { decision: null }])
      expect(readVerdict({ ok: true, value }).decision.allow).toBe(false);
  });
});
