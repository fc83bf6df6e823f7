/** One page of a sorted list. The cursor is the last item's key, opaque to callers: it survives changes of the list. */
export type Page<Item> = { readonly items: readonly Item[]; readonly next: string | null; readonly start: number };

/** Returns null for a cursor that this gateway did not make. Items must be sorted by `key`, by code unit. */
export function page<Item>(
  items: readonly Item[],
  key: (item: Item) => string,
  { after, first }: { readonly after: string | null; readonly first: number },
): Page<Item> | null {
  const last = after === null ? null : readCursor(after);
  if (after !== null && last === null) return null;
  const found = last === null ? 0 : items.findIndex((item) => key(item) > last);
  const start = found === -1 ? items.length : found;
  const slice = items.slice(start, start + first);
  const end = slice.at(-1);
  return { items: slice, start, next: end !== undefined && start + first < items.length ? cursorOf(key(end)) : null };
}

export function cursorOf(key: string): string {
  return Buffer.from(`1:${key}`).toString("base64url");
}

function readCursor(cursor: string): string | null {
  const text = Buffer.from(cursor.slice(0, 1024), "base64url").toString();
  return text.startsWith("1:") && cursorOf(text.slice(2)) === cursor ? text.slice(2) : null;
}
