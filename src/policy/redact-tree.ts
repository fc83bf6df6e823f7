/**
 * How is each text of an answer hidden, and which are there? A walk asks for every text of the tree, whoever answers: at
 * once, or, of an answer that is large, what another thread found out (`redactor.ts`).
 */
import type { Json, JsonObject, Obligations } from "../model.ts";
import { isObject, isScalar } from "../json.ts";
import { tooMuchToHide } from "./automaton.ts";
import { REDACTION_PATTERNS } from "./patterns.ts";
import { hideBase64, hideText, isBinary, isHidden, MARK, parsedText, type Hidden, textForms } from "./redact-text.ts";
import { wordSearch } from "./words.ts";

/** What a text is: one that may hold JSON, a member's name, a number, base64 that may be of no text, any base64. */
export type How = "text" | "name" | "number" | "contents" | "base64";
/** Gives the text as it may be seen. */
export type Hide = (how: How, text: string) => string;
type Rules = Obligations["redact"];
type Paths = readonly (readonly string[])[];

/**
 * `values`: what the rules' paths name in the answer, as text, in every form that is looked for.
 * @throws Refusal forbidden with reason `redact_too_large`
 */
export function hidingBy(rules: Rules, values: ReadonlySet<string>): Hide {
  if (values.size > VALUES_MAX) throw tooMuchToHide();
  const patterns = rules.flatMap((rule) => ("pattern" in rule ? [REDACTION_PATTERNS[rule.pattern] as RegExp] : []));
  const hidden = { patterns, values, valuesIn: wordSearch([...values]) };
  const below = belowStructured(pathsOf(rules));
  const text = (one: string): string => replaceText(one, { hidden, below, hide });
  const hide: Hide = (how, one) => {
    if (how === "text") return text(one);
    if (how === "name") return hideText(one, hidden);
    if (how === "number") return isHidden(one, hidden) ? MARK : one;
    // of what is no text nothing is looked for, since letters of its base64 may look like anything
    if (how === "contents" && isBinary(one)) return values.has(one) ? MARK : one;
    return hideBase64(text(one), text);
  };
  return hide;
}

/** Forms of values; to look for more would take too long. */
const VALUES_MAX = 50_000;
type Hiding = { readonly hidden: Hidden; readonly below: Paths; readonly hide: Hide };

/** Text that is JSON is redacted as what it says, however it escapes that, and written anew only if something was. */
function replaceText(text: string, { hidden, below, hide }: Hiding): string {
  if (text === MARK) return text;
  const parsed = parsedText(text);
  if (parsed === undefined) return hideText(text, hidden);
  const clean = replace(blankAll(parsed.value, below), hide);
  const written = JSON.stringify(clean) === JSON.stringify(parsed.value) ? text : JSON.stringify(clean);
  return parsed.isWhole ? written : hideText(written, hidden);
}

/** Of the protocol: they say nothing, and without them the answer is none. */
const FIELDS: ReadonlySet<string> = new Set(
  "_meta annotations blob code content data isError message mimeType name resource structuredContent text type uri".split(
    " ",
  ),
);

const TYPES: ReadonlySet<Json> = new Set(["text", "image", "audio", "resource", "resource_link"]);

function replace(value: Json, hide: Hide): Json {
  if (typeof value === "string") return hide("text", value);
  if (isNumber(value)) return hide("number", JSON.stringify(value)) === MARK ? MARK : value;
  if (isScalar(value)) return value;
  return Array.isArray(value) ? value.map((item: Json) => replace(item, hide)) : replaceIn(value as JsonObject, hide);
}

/** Asks in the same order whenever it is asked of the same. */
export function replaceIn(object: JsonObject, hide: Hide): JsonObject {
  return Object.fromEntries(
    Object.entries(object).map(([key, item]) => [
      FIELDS.has(key) ? key : hide("name", key),
      key === "type" && TYPES.has(item) ? item : replaceMember(object, key, hide),
    ]),
  );
}

/** The contents of images, sounds and resources are base64; some of them are text. */
function replaceMember(object: JsonObject, key: string, hide: Hide): Json {
  const item = object[key] as Json;
  if (typeof item !== "string" || (key !== "blob" && key !== "data")) return replace(item, hide);
  return hide(isContents(object, key) ? "contents" : "base64", item);
}

/** Where the protocol has base64; elsewhere a member of that name is any. */
function isContents(object: JsonObject, key: string): boolean {
  return key === "blob" ? typeof object["uri"] === "string" : object["type"] === "image" || object["type"] === "audio";
}

/** What stands at the rules' paths, as text. */
export function valuesAt(body: JsonObject, rules: Rules): readonly string[] {
  return pathsOf(rules).flatMap((path) => at(body, path).flatMap(leaves));
}

/** A server of an older era gives as text alone what is structured content elsewhere: these texts. */
export function toldTexts(body: JsonObject, rules: Rules): readonly string[] {
  const content = body["content"];
  if (belowStructured(pathsOf(rules)).length === 0 || !Array.isArray(content)) return [];
  return (content as readonly Json[]).flatMap((item) =>
    isObject(item) && typeof item["text"] === "string" ? [item["text"]] : [],
  );
}

/** And what stands there. */
export function valuesTold(texts: readonly string[], rules: Rules): readonly string[] {
  const inner = belowStructured(pathsOf(rules));
  return texts.flatMap((text) => {
    const parsed = parsedText(text);
    return parsed === undefined ? [] : inner.flatMap((path) => at(parsed.value, path).flatMap(leaves));
  });
}

function pathsOf(rules: Rules): Paths {
  return rules.flatMap((rule) => ("path" in rule ? [segments(rule.path)] : []));
}

function belowStructured(paths: Paths): Paths {
  return paths.flatMap(([first, ...rest]) => (first === "structuredContent" || first === EACH ? [rest] : []));
}

/** Also one of more digits than a double holds. */
export function isNumber(value: Json | undefined): value is number {
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
export function blanked(body: JsonObject, rules: Rules): JsonObject {
  return blankAll(body, pathsOf(rules)) as JsonObject;
}

function blankAll(value: Json, paths: Paths): Json {
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
