/**
 * What of the answer may be seen? Applies `redact` and `max_result_bytes` to a result or an upstream error alike, before
 * the record is written. A path's value is replaced wherever it stands in the answer, in each encoding that a reader of
 * it reads (`redact-text.ts`). What surprises: where anything is redacted, a progress message is not passed on, for it
 * comes before the value is known; and what is not text, an image say, is not looked into.
 */
import type { Answer, Call, CallRequest, Json, JsonObject, Obligations } from "../model.ts";
import { isObject, isScalar } from "../json.ts";
import { Refusal } from "../refusal.ts";
import type { Permit } from "./authorize.ts";
import { tooMuchToHide } from "./automaton.ts";
import { REDACTION_PATTERNS } from "./patterns.ts";
import { hideBase64, hideText, isBinary, isHidden, MARK, parsedText, type Hidden, textForms } from "./redact-text.ts";
import { wordSearch } from "./words.ts";

/** @throws Refusal forbidden with reason `max_result_bytes`, `redact_too_large` */
export function redact(permit: Permit, answer: Answer): Answer {
  const { redact: rules, max_result_bytes: bytesMax } = permit.obligations;
  const redacted = rules.length === 0 ? answer : redactAnswer(rules, answer);
  if (bytesMax !== null && Buffer.byteLength(JSON.stringify(redacted)) > bytesMax) {
    throw new Refusal("forbidden", "The result is larger than policy allows.", { reasons: ["max_result_bytes"] });
  }
  return redacted;
}

/** Of progress, only how far it is. */
export function withholdProgress(permit: Permit, request: CallRequest): CallRequest {
  const { onProgress } = request;
  if (onProgress === null || permit.obligations.redact.length === 0) return request;
  return {
    ...request,
    onProgress: ({ progress, total }: JsonObject, call: Call) =>
      onProgress({ ...(isNumber(progress) && { progress }), ...(isNumber(total) && { total }) }, call),
  };
}

function redactAnswer(rules: Obligations["redact"], answer: Answer): Answer {
  const body: JsonObject = answer.kind === "result" ? answer.result : answer.error;
  const patterns = rules.flatMap((rule) => ("pattern" in rule ? [REDACTION_PATTERNS[rule.pattern] as RegExp] : []));
  const paths = rules.flatMap((rule) => ("path" in rule ? [segments(rule.path)] : []));
  const values = new Set(valuesAt(body, paths).flatMap(leaves));
  if (values.size > VALUES_MAX) throw tooMuchToHide();
  const hidden = { patterns, values, valuesIn: wordSearch([...values]), paths };
  const final = replaceIn(blankAll(body, paths) as JsonObject, hidden);
  return (answer.kind === "result" ? { kind: "result", result: final } : { kind: "error", error: final }) as Answer;
}

/** Forms of values; to look for more would take too long. */
const VALUES_MAX = 50_000;
/** Of the protocol: they say nothing, and without them the answer is none. */
const FIELDS: ReadonlySet<string> = new Set(
  "_meta annotations blob code content data isError message mimeType name resource structuredContent text type uri".split(
    " ",
  ),
);

const TYPES: ReadonlySet<Json> = new Set(["text", "image", "audio", "resource", "resource_link"]);

type Rules = Hidden & { readonly paths: readonly (readonly string[])[] };

function replace(value: Json, hidden: Rules): Json {
  if (typeof value === "string") return replaceText(value, hidden);
  if (isNumber(value)) return isHidden(JSON.stringify(value), hidden) ? MARK : value;
  if (isScalar(value)) return value;
  return Array.isArray(value)
    ? value.map((item: Json) => replace(item, hidden))
    : replaceIn(value as JsonObject, hidden);
}

function replaceIn(object: JsonObject, hidden: Rules): JsonObject {
  return Object.fromEntries(
    Object.entries(object).map(([key, item]) => [
      FIELDS.has(key) ? key : hideText(key, hidden),
      key === "type" && TYPES.has(item) ? item : replaceMember(object, key, hidden),
    ]),
  );
}

/** The contents of images, sounds and resources are base64; some of them are text. */
function replaceMember(object: JsonObject, key: string, hidden: Rules): Json {
  const item = object[key] as Json;
  if (typeof item !== "string" || (key !== "blob" && key !== "data")) return replace(item, hidden);
  // of what is no text nothing is looked for, since letters of its base64 may look like anything
  if (isContents(object, key) && isBinary(item)) return hidden.values.has(item) ? MARK : item;
  return hideBase64(replaceText(item, hidden), (text) => replaceText(text, hidden));
}

/** Where the protocol has base64; elsewhere a member of that name is any. */
function isContents(object: JsonObject, key: string): boolean {
  return key === "blob" ? typeof object["uri"] === "string" : object["type"] === "image" || object["type"] === "audio";
}

/** Text that is JSON is redacted as what it says, however it escapes that, and written anew only if something was. */
function replaceText(text: string, hidden: Rules): string {
  if (text === MARK) return text;
  const parsed = parsedText(text);
  if (parsed === undefined) return hideText(text, hidden);
  const clean = replace(blankAll(parsed.value, belowStructured(hidden.paths)), hidden);
  const written = JSON.stringify(clean) === JSON.stringify(parsed.value) ? text : JSON.stringify(clean);
  return parsed.isWhole ? written : hideText(written, hidden);
}

/** What stands at the paths. A server of an older era gives as text alone what is structured content elsewhere. */
function valuesAt(body: JsonObject, paths: Rules["paths"]): readonly Json[] {
  const inner = belowStructured(paths);
  const content = body["content"];
  const texts = inner.length > 0 && Array.isArray(content) ? (content as readonly Json[]) : [];
  const told = texts.flatMap((item) => {
    const parsed = isObject(item) && typeof item["text"] === "string" ? parsedText(item["text"]) : undefined;
    return parsed === undefined ? [] : inner.flatMap((path) => at(parsed.value, path));
  });
  return [...paths.flatMap((path) => at(body, path)), ...told];
}

function belowStructured(paths: Rules["paths"]): Rules["paths"] {
  return paths.flatMap(([first, ...rest]) => (first === "structuredContent" || first === EACH ? [rest] : []));
}

/** Also one of more digits than a double holds. */
function isNumber(value: Json | undefined): value is number {
  return typeof value === "number" || JSON.isRawJSON(value);
}

/** Every scalar below a redacted path, as text. One-character and boolean values are blanked in place only. */
function leaves(value: Json): readonly string[] {
  if (typeof value === "string") return value.length > 1 ? textForms(value) : [];
  if (isNumber(value)) return JSON.stringify(value).length > 1 ? [JSON.stringify(value)] : [];
  return isScalar(value) ? [] : Object.values(value).flatMap((item: Json) => leaves(item));
}

function at(value: Json, [head, ...rest]: readonly string[]): readonly Json[] {
  if (head === undefined) return [value];
  if (isScalar(value)) return [];
  const object = value as JsonObject;
  if (head === EACH) return Object.values<Json>(object).flatMap((item) => at(item, rest));
  return Object.hasOwn(object, head) ? at(object[head] as Json, rest) : [];
}

/** Every member, also one of that name. */
const EACH = "*";

function isMeant(segment: string, name: string): boolean {
  return segment === EACH || segment === name;
}

/** Before anything is looked for: what is gone need not be. */
function blankAll(value: Json, paths: Rules["paths"]): Json {
  return paths.reduce<Json>((clean, path) => blank(clean, path), value);
}

function blank(value: Json, [head, ...rest]: readonly string[]): Json {
  if (head === undefined) return MARK;
  if (isScalar(value)) return value;
  if (Array.isArray(value)) {
    const items = value as readonly Json[];
    return items.map((item, index) => (isMeant(head, String(index)) ? blank(item, rest) : item));
  }
  const members = Object.entries<Json>(value as JsonObject);
  return Object.fromEntries(members.map(([name, item]) => [name, isMeant(head, name) ? blank(item, rest) : item]));
}

/** RFC 6901, where `*` is every member. */
function segments(path: string): readonly string[] {
  return path
    .slice(1)
    .split("/")
    .map((segment) => segment.replaceAll("~1", "/").replaceAll("~0", "~"));
}
