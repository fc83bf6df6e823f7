/**
 * What of one call may be written down, and what must not stand anywhere in its record: by the operator's setting, by
 * policy's `mask_audit`, by what the server's own schema marks, and by what looks like a secret. What surprises: a value
 * that is masked in the arguments is masked as well where the answer, an error or a reason repeats it, in any encoding.
 */
import type { Call, JsonObject, Policy, Tool } from "../model.ts";
import { hiddenIn, maskedJson } from "./mask.ts";
import { below, either, markedPaths, pathsOf, pointerPaths } from "./paths.ts";
import type { Paths } from "./paths.ts";

/** Values of the arguments that stand nowhere in the record. */
export function hiddenOf(call: Call): readonly string[] {
  const claims = hiddenIn(call.principal?.claims, maskAt(call, ["principal", "claims"]));
  return call.arguments === null ? claims : [...claims, ...hiddenIn(call.arguments, hiddenPaths(call))];
}

/** Whether policy keeps this out of the record altogether. */
export function isHidden(call: Call, part: "reasons" | "address"): boolean {
  return maskAt(call, part === "reasons" ? ["reasons"] : ["request", "ip"]) === true;
}

/** What policy says of this call, at a place of its document. */
function maskAt({ decision }: Call, place: readonly string[]): Paths | undefined {
  const pointers = decision?.obligations.mask_audit ?? [];
  return pointers.length === 0 ? undefined : place.reduce<Paths | undefined>(below, pointerPaths(pointers));
}

/** JSON text, or null where no more than a digest is kept. Before policy has said what to mask, nothing is. */
export function keptArguments(call: Call): string | null {
  // of a look at the trail: for whom and what somebody searched
  const mode = call.tool?.auditArguments ?? (call.target?.kind === "calls" ? "masked" : "digest");
  if (call.arguments === null || call.decision === null || mode === "off" || mode === "digest") return null;
  if (mode === "full") return maskedJson(call.arguments, { hide: masked(call, "arguments"), shapes: false });
  const hide = hiddenPaths(call);
  if (mode === "masked") return maskedJson(call.arguments, { hide, shapes: true });
  const keep = readPaths(call.snapshot.policy);
  return keep === undefined ? null : maskedJson(call.arguments, { hide, keep, shapes: true });
}

/** As answered: what policy redacts of it is gone already. */
export function keptResult(call: Call, result: JsonObject): string | null {
  const mode = call.tool?.auditResults ?? "off";
  if (mode === "full") return maskedJson(result, { hide: masked(call, "result"), shapes: false });
  if (mode !== "masked") return null;
  const hide = union(masked(call, "result"), marksOf(call.tool).result);
  const hidden = [...hiddenOf(call), ...hiddenIn(result, hide)];
  return maskedJson(result, { hide, shapes: true, hidden });
}

function hiddenPaths(call: Call): Paths | undefined {
  return hiddenArguments(call.tool, call.decision?.obligations.mask_audit ?? []);
}

/** Below the arguments: what policy says, and what the server's schema marks. */
export function hiddenArguments(tool: Tool | null, mask: readonly string[]): Paths | undefined {
  return union(placesIn("arguments", mask), marksOf(tool).arguments);
}

/** What policy says of this call: `/arguments/…` and `/result/…` of its document. */
function masked(call: Call, part: "arguments" | "result"): Paths | undefined {
  return maskAt(call, [part]);
}

function placesIn(part: "arguments" | "result", pointers: readonly string[]): Paths | undefined {
  return pointers.length === 0 ? undefined : below(pointerPaths(pointers), part);
}

function union(one: Paths | undefined, other: Paths | undefined): Paths | undefined {
  return one === undefined || other === undefined ? (one ?? other) : either(one, other);
}

type Marks = { readonly arguments: Paths | undefined; readonly result: Paths | undefined };
const NO_MARKS: Marks = { arguments: undefined, result: undefined };
const marks = new WeakMap<Tool, Marks>();

/** A server's schema is read once per definition. */
function marksOf(tool: Tool | null): Marks {
  if (tool === null) return NO_MARKS;
  let known = marks.get(tool);
  if (known === undefined) {
    const structured = markedPaths(tool.definition["outputSchema"]);
    known = {
      arguments: markedPaths(tool.definition["inputSchema"]),
      result: structured === undefined ? undefined : new Map([["structuredContent", structured]]),
    };
    marks.set(tool, known);
  }
  return known;
}

const reads = new WeakMap<Policy, { readonly paths: Paths | undefined }>();

/** Of the policy and those in shadow, whose decisions stand there too. Undefined where they read none, or nobody knows which. */
function readPaths(policy: Policy | null): Paths | undefined {
  if (policy === null) return undefined;
  let known = reads.get(policy);
  if (known === undefined) {
    const all = [policy, ...(policy.shadows ?? []).map((shadow) => shadow.policy)];
    reads.set(policy, (known = { paths: pathsOf(all.flatMap((one) => one?.reads ?? [])) }));
  }
  return known.paths;
}
