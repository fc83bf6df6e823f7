/** The audit trail as it is read: pages, statistics, and calls as they end. Each a view, and only of rows that policy grants. */
import type { CallPage, Following } from "./audit/projection.ts";
import type { Order } from "./audit/projection-query.ts";
import type { CallStats, StatsQuery } from "./audit/projection-stats.ts";
import { matches } from "./audit/row.ts";
import type { CallFilter, CallRow } from "./audit/row.ts";
import { scopeOf } from "./audit/scope.ts";
import type { Gateway } from "./gateway.ts";
import type { Asked, Outcome, Target } from "./model.ts";
import { authorizeOperation } from "./policy/authorize.ts";
import { viewed } from "./view.ts";

export type CallsQuery = {
  readonly filter: CallFilter;
  readonly first: number;
  readonly after: string | null;
  readonly order: Order;
};
/** `total`: how many calls there are for this filter and this principal, for whoever wants to know. */
export type ShownCalls = CallPage & { readonly total: () => Promise<number> };

/** Rows as policy's `rows` says: all, the tenant's, or one's own. To look is recorded, with what was asked for. */
export function readCalls(gateway: Gateway, asked: Asked, query: CallsQuery): Promise<Outcome<ShownCalls>> {
  return looked(gateway, asked, { ...query }, async (scope) => {
    const { projection } = gateway.audit;
    const page = await projection.page({ ...query, scope });
    return { ...page, total: () => projection.count({ filter: query.filter, scope }) };
  });
}

export type CallStatistics = CallStats & { readonly behindBytes: number };

/** Over the same rows, and never over others. */
export function readCallStats(
  gateway: Gateway,
  asked: Asked,
  query: Omit<StatsQuery, "scope">,
): Promise<Outcome<CallStatistics>> {
  return looked(gateway, asked, { ...query }, (scope) => gateway.audit.projection.stats({ ...query, scope }));
}

/** `missed`: calls that ended since the event before and were not kept. */
export type CallEvent = { readonly call: CallRow; readonly missed: number };

/** Calls as they end. Each event is decided anew: a stream outlives neither its key nor its permissions. A refusal is the last. */
export function followCalls(
  gateway: Gateway,
  asked: Asked,
  filter: CallFilter,
): Promise<Outcome<AsyncGenerator<Outcome<CallEvent>, void>>> {
  return looked(gateway, asked, { filter, follow: true }, async (scope) => {
    const following = await gateway.audit.projection.follow({ filter, scope });
    // not in the generator: one that nobody starts, since the client has gone, never ends
    if (asked.signal.aborted) following.leave();
    else asked.signal.addEventListener("abort", following.leave, { once: true });
    return callEvents(gateway, asked, following);
  });
}

const LOOK_AGAIN_MS = 30_000;

async function* callEvents(
  gateway: Gateway,
  asked: Asked,
  following: Following,
): AsyncGenerator<Outcome<CallEvent>, void> {
  const decide = (row: CallRow | null) =>
    viewed(gateway, asked, "calls/follow", (call, principal) => {
      const scope = scopeOf(authorizeOperation(call, CALLS), principal);
      return row !== null && matches(row, scope) ? row : null;
    });
  let lost = 0;
  try {
    while (!asked.signal.aborted) {
      const { rows, missed } = await following.next(LOOK_AGAIN_MS);
      lost += missed;
      for (const row of rows.length === 0 ? [null] : rows) {
        const decided = await decide(row);
        if (!decided.ok) return yield decided;
        if (decided.value === null) continue;
        yield { ...decided, value: { call: decided.value, missed: lost } };
        lost = 0;
      }
    }
  } finally {
    asked.signal.removeEventListener("abort", following.leave);
    following.leave();
  }
}

const CALLS: Target = { kind: "calls", name: "calls" };

function looked<Value>(
  gateway: Gateway,
  asked: Asked,
  question: object,
  read: (scope: CallFilter) => Promise<Value>,
): Promise<Outcome<Value>> {
  return viewed(gateway, asked, "calls/read", (call, principal) => {
    call.arguments = { ...question };
    return read(scopeOf(authorizeOperation(call, CALLS), principal));
  });
}
