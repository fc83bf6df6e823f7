/**
 * Which counters does a call touch? Each limit has one for every combination of what its key names. What surprises:
 * an agent counts apart for each user it acts for, since the pair is the principal; who is no agent counts by the own
 * name under a limit per agent, so that people do not share one counter; a version counts within its server; and all roles that
 * somebody has are one part of the key, not one each.
 */
import { hash } from "node:crypto";
import type { Limit, LimitKey, Principal, Snapshot, Tool } from "../model.ts";
import { meterOf } from "./terms.ts";

export type Charge = {
  readonly limit: Limit;
  /** Bounded and printable, whatever the names in it; begins with how it is counted, since these do not mix. */
  readonly key: string;
};
export type Use = {
  readonly principal: Principal;
  readonly tool: Tool;
  /** Limits that policy named besides those that the tool does. */
  readonly named: readonly string[];
  /** What policy says that it costs; null where the tool's own cost counts. */
  readonly cost: number | null;
};

/** One charge for each limit that applies, no limit twice; null where a named limit does not exist. */
export function chargesOf(snapshot: Snapshot, use: Use): readonly Charge[] | null {
  const limits = [...alwaysOf(snapshot), ...use.tool.limits];
  for (const name of [...use.tool.namedLimits, ...use.named]) {
    const limit = snapshot.limits.get(name);
    if (limit === undefined) return null;
    if (!limits.includes(limit)) limits.push(limit);
  }
  return limits.map((limit) => ({ limit, key: keyOf(limit, use) }));
}

/** Of a tool, those that it has and those that it names. */
export function limitsOf({ limits }: Snapshot, tool: Tool): readonly Limit[] {
  return [...tool.limits, ...tool.namedLimits.flatMap((name) => limits.get(name) ?? [])];
}

/** Is that the key of some counter of this limit? */
export function isOf(limit: Limit, key: string): boolean {
  return `${key}|`.startsWith(`${beginningOf(limit)}|`);
}

export function costOf({ tool, cost }: Use): number {
  return cost ?? tool.cost;
}

const always = new WeakMap<Snapshot, readonly Limit[]>();

function alwaysOf(snapshot: Snapshot): readonly Limit[] {
  const cached = always.get(snapshot);
  if (cached !== undefined) return cached;
  const limits = [...snapshot.limits.values()].filter((limit) => limit.always);
  always.set(snapshot, limits);
  return limits;
}

function keyOf(limit: Limit, use: Use): string {
  let key = beginningOf(limit);
  for (const part of limit.key) key += `|${PARTS[part](use)}`;
  return key;
}

function beginningOf(limit: Limit): string {
  return `${meterOf(limit)}|${bounded(limit.name)}`;
}

const PARTS: { readonly [part in LimitKey]: (use: Use) => string } = {
  principal: ({ principal }) => principalPart(principal),
  agent: ({ principal }) => (principal.kind === "agent" ? `a=${bounded(principal.id)}` : principalPart(principal)),
  tenant: ({ principal }) => bounded(principal.tenant),
  role: ({ principal }) => principal.roles.toSorted().map(bounded).join("+"),
  tool: ({ tool }) => bounded(tool.name),
  server: ({ tool }) => bounded(tool.server),
  version: ({ tool }) => `${bounded(tool.server)}@${bounded(tool.version)}`,
};

function principalPart({ id, kind, onBehalfOf }: Principal): string {
  if (kind === "user") return `u=${bounded(id)}`;
  return onBehalfOf === null ? `a=${bounded(id)}` : `a=${bounded(id)}/${bounded(onBehalfOf)}`;
}

/** A name as it is, or, where it is long or could be taken for a separator, its digest: never two names alike. */
function bounded(name: string): string {
  return PLAIN.test(name) ? name : `#${hash("sha256", name, "hex").slice(0, 32)}`;
}

const PLAIN = /^[\w.:-]{1,64}$/;
