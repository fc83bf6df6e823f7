/**
 * What happened lately, at every writer? The newest rows of several trails, merged by time. What surprises: a cursor of
 * such a page holds one position for each trail that has been read from; a trail that it does not name is read from its
 * end.
 */
import { Refusal } from "../refusal.ts";
import { readCalls, SCAN_BYTES_MAX } from "./tail.ts";
import type { CallPage, CallQuery, CallRow } from "./tail.ts";

/** Directories by writer; this gateway's own has the name "". */
export type Trails = ReadonlyMap<string, string>;

/** @throws Refusal invalid_request for a cursor that is none of ours */
export async function readTrails(trails: Trails, query: CallQuery): Promise<CallPage> {
  const { writer, ...filter } = query.filter ?? {};
  const first = query.first ?? 50;
  const at = cursorOf(query.after ?? null);
  const asked = [...trails].filter(([name]) => writer === undefined || name === writer);
  // one after another, and all of them together no more than one: forty sidecars must not cost forty times as much
  const scanBytesMax = SCAN_BYTES_MAX / Math.max(1, asked.length);
  const pages: Reading[] = [];
  for (const [name, directory] of asked) {
    const page = await readCalls(directory, { filter, first, after: at[name] ?? null }, scanBytesMax);
    pages.push({ name, page, next: 0 });
  }
  const rows: CallRow[] = [];
  for (let newest = newestOf(pages); newest !== null && rows.length < first; newest = newestOf(pages)) {
    const { name, page, next } = newest;
    const row = page.rows[next] as CallRow;
    newest.next++;
    at[name] = row.cursor;
    rows.push({ ...row, writer: name === "" ? null : name, cursor: textOf(at) });
  }
  const done = ({ page, next }: Reading): boolean => next === page.rows.length;
  // a trail of which all that was read is on this page goes on where its reading ended
  for (const one of pages) if (done(one) && one.page.endCursor !== null) at[one.name] = one.page.endCursor;
  const hasNextPage = pages.some((one) => !done(one) || one.page.hasNextPage);
  return { rows, endCursor: Object.keys(at).length === 0 ? null : textOf(at), hasNextPage };
}

type Positions = { [writer: string]: string };
type Reading = { readonly name: string; readonly page: CallPage; next: number };

/** Each trail's order is its own; between two the later row comes first. */
function newestOf(pages: readonly Reading[]): Reading | null {
  let newest: Reading | null = null;
  for (const one of pages) {
    const row = one.page.rows[one.next];
    const other = newest?.page.rows[newest.next];
    if (row !== undefined && (other === undefined || row.time > other.time)) newest = one;
  }
  return newest;
}

function textOf(at: Positions): string {
  return Buffer.from(JSON.stringify(at)).toString("base64url");
}

/** @throws Refusal invalid_request */
function cursorOf(text: string | null): Positions {
  const none = Object.create(null) as Positions;
  if (text === null) return none;
  try {
    const at = JSON.parse(Buffer.from(text, "base64url").toString("utf8")) as unknown;
    if (
      typeof at === "object" &&
      at !== null &&
      !Array.isArray(at) &&
      Object.values(at).every((one) => typeof one === "string")
    )
      return Object.assign(none, at);
  } catch {
    // said below
  }
  throw new Refusal("invalid_request", "The cursor is not one of ours.");
}
