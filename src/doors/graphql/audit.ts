/** The audit trail in the graph: pages as a connection, numbers, and calls as they end. */
import type { Order } from "../../audit/projection-query.ts";
import { STAT_FIELDS } from "../../audit/projection-stats.ts";
import type { CallGroup, StatField } from "../../audit/projection-stats.ts";
import type { CallFilter, CallRow } from "../../audit/row.ts";
import { window } from "../../config-duration.ts";
import type { Outcome } from "../../model.ts";
import { Refusal } from "../../refusal.ts";
import { followCalls, readCalls, readCallStats } from "../../view-calls.ts";
import type { CallEvent } from "../../view-calls.ts";
import { pageSize } from "./connection.ts";
import type { Connection, PageArguments } from "./connection.ts";
import { valueOf } from "./errors.ts";
import type { Context } from "./graph.ts";
import type { Streams } from "./streams.ts";

type CallsArguments = PageArguments & { readonly filter?: Filter | null; readonly order?: Order | null };
type StatsArguments = {
  readonly filter?: Filter | null;
  readonly by?: readonly StatField[] | null;
  readonly bucket?: string | null;
  readonly first?: number | null;
};
/** As the schema has it: what is not given may be null. */
type Filter = { readonly [field in keyof CallFilter]?: CallFilter[field] | null } & {
  readonly since?: string | null;
  readonly until?: string | null;
};
type Calls = Omit<Connection<CallRow>, "totalCount"> & {
  readonly totalCount: () => Promise<number>;
  readonly behind: boolean;
};

const GROUPS = 100;
const GROUPS_MAX = 1_000;
const FIELDS_MAX = 4;
const TRACE_ID = /^[0-9a-f]{32}$/;

/** Enums as the trail writes them. */
export const auditFields = {
  CallDecision: { ALLOW: "allow", DENY: "deny" },
  CallOutcome: { SUCCESS: "success", ERROR: "error", REFUSED: "refused", UNKNOWN: "unknown" },
  CallOrder: { NEWEST_FIRST: "newest", OLDEST_FIRST: "oldest" },
  CallField: Object.fromEntries(STAT_FIELDS.map((field) => [enumName(field), field])),
  Executed: { NO: "no", YES: "yes", UNKNOWN: "unknown" },
};

function enumName(field: string): string {
  return field.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}

/** @throws Refusal invalid_request, GraphQLError carrying the refusal */
export async function calls(_: unknown, asked: CallsArguments, { graph }: Context): Promise<Calls> {
  const first = pageSize(asked);
  const after = asked.after ?? null;
  // a page of none is still asked for: whether the trail may be read at all is policy's to say
  const query = { filter: filterOf(asked.filter), first: Math.max(first, 1), after, order: asked.order ?? "newest" };
  const page = valueOf(await readCalls(graph.gateway, graph.asked, query));
  const edges = page.rows.slice(0, first).map((node) => ({ cursor: node.cursor, node }));
  const pageInfo = {
    hasNextPage: page.hasNextPage || edges.length < page.rows.length,
    hasPreviousPage: after !== null,
    startCursor: edges[0]?.cursor ?? null,
    endCursor: first === 0 ? after : page.endCursor,
  };
  return { edges, pageInfo, totalCount: page.total, behind: page.behindBytes > 0 };
}

/** @throws as `calls` */
export async function callStats(_: unknown, asked: StatsArguments, { graph }: Context): Promise<object> {
  const by = [...new Set(asked.by ?? [])];
  const first = asked.first ?? GROUPS;
  if (by.length > FIELDS_MAX) throw new Refusal("invalid_request", `by takes ${FIELDS_MAX} fields at most.`);
  if (first < 1 || first > GROUPS_MAX) throw new Refusal("invalid_request", `first must be from 1 to ${GROUPS_MAX}.`);
  const query = { filter: filterOf(asked.filter), by, bucketMs: bucketOf(asked.bucket ?? null), first };
  const { groups, more, behindBytes } = valueOf(await readCallStats(graph.gateway, graph.asked, query));
  return { groups: groups.map(shownGroup), more, behind: behindBytes > 0 };
}

function shownGroup({ keys, ...numbers }: CallGroup): object {
  return { ...keys, ...numbers };
}

/** Streams of calls as they end, of which there are only so many. */
export function callRecorded(streams: Streams) {
  return async (
    _: unknown,
    { filter }: { readonly filter?: Filter | null },
    { graph }: Context,
  ): Promise<AsyncGenerator<CallEvent, void>> => {
    const end = streams(graph.principal.id);
    // a generator that nobody starts, since the client has gone, never ends
    graph.asked.signal.addEventListener("abort", end, { once: true });
    if (graph.asked.signal.aborted) end();
    try {
      const outcomes = valueOf(await followCalls(graph.gateway, graph.asked, filterOf(filter)));
      return eventsOf(outcomes, end);
    } catch (refused) {
      end();
      throw refused;
    }
  };
}

async function* eventsOf(
  outcomes: AsyncIterable<Outcome<CallEvent>>,
  end: () => void,
): AsyncGenerator<CallEvent, void> {
  try {
    for await (const outcome of outcomes) yield valueOf(outcome);
  } finally {
    end();
  }
}

/** @throws Refusal invalid_request */
function bucketOf(text: string | null): number | null {
  if (text === null) return null;
  const read = window.safeParse(text);
  if (!read.success) throw new Refusal("invalid_request", "bucket takes a length of time such as 5m, 1h or 7d.");
  return read.data;
}

/** @throws Refusal invalid_request */
function filterOf(filter: Filter | null | undefined): CallFilter {
  const { since, until, ...equal } = filter ?? {};
  const given = Object.entries(equal).filter(([, value]) => value !== null && value !== undefined);
  if (typeof equal.traceId === "string" && !TRACE_ID.test(equal.traceId))
    throw new Refusal("invalid_request", "traceId takes 32 hex digits.");
  return {
    ...Object.fromEntries(given),
    ...(typeof since === "string" ? { fromMs: Date.parse(since) } : {}),
    ...(typeof until === "string" ? { toMs: Date.parse(until) } : {}),
  };
}
