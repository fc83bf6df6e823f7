/** Limits, and calls as the limit stage sees them: only authorize() makes a permit, and these tests are below it. */
import { randomUUID } from "node:crypto";
import { limit } from "../../src/limits/limit.ts";
import type { Limits } from "../../src/limits/limit.ts";
import type { Call, Limit, Principal, Snapshot, Tool } from "../../src/model.ts";
import type { Permit } from "../../src/policy/authorize.ts";
import { Refusal } from "../../src/refusal.ts";

export const ALICE = { id: "alice", kind: "user", roles: [], tenant: "acme", onBehalfOf: null } as unknown as Principal;
export const TOOL = {
  name: "files__read",
  server: "files",
  version: "1.0.0",
  cost: 1,
  limits: [] as readonly Limit[],
  namedLimits: [] as readonly string[],
} as Tool;

/** Sliding, of one call in a minute, for everybody and always, unless said otherwise. */
export function limited(wanted: Partial<Limit> = {}): Limit {
  const base = { name: "a", always: true, key: ["principal"], kind: "sliding", limit: 1, windowMs: 60_000 } as const;
  return { ...base, burst: wanted.limit ?? 1, redisDown: "closed", localShare: 1, ...wanted };
}

export function permitOf({ tool = TOOL, named = [] as readonly string[], cost = null as number | null } = {}): Permit {
  return { principal: ALICE, tool, obligations: { limits: named, cost } } as unknown as Permit;
}

export function callOf(inForce: readonly Limit[]): Call {
  const snapshot = { limits: new Map(inForce.map((one) => [one.name, one])) } as unknown as Snapshot;
  return { id: randomUUID(), snapshot, limit: null, decision: null } as unknown as Call;
}

/** What became of a call under these limits; null where it passes. */
export async function refusalOf(limits: Limits, call: Call, permit = permitOf()): Promise<Refusal | null> {
  return await Promise.try(limit, limits, permit, call).then(
    () => null,
    (thrown) => Refusal.from(thrown),
  );
}
