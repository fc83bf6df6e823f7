/** The audit trail as a connection. The trail pages itself, from the newest on: its cursors pass through as they are. */
import type { CallFilter, CallPage, CallRow } from "../../audit/tail.ts";
import { pageSize } from "./connection.ts";
import type { Connection, PageArguments } from "./connection.ts";

export type AuditArguments = PageArguments & { readonly filter?: Filter | null };
/** As the schema has it: what is not given may be null. */
type Filter = { readonly [field in keyof CallFilter]?: CallFilter[field] | null } & {
  readonly since?: string | null;
  readonly until?: string | null;
};
type Query = { readonly filter: CallFilter; readonly first: number; readonly after: string | null };

/** Enums as the trail writes them. */
export const auditFields = {
  CallDecision: { ALLOW: "allow", DENY: "deny" },
  CallOutcome: { SUCCESS: "success", ERROR: "error", REFUSED: "refused", UNKNOWN: "unknown" },
  Executed: { NO: "no", YES: "yes", UNKNOWN: "unknown" },
};

/** @throws Refusal invalid_request */
export async function callConnection(
  asked: AuditArguments,
  read: (query: Query) => Promise<CallPage>,
): Promise<Connection<CallRow>> {
  const first = pageSize(asked);
  const after = asked.after ?? null;
  // a page of none is still asked for: whether the trail may be read at all is policy's to say
  const page = await read({ filter: filterOf(asked.filter ?? {}), first: Math.max(first, 1), after });
  const edges = page.rows.slice(0, first).map((node) => ({ cursor: node.cursor, node }));
  const pageInfo = {
    hasNextPage: page.hasNextPage || edges.length < page.rows.length,
    hasPreviousPage: after !== null,
    startCursor: edges[0]?.cursor ?? null,
    endCursor: first === 0 ? after : page.endCursor,
  };
  return { edges, pageInfo, totalCount: null };
}

function filterOf({ since, until, ...equal }: Filter): CallFilter {
  const given = Object.entries(equal).filter(([, value]) => value !== null && value !== undefined);
  return {
    ...Object.fromEntries(given),
    ...(typeof since === "string" ? { fromMs: Date.parse(since) } : {}),
    ...(typeof until === "string" ? { toMs: Date.parse(until) } : {}),
  };
}
