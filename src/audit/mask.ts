/**
 * What of a call's arguments may be kept: bounded JSON, with secrets replaced before a record exists. What surprises:
 * masking and writing are one walk that stops at the bound, so that four megabytes of arguments cost no more than
 * two kilobytes; and the result is valid JSON even where it was cut, every cut marked with "…".
 */
import type { Json, JsonObject } from "../model.ts";
import { visible } from "./attributes.ts";

/** Tempo cuts attributes at 2,048 bytes: what we cut ourselves is marked. */
const BYTES_MAX = 1_700;
const MASK = '"***"';
const CUT = '"…"';

/** Paths to mask, as a tree; `true` masks everything below. */
export type MaskTree = Map<string, MaskTree> | true;

/** JSON text of at most 1,900 bytes. `shapes`: also mask what looks like a secret by its key or its form. */
export function maskedJson(value: Json, hide: MaskTree | null, shapes: boolean): string {
  const walk: Walk = { left: BYTES_MAX, cut: false, shapes };
  return write(walk, value, hide ?? undefined);
}

/** Text of ours or an upstream's, with everything that has the form of a secret replaced. */
export function maskedText(text: string, max: number): string {
  return maskSecrets(text.slice(0, max + SLACK)).slice(0, max);
}

/** JSON pointers of the policy document; only those under `/arguments` count, and one that is no pointer hides all. */
export function maskTree(pointers: readonly string[]): MaskTree | null {
  if (pointers.length === 0) return null;
  const root: Map<string, MaskTree> = new Map();
  for (const pointer of pointers) {
    if (!pointer.startsWith("/")) return true;
    plant(
      root,
      pointer
        .slice(1)
        .split("/")
        .map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~")),
    );
  }
  return root.get("arguments") ?? null;
}

function plant(root: Map<string, MaskTree>, path: readonly string[]): void {
  let at = root;
  for (const [depth, token] of path.entries()) {
    const next = at.get(token);
    if (next === true) return;
    if (depth === path.length - 1) at.set(token, true);
    else if (next !== undefined) at = next;
    else {
      const made: Map<string, MaskTree> = new Map();
      at.set(token, made);
      at = made;
    }
  }
}

type Walk = { left: number; cut: boolean; readonly shapes: boolean };

function write(walk: Walk, value: Json, hide: MaskTree | undefined): string {
  if (hide === true) return spend(walk, MASK);
  if (typeof value === "string") return writeString(walk, value);
  if (typeof value !== "object" || value === null) return spend(walk, String(value));
  return Array.isArray(value) ? writeArray(walk, value, hide) : writeObject(walk, value as JsonObject, hide);
}

function writeArray(walk: Walk, values: readonly Json[], hide: MaskTree | undefined): string {
  const parts: string[] = [];
  walk.left -= 2;
  for (const [index, value] of values.entries()) {
    if (walk.left <= 0) {
      if (marks(walk)) parts.push(CUT);
      break;
    }
    parts.push(write(walk, value, hide === undefined || hide === true ? hide : hide.get(String(index))));
    walk.left--;
  }
  return `[${parts.join(",")}]`;
}

function writeObject(walk: Walk, object: JsonObject, hide: MaskTree | undefined): string {
  const parts: string[] = [];
  walk.left -= 2;
  for (const key of Object.keys(object)) {
    if (walk.left <= 0) {
      if (marks(walk)) parts.push(`${CUT}:${CUT}`);
      break;
    }
    const below = hide === undefined || hide === true ? hide : hide.get(key);
    const secret = below === true || (walk.shapes && SECRET_KEY.test(key));
    parts.push(`${writeString(walk, key)}:${write(walk, object[key] as Json, secret ? true : below)}`);
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
  const masked = walk.shapes ? maskSecrets(slice) : slice.replace(OWN_KEY, "***");
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
const SECRET_KEY =
  /pass(?:w|phrase|code)|\bpwd\b|secret|token|authori[sz]ation|(?:api|access|private|signing|encryption)[-_ ]?key|credential|cookie|session[-_ ]?id/i;
/** Our own keys are masked in every mode: no record holds what opens the gateway. */
const OWN_KEY = /pc_[a-z0-9]{1,32}_[0-9a-f]{16,}/g;
/** Quick look before the slow one: most strings hold none of these. */
const SUSPECT = /pc_|bearer|basic|eyJ|A(?:KIA|SIA)|gh[opsu]_|github_pat_|sk-|xox|PRIVATE KEY|:\/\/|[=:]/i;
/** Each starts at a word's edge or is bounded, so that no text makes the search quadratic. */
const SECRETS =
  /-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----[^]*|pc_[a-z0-9]{1,32}_[0-9a-f]{16,}|\b(?:bearer|basic)\s{1,8}[\w.~+/=-]{6,}|(?<![\w-])eyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)?|A(?:KIA|SIA)[0-9A-Z]{16}|gh[opsu]_\w{20,}|github_pat_\w{20,}|\bsk-[\w-]{16,}|\bxox[a-z]-[\w-]{10,}/gi;
const PAIRS =
  /((?:password|passwd|pwd|secret|token|api[-_]?key|access[-_]?key|authorization)["']?\s{0,4}[=:]\s{0,4}["']?)([^\s"'&;,]{1,512})/gi;
const USERINFO = /(:\/\/[^\s/@:]{0,128}:)[^\s/@]{1,256}@/g;

function maskSecrets(text: string): string {
  if (!SUSPECT.test(text)) return text;
  return text.replace(SECRETS, "***").replace(PAIRS, "$1***").replace(USERINFO, "$1***@");
}
