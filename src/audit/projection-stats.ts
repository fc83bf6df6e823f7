/**
 * The statistics of what the index has: how many calls, refusals and errors, and how long they took, by fields and spans of
 * time. What surprises: percentiles are made of bands of duration, so that each group is a few dozen numbers, however many calls it has.
 */
import { DECISIONS, OUTCOMES, durationOf } from "./projection-index.ts";
import type { Index } from "./projection-index.ts";
import { INT_MAX } from "./row.ts";
import { COLUMNS, clauseOf, tooMany, whereOf } from "./projection-query.ts";
import type { Asked } from "./projection-query.ts";

/** By what calls may be counted, as rows name it. */
export const STAT_FIELDS = [
  "principal",
  "onBehalfOf",
  "tenant",
  "interface",
  "operation",
  "tool",
  "server",
  "version",
  "decision",
  "outcome",
  "errorType",
  "reason",
  "policyRevision",
  "writer",
] as const;
export type StatField = (typeof STAT_FIELDS)[number];
export type StatsQuery = Asked & {
  readonly by: readonly StatField[];
  /** Milliseconds; null for no buckets of time. */
  readonly bucketMs: number | null;
  readonly first: number;
};
export type CallGroup = {
  readonly keys: { readonly [field in StatField]?: string | null };
  /** RFC 3339: where its bucket of time begins; null without buckets. */
  readonly from: string | null;
  /** Requests; of these, refused and failed ones. */
  readonly count: number;
  readonly refusals: number;
  readonly errors: number;
  /** Of those that ended; within 2.2 %. */
  readonly p50Ms: number | null;
  readonly p95Ms: number | null;
};
export type CallStats = { readonly groups: readonly CallGroup[]; readonly more: boolean };

/** More would take its thread too long. */
const STATS_ROWS_MAX = 2_000_000;
/** More would not fit into its memory. */
const STATS_CELLS_MAX = 50_000;

/** @throws Refusal invalid_request where it would have to read too much */
export function readStats(index: Index, { by, bucketMs, first, ...asked }: StatsQuery): CallStats {
  const where = whereOf(index, asked);
  if (where === null) return { groups: [], more: false };
  // a call counts once for each of its reasons
  const join = by.includes("reason") ? " LEFT JOIN reason ON reason.list = call.reasons" : "";
  const { sql, values } = clauseOf(index, where, join);
  const bounded = `SELECT count(*) AS count FROM (SELECT 1 FROM ${sql} LIMIT ${STATS_ROWS_MAX + 1})`;
  if (Number(index.statement(bounded).get(...values)?.["count"]) > STATS_ROWS_MAX)
    throw tooMany("calls", STATS_ROWS_MAX);
  const keys = [...by.map(statColumn), ...(bucketMs === null ? [] : [`at / ${Math.round(bucketMs * 1000)}`])];
  const named = keys.map((key, at) => `${key} AS k${at}`);
  // the band first, which no index has: SQLite would walk one in its order, and look up each row by itself
  const grouped = ["band", ...keys.map((_, at) => `k${at}`)];
  const cells = index
    .statement(
      `SELECT ${[...named, "band"].join(", ")}, count(*) AS calls, total(count) AS requests,
        total(iif(outcome = 3, count, 0)) AS refusals, total(iif(outcome = 2, count, 0)) AS errors
        FROM ${sql} GROUP BY ${grouped.join(", ")} LIMIT ${STATS_CELLS_MAX + 1}`,
    )
    .all(...values) as unknown as readonly Cell[];
  if (cells.length > STATS_CELLS_MAX) throw tooMany("groups", STATS_CELLS_MAX);
  const groups = [...Map.groupBy(cells, (cell) => keys.map((_, at) => cell[`k${at}`]).join(" ")).values()].map(totalOf);
  const shown = groups.toSorted((a, b) => b.requests - a.requests).slice(0, first);
  const group = (total: Total): CallGroup => groupOf(index, total, { by, bucketMs });
  return { groups: shown.map(group).toSorted((a, b) => order(a.from, b.from)), more: groups.length > first };
}

type Cell = { readonly [key: `k${number}`]: number | null } & {
  readonly band: number | null;
  readonly calls: number;
  readonly requests: number;
  readonly refusals: number;
  readonly errors: number;
};
type Total = Pick<Cell, "requests" | "refusals" | "errors"> & { readonly cells: readonly Cell[] };

function totalOf(cells: readonly Cell[]): Total {
  const sum = (field: "requests" | "refusals" | "errors"): number =>
    // records of another gateway may say that they stand for more than were ever asked
    Math.min(
      INT_MAX,
      cells.reduce((all, cell) => all + cell[field], 0),
    );
  return { requests: sum("requests"), refusals: sum("refusals"), errors: sum("errors"), cells };
}

function groupOf(
  index: Index,
  { requests: count, refusals, errors, cells }: Total,
  { by, bucketMs }: Pick<StatsQuery, "by" | "bucketMs">,
): CallGroup {
  const [cell] = cells;
  const at = (key: number): number | null => cell?.[`k${key}`] ?? null;
  const keys = Object.fromEntries(by.map((field, key) => [field, keyText(index, field, at(key))]));
  const slot = at(by.length);
  const from = bucketMs === null || slot === null ? null : new Date(slot * bucketMs).toISOString();
  return { keys, from, count, refusals, errors, p50Ms: percentile(cells, 0.5), p95Ms: percentile(cells, 0.95) };
}

function keyText(index: Index, field: StatField, key: number | null): string | null {
  if (key === null) return null;
  if (field === "outcome") return OUTCOMES[key] ?? null;
  return field === "decision" ? (DECISIONS[key] ?? null) : index.text(key);
}

/** The smallest duration that so much of the calls did not exceed. */
function percentile(cells: readonly Cell[], share: number): number | null {
  const ended = cells.filter(({ band }) => band !== null).toSorted((a, b) => Number(a.band) - Number(b.band));
  let left = share * ended.reduce((sum, { calls }) => sum + calls, 0);
  for (const { band, calls } of ended) if ((left -= calls) <= 0) return durationOf(Number(band));
  return null;
}

function statColumn(field: StatField): string {
  if (field === "reason") return "reason.word";
  return field === "decision" || field === "outcome" ? field : COLUMNS[field];
}

function order(a: string | null, b: string | null): number {
  return (a ?? "") < (b ?? "") ? -1 : (a ?? "") > (b ?? "") ? 1 : 0;
}
