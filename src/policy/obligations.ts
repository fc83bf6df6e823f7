/**
 * Which obligations does the gateway carry out, and of what shape is each? A decision with any other denies. What
 * surprises: of what is written out in a policy the same is asked before any call is, and then also whether a path can
 * name anything at all, which at a call nobody could tell from a path whose value is not there this time.
 */
import { isObject } from "../json.ts";
import { COST_MAX } from "../model.ts";
import type { Json, Obligations } from "../model.ts";
import { hint, nearest } from "../nearest.ts";
import { REDACTION_PATTERNS } from "./patterns.ts";

export const NO_OBLIGATIONS: Obligations = {
  redact: [],
  mask_audit: [],
  limits: [],
  cost: null,
  max_result_bytes: null,
  rows: null,
  route: null,
};

type Shape = {
  readonly is: (value: unknown) => boolean;
  /** As an author writes it. */
  readonly example: string;
  /** Of what has the shape: null, or why it does nothing. */
  readonly vain?: (value: Json) => string | null;
};
const SHAPES: { readonly [Name in keyof Obligations]: Shape } = {
  redact: {
    is: isRedactions,
    example: '"redact": [{"pattern": "email"}, {"path": "/structuredContent/ssn"}]',
    vain: (value) => firstOf(value, (one) => (isObject(one) ? vainResultPath(one["path"]) : null)),
  },
  mask_audit: {
    is: (value) => isStrings(value) && value.every(isPointer),
    example: '"mask_audit": ["/arguments/password"]',
    vain: (value) => firstOf(value, vainMask),
  },
  limits: { is: isStrings, example: '"limits": ["gold"]  # of the configuration' },
  cost: { is: (value) => isIntegerOrNull(value, 1, COST_MAX), example: '"cost": 5  # a whole number from 1' },
  max_result_bytes: {
    is: (value) => isIntegerOrNull(value, 0, Number.MAX_SAFE_INTEGER),
    example: '"max_result_bytes": 1048576  # a whole number',
  },
  rows: {
    is: (value) => value === null || value === "own" || value === "tenant" || value === "all",
    example: '"rows": "own"  # or "tenant", "all"',
  },
  route: { is: (value) => value === null || isRoute(value), example: '"route": {"version": "2.0.0"}' },
};

/** Null where one is not known, or not of its shape. */
export function readObligations(value: unknown): Obligations | null {
  if (!isRecord(value)) return null;
  const given = Object.entries(value);
  if (given.length === 0) return NO_OBLIGATIONS;
  if (!given.every(([name, one]) => isKnown(name) && SHAPES[name].is(one))) return null;
  return { ...NO_OBLIGATIONS, ...value };
}

/** Null, or what is wrong with an obligation that is written so. `value`: undefined where that is not written out. */
export function obligationFault(name: string, value: Json | undefined): string | null {
  // told once, of its name
  if (!isKnown(name)) return value === undefined ? unknown(name) : null;
  if (value === undefined) return null;
  const { is, vain } = SHAPES[name];
  if (is(value)) return vain?.(value) ?? null;
  const pattern = name === "redact" ? unknownPattern(value) : null;
  return pattern ?? `${name} is not of the shape below: a decision with it denies`;
}

function unknown(name: string): string {
  return `there is no obligation ${name}: a decision with it denies${hint(name, Object.keys(SHAPES))}`;
}

/** How it is written. */
export function exampleOf(name: string): readonly string[] {
  const meant = isKnown(name) ? name : nearest(name, Object.keys(SHAPES));
  return meant !== undefined && isKnown(meant) ? [SHAPES[meant].example] : [`one of ${Object.keys(SHAPES).join(", ")}`];
}

function isKnown(name: string): name is keyof Obligations {
  return Object.hasOwn(SHAPES, name);
}

function unknownPattern(value: Json): string | null {
  return firstOf(value, (one) => {
    const pattern = isObject(one) ? one["pattern"] : undefined;
    if (typeof pattern !== "string" || Object.hasOwn(REDACTION_PATTERNS, pattern)) return null;
    return `there is no pattern ${pattern}: a decision with it denies${hint(pattern, Object.keys(REDACTION_PATTERNS))}`;
  });
}

/** What the results and errors of MCP hold, and `*`. */
const OF_RESULTS: ReadonlySet<string> = new Set(
  "* _meta code content data inputRequests isError message requestState resultType structuredContent task".split(" "),
);

function vainResultPath(path: Json | undefined): string | null {
  const [first = "", second] = stepsIn(path);
  if (typeof path !== "string") return null;
  if (!OF_RESULTS.has(first))
    return `${path} names nothing: a result has /content and /structuredContent, and no member ${JSON.stringify(first)}`;
  if (first === "content" && second !== undefined && !/^(?:\*|\d+)$/.test(second))
    return `${path} names nothing: /content is a list, of which \`*\` is every member`;
  return null;
}

/** What of a record can be masked. */
const OF_RECORDS = [["arguments"], ["result"], ["principal", "claims"], ["reasons"], ["request", "ip"]];

function vainMask(path: Json): string | null {
  const steps = stepsIn(path);
  const leads = OF_RECORDS.some((place) =>
    place.every((step, at) => at >= steps.length || steps[at] === step || steps[at] === "*"),
  );
  if (leads) return null;
  return `${String(path)} masks nothing: of a call, what stands below /arguments, /result, /principal/claims, /reasons and /request/ip is masked`;
}

function stepsIn(path: Json | undefined): readonly string[] {
  return typeof path === "string" ? path.slice(1).split("/") : [];
}

function firstOf(value: Json, fault: (one: Json) => string | null): string | null {
  const all = Array.isArray(value) ? (value as readonly Json[]) : [];
  return all.map(fault).find((one) => one !== null) ?? null;
}

function isRoute(value: unknown): boolean {
  return isRecord(value) && Object.keys(value).length === 1 && typeof value["version"] === "string";
}

function isRedactions(value: unknown): boolean {
  if (!Array.isArray(value)) return false;
  return value.every((item: unknown) => {
    if (!isRecord(item) || Object.keys(item).length !== 1) return false;
    const { pattern, path } = item;
    return typeof pattern === "string" ? Object.hasOwn(REDACTION_PATTERNS, pattern) : isPointer(path);
  });
}

function isIntegerOrNull(value: unknown, least: number, most: number): boolean {
  return value === null || (Number.isSafeInteger(value) && Number(value) >= least && Number(value) <= most);
}

function isPointer(value: unknown): boolean {
  return typeof value === "string" && value.startsWith("/");
}

export function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
