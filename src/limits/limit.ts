/**
 * HOW OFTEN? Charges a call to every limit that applies: those that always do, the tool's own, and those that policy
 * named. What surprises: all are charged at once, or, where one refuses, none; an agent that knocks at one full
 * limit does not use up its others. A limit decides within 100 ms, with or without Redis.
 */
import type { Call, LimitState, Principal, Snapshot, Tool } from "../model.ts";
import type { Permit } from "../policy/authorize.ts";
import type { Ports } from "../ports.ts";
import { Refusal } from "../refusal.ts";
import { chargesOf } from "./charge.ts";
import type { Charge } from "./charge.ts";
import { memoryCounters } from "./memory.ts";
import type { Counters, CountersStatus, Taken } from "./counters.ts";

export type Limits = {
  readonly counters: Counters;
  readonly status: () => CountersStatus;
  /** @see Counters */
  readonly examine: () => Promise<readonly string[]>;
  /** Ends the connection to Redis, if there is one. */
  readonly close: () => void;
};

/** Over Redis where a URL is given, else over memory. Waits for Redis, but not long: a gateway starts without it. */
export async function createLimits(
  options: { readonly redisUrl?: string | undefined; readonly commandMs?: number },
  ports: Pick<Ports, "clock" | "log">,
): Promise<Limits> {
  const local = memoryCounters();
  // loaded only where it is used: the client costs start-up time and memory
  const counters =
    options.redisUrl === undefined
      ? local
      : await (
          await import("./redis.ts")
        ).redisCounters({ url: options.redisUrl, commandMs: options.commandMs }, local, ports);
  return { counters, status: counters.status, examine: counters.examine, close: counters.close };
}

/** Sets `call.limit` to the tightest limit. @throws Refusal rate_limited; forbidden where policy names no known limit */
export function limit(limits: Limits, permit: Permit, call: Call): void | Promise<void> {
  const { principal, tool, obligations } = permit;
  const charges = chargesOf(call.snapshot, { principal, tool, named: obligations.limits });
  if (charges === null) throw unknownLimit(call);
  return charges.length === 0 ? undefined : charge(limits.counters, charges, call);
}

/** What is left of each limit that a call would be charged to; charges nothing. @throws Refusal forbidden */
export async function peek(
  limits: Limits,
  snapshot: Snapshot,
  use: { readonly principal: Principal; readonly tool: Tool; readonly named: readonly string[] },
): Promise<readonly LimitState[]> {
  const charges = chargesOf(snapshot, use);
  if (charges === null) throw unknownLimit(null);
  return await looked(limits.counters, charges);
}

function looked(counters: Counters, charges: readonly Charge[]): Promise<readonly LimitState[]> {
  return Promise.all(charges.map((one) => counters.look(one)));
}

/** Sets `call.limit` of a call that was refused before it was charged: every answer says what is left. Never rejects. */
export async function show(limits: Limits, call: Call): Promise<void> {
  const { principal, tool, decision, snapshot } = call;
  if (call.limit !== null || principal === null || tool === null) return;
  const charges = chargesOf(snapshot, {
    principal,
    tool,
    named: decision?.allow === true ? decision.obligations.limits : [],
  });
  call.limit = tightest(await looked(limits.counters, charges ?? []));
}

async function charge(counters: Counters, charges: readonly Charge[], call: Call): Promise<void> {
  const taken = await counters.charge(charges);
  const refused = longest(taken.filter(({ verdict }) => verdict === "exhausted" || verdict === "away"));
  call.limit = refused?.state ?? tightest(taken.map(({ state }) => state));
  if (refused === null) return;
  const message = refused.verdict === "away" ? "The limit store is away." : "A limit is used up.";
  throw new Refusal("rate_limited", message, { retryAfterMs: refused.state.resetMs });
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

/** Policy asked for a limit that nobody defined: a misspelt limit must not be no limit. */
function unknownLimit(call: Call | null): Refusal {
  const reasons = ["policy_shape"];
  if (call !== null && call.decision !== null) call.decision = { ...call.decision, allow: false, reasons };
  return new Refusal("forbidden", "Policy did not allow this.", { reasons });
}
