/**
 * HOW OFTEN? Charges a call to every limit that applies: those that always do, the tool's own, and those that it or
 * policy named. What surprises: all are charged at once, or, where one refuses, none; an agent that knocks at one full
 * limit does not use up its others. A limit decides within 100 ms, with or without Redis. Places under a limit of calls at
 * once are held until `release`.
 */
import type { Call, LimitState, Snapshot } from "../model.ts";
import type { Permit } from "../policy/authorize.ts";
import type { Ports } from "../ports.ts";
import { Refusal } from "../refusal.ts";
import { chargesOf, costOf } from "./charge.ts";
import type { Charge, Use } from "./charge.ts";
import { memoryCounters } from "./memory.ts";
import type { Counters, CountersStatus, Taken } from "./counters.ts";
import { createPlaces } from "./places.ts";
import type { Places } from "./places.ts";
import { capacityOf, priceOf } from "./terms.ts";

export type Limits = {
  readonly counters: Counters;
  readonly status: () => CountersStatus;
  /** @see Counters */
  readonly examine: () => Promise<readonly string[]>;
  /** By name of a limit, since the start; only the configuration and its tools name limits. */
  readonly used: Map<string, Used>;
  /** Of the calls of this gateway. */
  readonly places: Pick<Places, "all">;
  /** Ends the connection to Redis, if there is one. */
  readonly close: () => void;
};
type Used = { charged: number; refused: number };

/** Over Redis where a URL is given, else over memory. Waits for Redis, but not long: a gateway starts without it. */
export async function createLimits(
  options: { readonly redisUrl?: string | undefined; readonly commandMs?: number },
  ports: Pick<Ports, "clock" | "log">,
): Promise<Limits> {
  const places = createPlaces();
  const local = memoryCounters({ clock: ports.clock, places });
  // loaded only where it is used: the client costs start-up time and memory
  const counters =
    options.redisUrl === undefined
      ? local
      : await (
          await import("./redis.ts")
        ).redisCounters({ url: options.redisUrl, commandMs: options.commandMs }, { local, places }, ports);
  const { status, examine, close } = counters;
  return { counters, used: new Map(), places, status, examine, close };
}

/** Sets `call.limit` to the tightest limit. @throws Refusal rate_limited; forbidden where a limit that is named is not known */
export function limit(limits: Limits, permit: Permit, call: Call): void | Promise<void> {
  const use = useOf(permit);
  const charges = known(call.snapshot, use, call);
  return charges.length === 0 ? undefined : charge(limits, charges, { call, cost: costOf(use) });
}

/** For a call that a proxy carries: nobody says when it ends, so it cannot hold a place. @throws Refusal as limit */
export function limitCheck(limits: Limits, permit: Permit, call: Call): void | Promise<void> {
  const charges = known(call.snapshot, useOf(permit), call);
  if (charges.some(({ limit: { kind } }) => kind === "concurrent")) throw forbidden(call, "obligation_not_enforceable");
  return limit(limits, permit, call);
}

/** The call is over, however it ended. */
export function release(limits: Limits, call: Call): void {
  limits.counters.release(call.id);
}

/** What is left of each limit that a call would be charged to, and whether it would pass; charges nothing. @throws Refusal forbidden */
export async function peek(
  limits: Limits,
  snapshot: Snapshot,
  use: Use,
): Promise<{ readonly states: readonly LimitState[]; readonly open: boolean }> {
  const looked = await limits.counters.look(known(snapshot, use, null), costOf(use));
  return { states: looked.map(({ state }) => state), open: !looked.some(refuses) };
}

/** Sets `call.limit` of a call that was refused before it was charged: every answer says what is left. Never rejects. */
export async function show(limits: Limits, call: Call): Promise<void> {
  const { principal, tool, decision, snapshot } = call;
  if (call.limit !== null || principal === null || tool === null) return;
  const { limits: named, cost } = decision?.allow === true ? decision.obligations : { limits: [], cost: null };
  const use = { principal, tool, named, cost };
  const looked = await limits.counters.look(chargesOf(snapshot, use) ?? [], costOf(use));
  call.limit = tightest(looked.map(({ state }) => state));
}

function useOf({ principal, tool, obligations }: Permit): Use {
  return { principal, tool, named: obligations.limits, cost: obligations.cost };
}

/** Somebody asked for a limit that nobody defined: a misspelt limit must not be no limit. @throws Refusal forbidden */
function known(snapshot: Snapshot, use: Use, call: Call | null): readonly Charge[] {
  const charges = chargesOf(snapshot, use);
  if (charges !== null) return charges;
  // a limit can go from a file that the tool's settings do not stand in
  const isThere = use.tool.namedLimits.every((name) => snapshot.limits.has(name));
  throw forbidden(call, isThere ? "policy_shape" : "limit_unknown");
}

function charge(
  limits: Limits,
  charges: readonly Charge[],
  { call, cost }: { readonly call: Call; readonly cost: number },
): void | Promise<void> {
  // to wait would not help: whoever is told so would ask for ever
  if (charges.some((one) => priceOf(one.limit, cost) > capacityOf(one.limit)))
    throw forbidden(call, "cost_above_limit");
  const taken = limits.counters.charge(charges, { id: call.id, cost });
  return taken instanceof Promise ? taken.then((late) => judge(limits, call, late)) : judge(limits, call, taken);
}

/** @throws Refusal rate_limited */
function judge({ used }: Limits, call: Call, taken: readonly Taken[]): void {
  for (const one of taken) count(used, one);
  const refused = longest(taken.filter(refuses));
  call.limit = refused?.state ?? tightest(taken.map(({ state }) => state));
  if (refused === null) return;
  const message = refused.verdict === "away" ? "The limit store is away." : "A limit is used up.";
  throw new Refusal("rate_limited", message, { retryAfterMs: refused.state.resetMs });
}

function count(used: Limits["used"], taken: Taken): void {
  const { name } = taken.state;
  let sum = used.get(name);
  if (sum === undefined) used.set(name, (sum = { charged: 0, refused: 0 }));
  if (taken.verdict === "charged") sum.charged++;
  else if (refuses(taken)) sum.refused++;
}

function refuses({ verdict }: Taken): boolean {
  return verdict === "exhausted" || verdict === "away";
}

/** Of several that refuse, the one that refuses longest: whoever waits less would only be refused again. */
function longest(taken: readonly Taken[]): Taken | null {
  return taken.reduce<Taken | null>((a, b) => (a !== null && a.state.resetMs >= b.state.resetMs ? a : b), null);
}

function tightest(states: readonly LimitState[]): LimitState | null {
  return states.reduce<LimitState | null>((a, b) => (a !== null && share(a) <= share(b) ? a : b), null);
}

function share({ remaining, limit: most }: LimitState): number {
  return remaining / most;
}

function forbidden(call: Call | null, reason: string): Refusal {
  const reasons = [reason];
  if (call !== null && call.decision !== null) call.decision = { ...call.decision, allow: false, reasons };
  return new Refusal("forbidden", "Policy did not allow this.", { reasons });
}
