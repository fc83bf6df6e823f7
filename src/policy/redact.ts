/**
 * What of the answer may be seen? Applies `redact` and `max_result_bytes` to a result or an upstream error alike. A
 * path's value is replaced wherever it stands in the answer: structured content usually repeats as text.
 */
import type { Answer, Json, JsonObject, Obligations } from "../model.ts";
import { isScalar } from "../json.ts";
import { Refusal } from "../refusal.ts";
import type { Permit } from "./authorize.ts";
import { REDACTION_PATTERNS } from "./patterns.ts";

const MARK = "[redacted]";

/** @throws Refusal forbidden with reason `max_result_bytes` */
export function redact(permit: Permit, answer: Answer): Answer {
  const { redact: rules, max_result_bytes: bytesMax } = permit.obligations;
  const redacted = rules.length === 0 ? answer : redactAnswer(rules, answer);
  if (bytesMax !== null && Buffer.byteLength(JSON.stringify(redacted)) > bytesMax) {
    throw new Refusal("forbidden", "The result is larger than policy allows.", { reasons: ["max_result_bytes"] });
  }
  return redacted;
}

function redactAnswer(rules: Obligations["redact"], answer: Answer): Answer {
  const body: JsonObject = answer.kind === "result" ? answer.result : answer.error;
  const patterns = rules.flatMap((rule) => ("pattern" in rule ? [REDACTION_PATTERNS[rule.pattern] as RegExp] : []));
  const paths = rules.flatMap((rule) => ("path" in rule ? [rule.path] : []));
  const values = paths.flatMap((path) => leaves(at(body, path)));
  const clean = replace(
    body,
    patterns,
    values.toSorted((a, b) => b.length - a.length),
  ) as JsonObject;
  const final = paths.reduce<JsonObject>((object, path) => blank(object, segments(path)) as JsonObject, clean);
  return (answer.kind === "result" ? { kind: "result", result: final } : { kind: "error", error: final }) as Answer;
}

function replace(value: Json, patterns: readonly RegExp[], secrets: readonly string[]): Json {
  if (typeof value === "string") return replaceText(value, patterns, secrets);
  if (isNumber(value)) return secrets.includes(JSON.stringify(value)) ? MARK : value;
  if (isScalar(value)) return value;
  if (Array.isArray(value)) return (value as readonly Json[]).map((item) => replace(item, patterns, secrets));
  return Object.fromEntries(
    Object.entries(value as JsonObject).map(([key, item]) => [
      replaceText(key, patterns, secrets),
      replace(item, patterns, secrets),
    ]),
  );
}

/** Also one of more digits than a double holds. */
function isNumber(value: Json | undefined): value is number {
  return typeof value === "number" || JSON.isRawJSON(value);
}

function replaceText(text: string, patterns: readonly RegExp[], secrets: readonly string[]): string {
  let clean = text;
  for (const secret of secrets) clean = clean.replaceAll(secret, MARK);
  for (const pattern of patterns) clean = clean.replace(pattern, MARK);
  return clean;
}

/** Every scalar below a redacted path, as text. One-character and boolean values are blanked in place only. */
function leaves(value: Json | undefined): readonly string[] {
  if (typeof value === "string") return value.length > 1 ? textForms(value) : [];
  if (isNumber(value)) return JSON.stringify(value).length > 1 ? [JSON.stringify(value)] : [];
  if (value === undefined || isScalar(value)) return [];
  return Object.values(value).flatMap((item: Json) => leaves(item));
}

/** Text content often holds the structured content as JSON: there the value stands escaped. */
function textForms(value: string): readonly string[] {
  const escaped = JSON.stringify(value).slice(1, -1);
  return escaped === value ? [value] : [value, escaped];
}

function at(value: Json, path: string): Json | undefined {
  let current: Json | undefined = value;
  for (const segment of segments(path)) {
    if (typeof current !== "object" || current === null || !Object.hasOwn(current, segment)) return undefined;
    current = (current as JsonObject)[segment];
  }
  return current;
}

function blank(value: Json, path: readonly string[]): Json {
  const [head, ...rest] = path;
  if (head === undefined) return MARK;
  if (isScalar(value) || !Object.hasOwn(value, head)) return value;
  if (Array.isArray(value)) {
    return (value as readonly Json[]).map((item, index) => (String(index) === head ? blank(item, rest) : item));
  }
  const object = value as JsonObject;
  return { ...object, [head]: blank(object[head] as Json, rest) };
}

/** RFC 6901 */
function segments(path: string): readonly string[] {
  return path
    .slice(1)
    .split("/")
    .map((segment) => segment.replaceAll("~1", "/").replaceAll("~0", "~"));
}
