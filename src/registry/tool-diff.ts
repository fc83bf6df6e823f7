/**
 * What does a changed definition mean for whoever calls the tool, and is it honest? Between two versions a new text is news;
 * under the same version it is what a server that turned bad would do first. What surprises: what people cannot see, a
 * URL that was not there, and a reader that became a destroyer are suspicious between versions too.
 */
import { isObject } from "../json.ts";
import type { Json, JsonObject } from "../model.ts";
import { canonical, fingerprint } from "./fingerprint.ts";
import { diffSchema } from "./schema-diff.ts";
import type { SchemaChange } from "./schema-diff.ts";

export type Verdict = "compatible" | "breaking" | "suspicious";
export type Finding = {
  readonly verdict: Verdict;
  /** JSON pointer into the definition. */
  readonly path: string;
  readonly message: string;
};
export type ToolChange = {
  /** As its server names it. */
  readonly tool: string;
  readonly kind: "added" | "removed" | "changed";
  /** The worst of its findings: suspicious, then breaking. */
  readonly verdict: Verdict;
  readonly findings: readonly Finding[];
  /** Digests. */
  readonly before: string | null;
  readonly after: string | null;
};
type Definitions = ReadonlyMap<string, JsonObject>;
type Terms = { readonly sameVersion: boolean };

/** By name; what is the same is not in it. */
export function diffTools(before: Definitions, after: Definitions, terms: Terms): readonly ToolChange[] {
  const names = [...new Set([...before.keys(), ...after.keys()])].toSorted();
  return names.flatMap((name) => diffTool(name, { before: before.get(name), after: after.get(name) }, terms) ?? []);
}

type Pair = { readonly before: JsonObject | undefined; readonly after: JsonObject | undefined };

/** Null where nothing changed. */
export function diffTool(tool: string, { before, after }: Pair, terms: Terms): ToolChange | null {
  const digests = {
    before: before === undefined ? null : fingerprint(before),
    after: after === undefined ? null : fingerprint(after),
  };
  if (digests.before === digests.after) return null;
  const findings = findingsOf(before, after, terms);
  const kind = before === undefined ? "added" : after === undefined ? "removed" : "changed";
  return { tool, kind, verdict: worst(findings), findings, ...digests };
}

const WORST_FIRST = ["suspicious", "breaking"] as const;

function worst(findings: readonly Finding[]): Verdict {
  return WORST_FIRST.find((verdict) => findings.some((one) => one.verdict === verdict)) ?? "compatible";
}

function findingsOf(before: JsonObject | undefined, after: JsonObject | undefined, terms: Terms): readonly Finding[] {
  if (after === undefined) return [{ verdict: "breaking", path: "", message: "the tool is gone" }];
  if (before === undefined)
    return [{ verdict: "compatible", path: "", message: "the tool is new" }, ...textFindings(after, null)];
  if (canonical(before).length + canonical(after).length > CHARACTERS_MAX)
    return [
      {
        verdict: terms.sameVersion ? "suspicious" : "breaking",
        path: "",
        message: "changed, and too long to be compared",
      },
    ];
  return [
    ...schemaFindings(before, after, "inputSchema", terms),
    ...schemaFindings(before, after, "outputSchema", terms),
    ...annotationFindings(before, after, terms),
    ...textFindings(after, before),
    ...otherFindings(before, after, terms),
  ];
}

/** Comparing is done where calls are, and what a server says may be meant to keep it busy. */
const CHARACTERS_MAX = 512 * 1024;

/** What is given to a tool breaks where it takes less, what it answers where it gives more than it said. */
function schemaFindings(
  before: JsonObject,
  after: JsonObject,
  key: "inputSchema" | "outputSchema",
  terms: Terms,
): readonly Finding[] {
  const breaks: readonly SchemaChange["kind"][] = [key === "inputSchema" ? "narrowed" : "widened", "changed"];
  return diffSchema(before[key] ?? true, after[key] ?? true).map(({ path, kind, message }) => {
    const verdict = breaks.includes(kind)
      ? "breaking"
      : kind === "said" && terms.sameVersion
        ? "suspicious"
        : "compatible";
    return { verdict, path: `/${key}${path}`, message };
  });
}

/** As MCP defaults them: a tool that says nothing may write, destroy, and reach the world. */
const HINTS = {
  readOnlyHint: { otherwise: false, worse: false, suspicious: true, message: "no longer says that it only reads" },
  destructiveHint: { otherwise: true, worse: true, suspicious: true, message: "may destroy now" },
  idempotentHint: { otherwise: false, worse: false, suspicious: false, message: "may no longer be called twice" },
  openWorldHint: { otherwise: true, worse: true, suspicious: false, message: "reaches beyond its own world now" },
} as const;

function annotationFindings(before: JsonObject, after: JsonObject, terms: Terms): readonly Finding[] {
  const [old, now] = [annotationsOf(before), annotationsOf(after)];
  return Object.entries(HINTS).flatMap(([hint, { otherwise, worse, suspicious, message }]): readonly Finding[] => {
    const values = [old[hint] ?? otherwise, now[hint] ?? otherwise] as const;
    const path = `/annotations/${hint}`;
    if (values[0] === values[1]) return [];
    if (values[1] !== worse)
      return [
        { verdict: terms.sameVersion ? "suspicious" : "compatible", path, message: `${hint} changed for the better` },
      ];
    return [{ verdict: suspicious || terms.sameVersion ? "suspicious" : "breaking", path, message }];
  });
}

function annotationsOf({ annotations }: JsonObject): JsonObject {
  return isObject(annotations ?? null) ? (annotations as JsonObject) : {};
}

/**
 * What nobody sees and a model reads: format and private-use characters, fillers, blanks, and selectors of variants, of
 * which a row can spell a whole text. Between two pictures a joiner is in order, and the selector behind one or in a key.
 */
const INVISIBLE = new RegExp(
  [
    String.raw`(?<!\p{Extended_Pictographic}\u{fe0f}?)\u200d`,
    String.raw`\u200d(?!\p{Extended_Pictographic})`,
    String.raw`(?<!\p{Extended_Pictographic}|[\d#*](?=\u{fe0f}\u20e3))\u{fe0f}`,
    String.raw`(?![\u200d\u{fe0f}])[\p{Cf}\p{Co}\p{Default_Ignorable_Code_Point}\u2800]`,
  ].join("|"),
  "u",
);
const URLS = /\b[a-z][a-z0-9+.-]{1,15}:\/\/[^\s"'<>)\]}]+/giu;

/** Of a tool that is new no URL is: all are. */
function textFindings(after: JsonObject, before: JsonObject | null): readonly Finding[] {
  const old = new Map(textsOf(before, ""));
  const known = new Set([...old.values()].flatMap((text) => text.match(URLS) ?? []));
  return textsOf(after, "").flatMap(([path, text]) => {
    if (old.get(path) === text) return [];
    const urls = before === null ? [] : [...new Set(text.match(URLS) ?? [])].filter((url) => !known.has(url));
    const found: Finding[] = urls
      .slice(0, URLS_MAX)
      .map((url) => ({ verdict: "suspicious", path, message: `a new URL: ${url.slice(0, URL_MAX)}` }));
    if (INVISIBLE.test(text)) found.push({ verdict: "suspicious", path, message: "holds characters that nobody sees" });
    return found;
  });
}

const URLS_MAX = 5;
const URL_MAX = 200;

/** Every text with its pointer, keys of objects among them. */
function textsOf(value: Json, path: string): readonly (readonly [string, string])[] {
  if (typeof value === "string") return [[path, value]];
  if (Array.isArray(value)) return (value as readonly Json[]).flatMap((one, at) => textsOf(one, `${path}/${at}`));
  if (!isObject(value)) return [];
  return Object.entries(value).flatMap(([key, one]) => {
    const at = `${path}/${key.replaceAll("~", "~0").replaceAll("/", "~1")}`;
    return [[`${at}#`, key] as const, ...textsOf(one, at)];
  });
}

/** The rest of a definition: what it is called and said to be, pictures, and what only its server knows. */
function otherFindings(before: JsonObject, after: JsonObject, { sameVersion }: Terms): readonly Finding[] {
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  for (const key of ["inputSchema", "outputSchema"]) keys.delete(key);
  return [...keys].flatMap((key) => {
    const [old, now] = [before[key] ?? null, after[key] ?? null];
    const values = key === "annotations" ? [withoutHints(old), withoutHints(now)] : [old, now];
    if (canonical(values[0] ?? null) === canonical(values[1] ?? null)) return [];
    return [{ verdict: sameVersion ? "suspicious" : "compatible", path: `/${key}`, message: `${key} changed` }];
  });
}

function withoutHints(annotations: Json): Json {
  if (!isObject(annotations)) return annotations;
  return Object.fromEntries(Object.entries(annotations).filter(([key]) => !Object.hasOwn(HINTS, key)));
}
