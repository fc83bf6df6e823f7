/**
 * What happened lately: rows read from the spool itself, newest first. What surprises: a page reads a bounded number of
 * bytes and may come back short, even empty, with a cursor to go on from; and a call's two records are one row, so that
 * an intent at a page's edge is looked up in what came after it.
 */
import { join } from "node:path";
import { Refusal } from "../refusal.ts";
import { linesBackwards } from "./lines.ts";
import type { Line } from "./lines.ts";
import { outcomesNear, outcomesOf } from "./outcomes.ts";
import { callIdOf, kindOf, matches, rowOf } from "./row.ts";
import type { CallFilter, CallRow } from "./row.ts";
import { listSegments } from "./segments.ts";
import type { SegmentName } from "./segments.ts";
import { parseSpan } from "./span.ts";

export type CallQuery = {
  readonly filter?: CallFilter;
  /** Rows at most, 1 to 1,000. */
  readonly first?: number;
  /** A row's cursor or a page's `endCursor`. */
  readonly after?: string | null;
};
export type CallPage = {
  readonly rows: readonly CallRow[];
  /** Where to go on; null if nothing was read. */
  readonly endCursor: string | null;
  readonly hasNextPage: boolean;
};
export type { CallFilter, CallRow } from "./row.ts";

export const SCAN_BYTES_MAX = 16 * 1024 * 1024;
const ROWS_MAX = 1_000;

/** @throws Refusal `invalid_request` for a cursor that is none of ours */
export async function readCalls(
  directory: string,
  { filter = {}, first = 50, after = null }: CallQuery,
  scanBytesMax = SCAN_BYTES_MAX,
): Promise<CallPage> {
  const segments = (await listSegments(directory)).toReversed();
  const from = startOf(segments, after);
  const place = { directory, segments: segments.slice(0, from.index + 1).toReversed(), offset: from.end ?? 0 };
  const page: Page = {
    filter,
    most: Math.min(Math.max(first, 1), ROWS_MAX),
    rows: [],
    ended: new Set(from.end === null ? [] : await outcomesNear(place)),
    open: new Set(),
    at: null,
    left: scanBytesMax,
  };
  const hasNextPage = await readSegments(page, directory, segments.slice(from.index), from.end);
  const late = from.end === null || page.open.size === 0 ? new Set() : await outcomesOf(page.open, place);
  return { rows: page.rows.filter(({ callId }) => !late.has(callId)), endCursor: page.at, hasNextPage };
}

type Page = {
  readonly filter: CallFilter;
  readonly most: number;
  readonly rows: CallRow[];
  /** Calls whose outcome was met, and whose intent is still to come. */
  readonly ended: Set<string>;
  /** Calls whose intent was met without an outcome after it on this page. */
  readonly open: Set<string>;
  at: string | null;
  /** Bytes that may still be read. */
  left: number;
};

/** Newest segment first, from `end` of the first. Says whether it stopped before the oldest one's beginning. */
async function readSegments(
  page: Page,
  directory: string,
  segments: readonly SegmentName[],
  end: number | null,
): Promise<boolean> {
  for (const [index, { file }] of segments.entries()) {
    const path = join(directory, file);
    for await (const lines of linesBackwards(path, index === 0 && end !== null ? end : Number.MAX_SAFE_INTEGER)) {
      for (const line of lines) {
        if (page.rows.length >= page.most) return true;
        page.at = cursorOf(file, line.offset);
        take(page, line, page.at);
        page.left -= line.text.length;
      }
      if (page.left <= 0) return true;
    }
  }
  return false;
}

function take(page: Page, line: Line, cursor: string): void {
  const span = parseSpan(line.text);
  if (span === null) return;
  const callId = callIdOf(span);
  const kind = kindOf(span);
  if (kind === "outcome") page.ended.add(callId);
  if (kind === "intent") {
    if (page.ended.delete(callId)) return;
    page.open.add(callId);
  }
  const row = rowOf(span, cursor);
  if (matches(row, page.filter)) page.rows.push(row);
}

function cursorOf(file: string, offset: number): string {
  return Buffer.from(`${file}:${offset}`).toString("base64url");
}

/** The file of a cursor is looked up among the segments that are there, never opened by its name. */
function startOf(
  segments: readonly SegmentName[],
  after: string | null,
): { readonly index: number; readonly end: number | null } {
  if (after === null) return { index: 0, end: null };
  const [, file, offset] =
    /^([\w-]+\.jsonl):(\d{1,15})$/.exec(Buffer.from(after, "base64url").toString("latin1")) ?? [];
  const index = segments.findIndex((segment) => segment.file === file);
  if (index === -1 || offset === undefined) throw new Refusal("invalid_request", "The cursor is not one of ours.");
  return { index, end: Number(offset) };
}
