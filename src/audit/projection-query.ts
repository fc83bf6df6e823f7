/**
 * What is asked of the index: a page of calls, and how many there are. What surprises: before a page is
 * read, each condition is asked how many rows it finds, up to a bound, and the rarest one leads: SQLite has no statistics of
 * an index that grows all the time, and would walk a tenant's million rows for one principal's three.
 */
import { Refusal } from "../refusal.ts";
import { DECISIONS, OUTCOMES, numberOf } from "./projection-index.ts";
import type { Index } from "./projection-index.ts";
import type { CallFilter } from "./row.ts";

/** All conditions of both must hold: what is asked for, and what may be seen. */
export type Asked = { readonly filter: CallFilter; readonly scope: CallFilter };
export type Order = "newest" | "oldest";
export type PageQuery = Asked & { readonly first: number; readonly after: string | null; readonly order: Order };
export type Pointer = {
  readonly at: number;
  readonly n: number;
  readonly segment: number;
  readonly offset: number;
  readonly bytes: number;
};

export const COLUMNS = {
  writer: "writer",
  principal: "principal",
  onBehalfOf: "behalf",
  tenant: "tenant",
  interface: "door",
  operation: "operation",
  tool: "tool",
  server: "server",
  version: "version",
  errorType: "error",
  policyRevision: "policy",
} as const;
type WordField = keyof typeof COLUMNS;

/** Those with an index, the one that finds least as a rule first. */
const LEADERS = [
  "trace",
  "principal",
  "behalf",
  "tool",
  "error",
  "server",
  "policy",
  "operation",
  "writer",
  "tenant",
  "outcome",
];
const PROBED_MAX = 2_000;
const COUNTED_MAX = 10_000_000;

type Value = number | string | Buffer | null;
type Term = { readonly sql: string; readonly values: readonly Value[]; readonly index: string | null };
type Where = { readonly terms: readonly Term[]; readonly span: readonly Term[] };

/** Newest or oldest first; one more than asked for, where there is one. @throws Refusal invalid_request */
export function findPage(index: Index, { first, after, order, ...asked }: PageQuery): readonly Pointer[] {
  const where = whereOf(index, asked);
  if (where === null) return [];
  const cursor = after === null ? null : readCursor(after);
  const sign = order === "newest" ? "<" : ">";
  const from = cursor === null ? [] : [{ sql: `(at, n) ${sign} (?, ?)`, values: cursor, index: null }];
  const { sql, values } = clauseOf(index, { ...where, span: [...where.span, ...from] });
  const direction = order === "newest" ? "DESC" : "ASC";
  const text = `SELECT at, n, segment, offset, bytes FROM ${sql} ORDER BY at ${direction}, n ${direction} LIMIT ?`;
  return index.statement(text).all(...values, first + 1) as unknown as readonly Pointer[];
}

export function countCalls(index: Index, asked: Asked): number {
  const where = whereOf(index, asked);
  if (where === null) return 0;
  const { sql, values } = clauseOf(index, where);
  const bounded = `SELECT count(*) AS count FROM (SELECT 1 FROM ${sql} LIMIT ${COUNTED_MAX + 1})`;
  const count = Number(index.statement(bounded).get(...values)?.["count"]);
  if (count > COUNTED_MAX) throw tooMany("calls", COUNTED_MAX);
  return count;
}

export function cursorOf({ at, n }: { readonly at: number; readonly n: number }): string {
  return Buffer.from(`1:${at}:${n}`).toString("base64url");
}

/** @throws Refusal invalid_request */
export function readCursor(text: string): readonly [number, number] {
  const [, at, n] = /^1:(\d{1,16}):(\d{1,15})$/.exec(Buffer.from(text, "base64url").toString("latin1")) ?? [];
  if (at === undefined || n === undefined) throw new Refusal("invalid_request", "The cursor is not one of ours.");
  return [Number(at), Number(n)];
}

/** Null where nothing can be found: no record holds that text. */
export function whereOf(index: Index, { filter, scope }: Asked): Where | null {
  const terms: Term[] = [];
  const span: Term[] = [];
  for (const asked of [scope, filter]) {
    const { fromMs, toMs, reason, callId, ...others } = asked;
    if (fromMs !== undefined) span.push({ sql: "at >= ?", values: [Math.ceil(fromMs * 1000)], index: null });
    if (toMs !== undefined) span.push({ sql: "at < ?", values: [Math.ceil(toMs * 1000)], index: null });
    if (typeof callId === "string") span.push(...callTerms(index, callId));
    if (reason !== undefined) terms.push(reasonTerm(index, reason));
    for (const [field, value] of Object.entries(others) as [keyof typeof others, string | null | undefined][]) {
      if (value === undefined) continue;
      const term = termOf(index, field, value);
      if (term === null) return null;
      terms.push(term);
    }
  }
  return { terms, span };
}

/** An id begins with its call's time, in milliseconds, and ends with what makes the key; whose record it is, is not said. */
function callTerms(index: Index, callId: string): readonly Term[] {
  const [, head, body, random] =
    /^([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[0-9a-f]{4}-([0-9a-f]{12})$/.exec(callId) ?? [];
  if (head === undefined || body === undefined || random === undefined) return [{ sql: "0", values: [], index: null }];
  const at = Number.parseInt(head + body, 16) * 1000;
  const writers = index.statement("SELECT DISTINCT writer FROM segment").all();
  const numbers = writers.map(({ writer }) => numberOf(random, writer === "" ? null : String(writer)));
  return [
    { sql: "at >= ? AND at < ?", values: [at, at + 1000], index: null },
    { sql: `n IN (${numbers.map(() => "?").join(", ")})`, values: numbers, index: null },
  ];
}

function termOf(
  index: Index,
  field: WordField | "decision" | "outcome" | "traceId",
  value: string | null,
): Term | null {
  if (field === "outcome")
    return equal(
      "outcome",
      OUTCOMES.findIndex((one) => one === value),
    );
  if (field === "decision")
    return equal("decision", value === null ? null : DECISIONS.findIndex((one) => one === value));
  if (field === "traceId") return equal("trace", Buffer.from(value ?? "", "hex"));
  if (value === null) return { sql: `${COLUMNS[field]} IS NULL`, values: [], index: null };
  const word = index.find(value);
  return word === null ? null : equal(COLUMNS[field], word);
}

function equal(column: string, value: Value): Term {
  if (value === null) return { sql: `${column} IS NULL`, values: [], index: null };
  return { sql: `${column} = ?`, values: [value], index: LEADERS.includes(column) ? column : null };
}

function reasonTerm(index: Index, reason: string): Term {
  const word = index.find(reason);
  return { sql: "reasons IN (SELECT list FROM reason WHERE word = ?)", values: [word], index: "reasons" };
}

type Clause = { readonly sql: string; readonly values: readonly Value[] };

/** Table, index and conditions. */
export function clauseOf(index: Index, { terms, span }: Where, join = ""): Clause {
  const leading = terms
    .filter((term) => term.index !== null)
    .map((term) => ({ term, rows: probe(index, term, span) }))
    // a reason stands in several lists, each in order: read by index they must be sorted, and so must be few
    .filter(({ term, rows }) => term.index !== "reasons" || rows < PROBED_MAX)
    .toSorted((one, other) => one.rows - other.rows || rank(one.term) - rank(other.term))[0]?.term;
  return clause([...terms, ...span], leading, join);
}

function rank({ index }: Term): number {
  return LEADERS.indexOf(index ?? "");
}

function probe(index: Index, term: Term, span: readonly Term[]): number {
  const { sql, values } = clause([term, ...span], term);
  return Number(
    index.statement(`SELECT count(*) AS count FROM (SELECT 1 FROM ${sql} LIMIT ${PROBED_MAX})`).get(...values)?.[
      "count"
    ],
  );
}

function clause(terms: readonly Term[], leading: Term | undefined, join = ""): Clause {
  const by = leading === undefined ? "NOT INDEXED" : `INDEXED BY call_${leading.index ?? ""}`;
  const conditions = terms.length === 0 ? "" : ` WHERE ${terms.map(({ sql }) => sql).join(" AND ")}`;
  return { sql: `call ${by}${join}${conditions}`, values: terms.flatMap(({ values }) => values) };
}

export function tooMany(what: string, most: number): Refusal {
  return new Refusal("invalid_request", `There are more than ${most} ${what} to count: narrow it, by time for one.`);
}
