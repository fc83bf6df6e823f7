/**
 * What of a value may be kept: bounded JSON, with secrets replaced before a record exists. What surprises: masking and
 * writing are one walk that stops at the bound, so that four megabytes of arguments cost no more than two kilobytes; and
 * the result is valid JSON even where it was cut, every cut marked with "…".
 */
import type { Json, JsonObject } from "../model.ts";
import { formsOf, isSecretName, maskOwnKeys, maskSecrets, MASKED } from "../secrets.ts";
import { visible } from "./attributes.ts";
import { below } from "./paths.ts";
import type { Paths } from "./paths.ts";

/** Tempo cuts attributes at 2,048 bytes: what we cut ourselves is marked. */
const BYTES_MAX = 1_700;
const MASK = `"${MASKED}"`;
const CUT = '"…"';

export type Masking = {
  readonly hide?: Paths | undefined;
  /** Everything else is left out; undefined where all is kept. */
  readonly keep?: Paths | undefined;
  /** Also mask what looks like a secret by its name or its form, and what is binary. */
  readonly shapes: boolean;
  /** Values that are known to be secret: replaced wherever they stand, however they are written. */
  readonly hidden?: readonly string[];
};

/** JSON text of at most 1,900 bytes. */
export function maskedJson(value: Json, { hide, keep, shapes, hidden = [] }: Masking): string {
  const walk: Walk = { left: BYTES_MAX, cut: false, shapes, forms: hidden.flatMap(formsOf) };
  return write(walk, value, { hide, keep });
}

/** Text of ours or an upstream's, with everything that has the form of a secret replaced. */
export function maskedText(text: string, max: number, hidden: readonly string[] = []): string {
  const forms = hidden.flatMap(formsOf);
  const isCut = text.length > max + SLACK;
  return maskSecrets(withoutForms(text.slice(0, max + SLACK), forms, isCut)).slice(0, max);
}

/** Strings and numbers that are hidden by their place or their name: they may come back in an answer or an error. */
export function hiddenIn(value: Json | undefined, hide: Paths | undefined): readonly string[] {
  const found = new Set<string>();
  const walk = { left: NODES_MAX, found };
  if (value !== undefined) collect(walk, value, hide);
  return [...found];
}
const NODES_MAX = 4_096;
const HIDDEN_MAX = 64;
/** A shorter one would mask half the text. */
const HIDDEN_CHARACTERS_MIN = 4;
const HIDDEN_CHARACTERS_MAX = 4_096;

function collect(walk: { left: number; readonly found: Set<string> }, value: Json, hide: Paths | undefined): void {
  if (walk.left-- <= 0 || walk.found.size >= HIDDEN_MAX) return;
  if (typeof value === "object" && value !== null && !JSON.isRawJSON(value)) {
    const named = !Array.isArray(value);
    for (const [name, member] of Object.entries<Json>(value as JsonObject))
      collect(walk, member, hide === true || (named && isSecretName(name)) ? true : below(hide, name));
  } else if (hide === true) {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    if (text.length >= HIDDEN_CHARACTERS_MIN && typeof value !== "boolean" && value !== null)
      walk.found.add(text.slice(0, HIDDEN_CHARACTERS_MAX));
  }
}

type Walk = { left: number; cut: boolean; readonly shapes: boolean; readonly forms: readonly string[] };
type Places = { readonly hide: Paths | undefined; readonly keep: Paths | undefined };
const EVERYWHERE: Places = { hide: undefined, keep: undefined };

function write(walk: Walk, value: Json, places: Places): string {
  if (places.hide === true) return spend(walk, MASK);
  if (typeof value === "string") return writeString(walk, value);
  if (typeof value !== "object" || value === null || JSON.isRawJSON(value)) return writeScalar(walk, value);
  return Array.isArray(value) ? writeArray(walk, value, places) : writeObject(walk, value as JsonObject, places);
}

/** Also a number of more digits than a double holds; one that is known to be secret is masked as text is. */
function writeScalar(walk: Walk, value: Json): string {
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return spend(walk, walk.forms.length > 0 && walk.forms.includes(text) ? MASK : text);
}

function writeArray(walk: Walk, values: readonly Json[], { hide, keep }: Places): string {
  const parts: string[] = [];
  walk.left -= 2;
  for (const [index, value] of values.entries()) {
    const name = String(index);
    const kept = below(keep, name);
    if (keep !== undefined && kept === undefined) continue;
    if (walk.left <= 0) {
      if (marks(walk)) parts.push(CUT);
      break;
    }
    const hidden = below(hide, name);
    const places = hidden === undefined && kept === undefined ? EVERYWHERE : { hide: hidden, keep: kept };
    parts.push(write(walk, value, places));
    walk.left--;
  }
  return `[${parts.join(",")}]`;
}

function writeObject(walk: Walk, object: JsonObject, { hide, keep }: Places): string {
  const parts: string[] = [];
  walk.left -= 2;
  const binary = walk.shapes && typeof object["mimeType"] === "string";
  for (const key of Object.keys(object)) {
    const kept = below(keep, key);
    if (keep !== undefined && kept === undefined) continue;
    if (walk.left <= 0) {
      if (marks(walk)) parts.push(`${CUT}:${CUT}`);
      break;
    }
    const secret = walk.shapes && (isSecretName(key) || (binary && (key === "data" || key === "blob")));
    const own = secret ? true : below(hide, key);
    const places = own === undefined && kept === undefined ? EVERYWHERE : { hide: own, keep: kept };
    parts.push(`${writeString(walk, key)}:${write(walk, object[key] as Json, places)}`);
    walk.left -= 2;
  }
  return `{${parts.join(",")}}`;
}

/** One mark is enough: sixty-four nested containers would otherwise each add theirs beyond the bound. */
function marks(walk: Walk): boolean {
  const first = !walk.cut;
  walk.cut = true;
  return first;
}

/** So much more than the bound is looked at that a secret across the cut is still seen whole enough to match. */
const SLACK = 256;

function writeString(walk: Walk, value: string): string {
  const room = Math.max(walk.left, 1);
  const slice = value.length > room + SLACK ? value.slice(0, room + SLACK) : value;
  const known = withoutForms(slice, walk.forms, slice !== value);
  const masked = walk.shapes ? maskSecrets(known) : maskOwnKeys(known);
  if (PLAIN.test(masked) && masked.length <= room) return spend(walk, `"${masked}${slice === value ? "" : "…"}"`);
  const quoted = JSON.stringify(masked.toWellFormed().replace(HIDDEN, visible));
  if (Buffer.byteLength(quoted) <= room + 2 && slice === value) return spend(walk, quoted);
  return spend(walk, `"${cut(masked, room)}…"`);
}

/** As much of the text as fits, never splitting an escape or a pair of surrogates. */
function cut(text: string, room: number): string {
  let out = "";
  let bytes = 0;
  for (const point of text.toWellFormed()) {
    const quoted = JSON.stringify(point.replace(HIDDEN, visible)).slice(1, -1);
    bytes += Buffer.byteLength(quoted);
    if (bytes > room) break;
    out += quoted;
  }
  return out;
}

function spend(walk: Walk, text: string): string {
  walk.left -= PLAIN.test(text) ? text.length : Buffer.byteLength(text);
  return text;
}

const PLAIN = /^[ !#-[\]-~]*$/;
/** JSON.stringify escapes the C0 controls; these it lets through. */
const HIDDEN = /[\x7f-\x9f\p{Cf}\p{Zl}\p{Zp}]/gu;

/** `isCut`: one may go on beyond the end; of any that begins before the bound at least SLACK characters are there. */
function withoutForms(text: string, forms: readonly string[], isCut: boolean): string {
  let clean = text;
  for (const form of forms) {
    if (clean.includes(form)) clean = clean.replaceAll(form, MASKED);
    const at = isCut ? clean.indexOf(form.slice(0, SLACK)) : -1;
    if (at !== -1) clean = clean.slice(0, at) + MASKED;
  }
  return clean;
}
