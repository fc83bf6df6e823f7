/**
 * `audit tail · query`: the audit trail through the gateway, as far as its policy lets the asker see. What surprises:
 * a page can come back short although there is more, since the gateway reads a bounded part of the trail for each.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { ask } from "./client.ts";
import type { Client } from "./client.ts";
import { timeOf } from "./audit-export.ts";
import { CommandFault, flag, printJson, printTable } from "./io.ts";
import type { Invocation } from "./io.ts";

type Query = Parameters<Client["audit"]["calls"]["query"]>[0];
type Page = Awaited<ReturnType<Client["audit"]["calls"]["query"]>>;
type Row = Page["rows"][number];

const OUTCOMES = ["success", "error", "refused", "unknown"] as const;
const FOLLOW_MS = 1_000;
const FOLLOW_ROWS = 200;
/** While following, so many of the latest calls are remembered as printed. */
const PRINTED_MAX = 4_000;

export async function queryCalls(invocation: Invocation): Promise<number> {
  const query = queryOf(invocation);
  const page = await readPages(invocation, query);
  if (invocation.json) printJson(invocation, page);
  else {
    printTable(invocation, [HEADER, ...page.rows.map(cells)]);
    if (page.hasNextPage) invocation.io.stderr(`There is more: --after ${page.endCursor ?? ""}\n`);
  }
  return 0;
}

/** Ends only when it is interrupted, if it follows. */
export async function tailCalls(invocation: Invocation): Promise<number> {
  const query = queryOf(invocation);
  const printed = new Set<string>();
  let { rows } = await readPages(invocation, query);
  if (!invocation.json) printTable(invocation, [HEADER, ...rows.toReversed().map(cells)]);
  else rows.toReversed().forEach((row) => invocation.io.stdout(`${JSON.stringify(row)}\n`));
  remember(printed, rows);
  while (invocation.flags["follow"] === true) {
    await sleep(FOLLOW_MS);
    ({ rows } = await readPages(invocation, { ...query, first: Math.max(query?.first ?? 0, FOLLOW_ROWS) }));
    // a call without an outcome still runs: it is printed when it ended
    const fresh = rows.filter((row) => row.outcome !== "unknown" && !printed.has(row.cursor));
    for (const row of fresh.toReversed()) {
      invocation.io.stdout(invocation.json ? `${JSON.stringify(row)}\n` : `${cells(row).join("  ")}\n`);
    }
    remember(printed, fresh);
  }
  return 0;
}

async function readPages(invocation: Invocation, query: Query): Promise<Page> {
  const first = query?.first ?? 50;
  const rows: Row[] = [];
  let page = await ask(invocation, (client) => client.audit.calls.query(query));
  rows.push(...page.rows);
  while (rows.length < first && page.hasNextPage) {
    const { endCursor } = page;
    page = await ask(invocation, (client) =>
      client.audit.calls.query({ ...query, first: first - rows.length, after: endCursor }),
    );
    rows.push(...page.rows);
  }
  return { ...page, rows };
}

function queryOf(invocation: Invocation): Query {
  const outcome = flag(invocation, "outcome");
  const known = OUTCOMES.find((one) => one === outcome);
  if (outcome !== null && known === undefined) throw new CommandFault(`--outcome takes ${OUTCOMES.join(", ")}`, 2);
  const first = Number(flag(invocation, "first") ?? 50);
  if (!Number.isInteger(first) || first < 1 || first > 1000)
    throw new CommandFault("--first takes a number from 1 to 1000", 2);
  const filter = {
    principal: flag(invocation, "principal"),
    tool: flag(invocation, "tool"),
    server: flag(invocation, "server"),
    errorType: flag(invocation, "error"),
    callId: flag(invocation, "call"),
    outcome: known ?? null,
    fromMs: timeOf(invocation, "since"),
    toMs: timeOf(invocation, "until"),
  };
  const given = Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== null));
  return { filter: given, first, after: flag(invocation, "after") };
}

const HEADER = ["TIME", "PRINCIPAL", "INTERFACE", "OPERATION", "TOOL", "OUTCOME", "MS", "CALL"];

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

function remember(printed: Set<string>, rows: readonly Row[]): void {
  for (const row of rows) printed.add(row.cursor);
  for (const old of printed) {
    if (printed.size <= PRINTED_MAX) return;
    printed.delete(old);
  }
}
