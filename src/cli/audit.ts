/**
 * `audit query · tail · reindex`: the audit trail through the gateway, as far as its policy lets the asker see. What
 * surprises: to look is recorded like everything else, so that a tail shows the looking too.
 */
import { window } from "../config-duration.ts";
import { ask, listen } from "./client.ts";
import type { Client } from "./client.ts";
import { timeOf } from "./audit-export.ts";
import { CommandFault, flag, printJson, printTable } from "./io.ts";
import type { Invocation } from "./io.ts";

type Asked<Query extends (...asked: never[]) => unknown> = NonNullable<Parameters<Query>[0]>;
type Query = Asked<Client["audit"]["calls"]["query"]>;
type Filter = NonNullable<Query["filter"]>;
type Page = Awaited<ReturnType<Client["audit"]["calls"]["query"]>>;
type Row = Page["rows"][number];
type StatsQuery = Asked<Client["audit"]["stats"]["query"]>;
type Field = NonNullable<StatsQuery["by"]>[number];
type Event = { readonly call: Row; readonly missed: number };

const OUTCOMES = ["success", "error", "refused", "unknown"];
const DECISIONS = ["allow", "deny"];
/** Each equals a field of a call. */
const FLAGS: readonly (readonly [flag: string, field: keyof Filter])[] = [
  ["principal", "principal"],
  ["for", "onBehalfOf"],
  ["tenant", "tenant"],
  ["tool", "tool"],
  ["server", "server"],
  ["version", "version"],
  ["interface", "interface"],
  ["operation", "operation"],
  ["outcome", "outcome"],
  ["decision", "decision"],
  ["error", "errorType"],
  ["reason", "reason"],
  ["policy", "policyRevision"],
  ["trace", "traceId"],
  ["writer", "writer"],
  ["call", "callId"],
];
const FIELDS: readonly Field[] = [
  ...["principal", "onBehalfOf", "tenant", "interface", "operation", "tool", "server", "version"],
  ...["decision", "outcome", "errorType", "reason", "policyRevision", "writer"],
] as Field[];

export async function queryCalls(invocation: Invocation): Promise<number> {
  if (flag(invocation, "by") !== null || flag(invocation, "bucket") !== null) return await countCalls(invocation);
  const page = await readPage(invocation);
  if (invocation.json) printJson(invocation, page);
  else {
    printTable(invocation, [HEADER, ...page.rows.map(cells)]);
    if (page.hasNextPage) invocation.io.stderr(`There is more: --after ${page.endCursor ?? ""}\n`);
  }
  return 0;
}

/** Ends only when it is interrupted, if it follows. */
export async function tailCalls(invocation: Invocation): Promise<number> {
  if (invocation.flags["follow"] !== true) {
    printRows(invocation, (await readPage(invocation)).rows.toReversed());
    return 0;
  }
  // what ends while the first page is read must not fall between the two
  let waiting: Event[] | null = [];
  const printed = new Set<string>();
  const print = ({ call, missed }: Event): void => {
    if (missed > 0) invocation.io.stderr(`${missed} calls came too fast to be shown: audit query has them\n`);
    if (printed.has(call.callId)) return;
    invocation.io.stdout(invocation.json ? `${JSON.stringify(call)}\n` : `${cells(call).join("  ")}\n`);
  };
  const filter = filterOf(invocation);
  const heard = listen<Event>(
    invocation,
    (client, listener) => client.audit.follow.subscribe({ filter }, listener),
    (event) => (waiting === null ? print(event) : void waiting.push(event)),
  );
  const { rows } = await Promise.race([readPage(invocation), heard.then(ended)]);
  printRows(invocation, rows.toReversed());
  for (const { callId, outcome } of rows) if (outcome !== "unknown") printed.add(callId);
  for (const event of waiting) print(event);
  waiting = null;
  printed.clear();
  await heard;
  return ended();
}

export async function reindex(invocation: Invocation): Promise<number> {
  const { behindBytes } = await ask(invocation, (client) => client.audit.reindex.mutate());
  if (invocation.json) printJson(invocation, { behindBytes });
  else if (behindBytes === 0) invocation.io.stderr("The index is built.\n");
  else invocation.io.stderr(`The index is being built: ${Math.ceil(behindBytes / 1e6)} MB are still to be read.\n`);
  return 0;
}

function ended(): never {
  throw new CommandFault("the gateway ended the stream", 1);
}

async function countCalls(invocation: Invocation): Promise<number> {
  const by = (flag(invocation, "by") ?? "").split(",").filter((field) => field !== "");
  const unknown = by.find((field) => !FIELDS.includes(field as Field));
  if (unknown !== undefined || by.length > 4)
    throw new CommandFault(`--by takes up to four of ${FIELDS.join(", ")}`, 2);
  const bucket = flag(invocation, "bucket");
  const read = window.safeParse(bucket ?? "1h");
  if (!read.success) throw new CommandFault("--bucket takes a length of time such as 5m, 1h or 7d", 2);
  const query = {
    filter: filterOf(invocation),
    by: by as Field[],
    bucketMs: bucket === null ? null : read.data,
    first: firstOf(invocation),
  };
  const stats = await ask(invocation, (client) => client.audit.stats.query(query));
  noteBehind(invocation, stats);
  if (invocation.json) printJson(invocation, stats);
  else {
    const head = [...(bucket === null ? [] : ["FROM"]), ...by.map((field) => field.toUpperCase())];
    const rows = stats.groups.map(({ keys, from, ...numbers }) => [
      ...(bucket === null ? [] : [from ?? ""]),
      ...by.map((field) => keys[field as Field] ?? "-"),
      ...[numbers.count, numbers.refusals, numbers.errors].map(String),
      ...[numbers.p50Ms, numbers.p95Ms].map((ms) => ms?.toFixed(1) ?? "-"),
    ]);
    printTable(invocation, [[...head, "CALLS", "REFUSED", "ERRORS", "P50 MS", "P95 MS"], ...rows]);
    if (stats.more) invocation.io.stderr("There are more groups: --first takes up to 1000\n");
  }
  return 0;
}

async function readPage(invocation: Invocation): Promise<Page> {
  const order = invocation.flags["oldest"] === true ? ("oldest" as const) : ("newest" as const);
  const filter = filterOf(invocation);
  const query = { filter, first: firstOf(invocation), after: flag(invocation, "after"), order };
  const page = await ask(invocation, (client) => client.audit.calls.query(query));
  noteBehind(invocation, page);
  return page;
}

function noteBehind({ io }: Invocation, { behindBytes }: { readonly behindBytes: number }): void {
  if (behindBytes === 0) return;
  io.stderr(`note: ${Math.ceil(behindBytes / 1e6)} MB of the trail are still to be read: some calls are missing\n`);
}

function firstOf(invocation: Invocation): number {
  const first = Number(flag(invocation, "first") ?? 50);
  if (!Number.isInteger(first) || first < 1 || first > 1000)
    throw new CommandFault("--first takes a number from 1 to 1000", 2);
  return first;
}

function filterOf(invocation: Invocation): Filter {
  const equal = FLAGS.map(([name, field]) => [field, flag(invocation, name)] as const);
  const span = [
    ["fromMs", timeOf(invocation, "since")],
    ["toMs", timeOf(invocation, "until")],
  ] as const;
  const given = Object.fromEntries([...equal, ...span].filter(([, value]) => value !== null));
  oneOf(given["outcome"], "outcome", OUTCOMES);
  oneOf(given["decision"], "decision", DECISIONS);
  return given as Filter;
}

function oneOf(value: unknown, name: string, words: readonly string[]): void {
  if (value !== undefined && !words.includes(String(value)))
    throw new CommandFault(`--${name} takes ${words.join(", ")}`, 2);
}

const HEADER = ["TIME", "PRINCIPAL", "INTERFACE", "OPERATION", "TOOL", "OUTCOME", "MS", "CALL"];

function printRows(invocation: Invocation, rows: readonly Row[]): void {
  if (invocation.json) for (const row of rows) invocation.io.stdout(`${JSON.stringify(row)}\n`);
  else printTable(invocation, [HEADER, ...rows.map(cells)]);
}

function cells(row: Row): readonly string[] {
  const who =
    row.principal === null ? "-" : row.onBehalfOf === null ? row.principal : `${row.principal} for ${row.onBehalfOf}`;
  const outcome = row.errorType === null ? row.outcome : `${row.outcome}: ${row.errorType}`;
  const counted = row.count > 1 ? ` ×${row.count}` : "";
  return [
    row.time,
    who,
    row.interface,
    row.operation,
    row.tool ?? "-",
    outcome + counted,
    row.durationMs.toFixed(1),
    row.callId,
  ];
}
