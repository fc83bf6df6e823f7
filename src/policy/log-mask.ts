/**
 * What does the bundle's own `data.system.log.mask` keep out of the log? As OPA asks it about its decision logs: with the
 * question and the decision as its input, answered by paths. What surprises: its input is not the policy's, so it is
 * compiled apart and travels in the policy's module; and where nobody can tell what it masks, everything is masked.
 */
import { isObject } from "../json.ts";
import type { Decision, Evaluation, Json, JsonObject, Policy } from "../model.ts";
import type { Compiler, Sources } from "./compiler.ts";
import type { Outcome } from "./diagnostic.ts";
import { textOf } from "./data.ts";
import type { Engine } from "./engine.ts";
import { UNTYPED } from "./schemas.ts";
import { sectionIn, withSection } from "./section.ts";
import type { Bundle, Texts } from "./sources.ts";
import { MASK, MASK_WRAPPER, OWNER, RESERVED_PATHS } from "./wrapper.ts";

const NAME = "portcullis.mask";
/** A package `system`, or below it: OPA's own, which no policy is. */
const OF_SYSTEM = /^(?:\s|#[^\n]*\n)*package(?:\s|#[^\n]*\n)+system\b/;
/** A rule of that name, or a part of one. */
const IS_MASK = /^data\.system\.log\.mask(?![^.[])/;

/** The modules that the policy is made of. */
export function policyModules(modules: Bundle["modules"]): Bundle["modules"] {
  return Object.fromEntries(Object.entries(modules).filter(([, text]) => !OF_SYSTEM.test(text)));
}

/** All of the bundle, as a mask is compiled of it; null where nothing of it is OPA's own. */
export function maskSources({ modules, data }: Texts): Sources | null {
  const isOwn = Object.values(modules).some((text) => OF_SYSTEM.test(text)) || Object.hasOwn(data.named, "system");
  if (!isOwn) return null;
  const reserved = { owner: OWNER, paths: RESERVED_PATHS };
  return { modules: { ...modules, [OWNER]: MASK_WRAPPER }, data: textOf(data), schemas: UNTYPED, reserved };
}

/** The policy's module, with that of the bundle's mask at its end where it has one. */
export async function withMask(
  compiler: Pick<Compiler, "compile" | "inspect">,
  policy: Uint8Array,
  bundle: Texts,
): Promise<Outcome<Uint8Array>> {
  const none = { ok: true, value: policy } as const;
  const sources = maskSources(bundle);
  if (sources === null) return none;
  const inspected = await compiler.inspect(sources);
  if (!inspected.ok) return inspected;
  const isThere = inspected.value.rules.some(({ path }) => IS_MASK.test(path)) || isData(bundle.data.named);
  if (!isThere) return none;
  const compiled = await compiler.compile(sources, [MASK]);
  return compiled.ok ? { ok: true, value: withSection(policy, NAME, compiled.value) } : compiled;
}

function isData({ system }: JsonObject): boolean {
  return isObject(system) && isObject(system["log"]) && Object.hasOwn(system["log"], "mask");
}

/** `faults`: how often it did not say. */
export type WarmMask = { readonly ask: NonNullable<Policy["logMask"]>; readonly faults: () => number };

/** Null where the bundle has none. @throws Error as createEngine does */
export async function warmMask(
  wasm: Uint8Array,
  create: (mask: Uint8Array) => Promise<Engine>,
): Promise<WarmMask | null> {
  const mask = sectionIn(wasm, NAME);
  if (mask === null) return null;
  const engine = await create(mask);
  let faults = 0;
  const ask = (event: string): Evaluation => {
    const before = engine.evaluated().undefinedCalls;
    const evaluation = engine.evaluateText(MASK, event);
    // a rule whose built-in failed says nothing, where it may have meant to mask
    if (engine.evaluated().undefinedCalls === before && pointersOf(evaluation) !== null) return evaluation;
    faults++;
    return evaluation.ok ? UNTOLD : evaluation;
  };
  return { ask, faults: () => faults };
}

const UNTOLD: Evaluation = {
  ok: false,
  fault: "policy_error",
  detail: "a built-in failed, or it is no list of at most 1,000 masks",
};

/** The decision, whose obligation `mask_audit` also has what the bundle's mask says. `question`: the text of the input. */
export function withLogMask({ logMask }: Policy, decision: Decision, question: () => string): Decision {
  if (logMask === undefined) return decision;
  const event = `{"path":"portcullis/decision","input":${question()},"result":${JSON.stringify(decision)}}`;
  const { obligations } = decision;
  const mask_audit = [...obligations.mask_audit, ...(pointersOf(logMask(event)) ?? EVERYTHING)];
  return { ...decision, obligations: { ...obligations, mask_audit } };
}

const INPUT = ["/arguments", "/principal/claims", "/request/ip"];
const EVERYTHING = [...INPUT, "/reasons", "/result"];

/** More than that is rather everything: each record of the call asks for all of them. */
const MASKS_MAX = 1_000;

/** Null where it did not say. */
function pointersOf(evaluation: Evaluation): readonly string[] | null {
  if (!evaluation.ok || !Array.isArray(evaluation.value) || evaluation.value.length > MASKS_MAX) return null;
  const all = (evaluation.value as readonly Json[]).map((mask) => pointersIn(pathOf(mask)));
  return all.includes(null) ? null : all.flatMap((pointers) => pointers ?? []);
}

/** Whatever it is replaced with: a value is masked as all others are. Null for what is no mask. */
function pathOf(mask: Json): string | null {
  if (typeof mask === "string") return mask;
  if (!isObject(mask) || (mask["op"] !== "remove" && mask["op"] !== "upsert")) return null;
  return typeof mask["path"] === "string" ? mask["path"] : null;
}

/** From OPA's event to what a record has: its `result` is the decision, of which only the reasons are text. */
function pointersIn(path: string | null): readonly string[] | null {
  const [, part, ...rest] = path?.split("/") ?? [];
  if (path?.startsWith("/") !== true) return null;
  if (part === "nd_builtin_cache") return [];
  if (part === "result") return rest.length === 0 || rest[0] === "reasons" ? ["/reasons"] : [];
  if (part !== "input") return null;
  if (rest.length === 0) return INPUT;
  const pointer = `/${rest.join("/")}`;
  // OPA's paths escape nothing
  return pointer.includes("~") ? [pointer, pointer.replaceAll("~", "~0")] : [pointer];
}
