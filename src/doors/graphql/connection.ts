/** One page of a list in the form that Relay fixed: edges, cursors, pageInfo. A cursor is the item's key, opaque. */
import { Refusal } from "../../refusal.ts";
import { cursorOf, page } from "../page.ts";
import { PAGE_SIZE, PAGE_SIZE_MAX } from "./guards.ts";

export type PageArguments = { readonly first?: number | null; readonly after?: string | null };
export type Connection<Node> = {
  readonly edges: readonly { readonly cursor: string; readonly node: Node }[];
  readonly pageInfo: PageInfo;
  readonly totalCount: number | null;
};
type PageInfo = {
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
  readonly startCursor: string | null;
  readonly endCursor: string | null;
};

/** Items sorted by key, by code unit: a cursor outlives its item. @throws Refusal invalid_request */
export function sortedConnection<Node>(
  items: readonly Node[],
  key: (item: Node) => string,
  asked: PageArguments,
): Connection<Node> {
  const slice = page(items, key, { after: asked.after ?? null, first: pageSize(asked) });
  if (slice === null) throw foreignCursor();
  return connection(
    slice.items.map((node) => ({ cursor: cursorOf(key(node)), node })),
    { start: slice.start, total: items.length },
  );
}

/** Items in any fixed order, e.g. by rank: a cursor is good while its item is found. @throws Refusal invalid_request */
export function rankedConnection<Node>(
  items: readonly Node[],
  key: (item: Node) => string,
  asked: PageArguments,
): Connection<Node> {
  const first = pageSize(asked);
  const after = asked.after ?? null;
  const at = after === null ? -1 : items.findIndex((item) => cursorOf(key(item)) === after);
  if (after !== null && at === -1) throw foreignCursor();
  const slice = items.slice(at + 1, at + 1 + first);
  return connection(
    slice.map((node) => ({ cursor: cursorOf(key(node)), node })),
    { start: at + 1, total: items.length },
  );
}

/** @throws Refusal invalid_request */
export function pageSize({ first }: PageArguments): number {
  const size = first ?? PAGE_SIZE;
  if (size < 0 || size > PAGE_SIZE_MAX)
    throw new Refusal("invalid_request", `first must be from 0 to ${PAGE_SIZE_MAX}.`);
  return size;
}

function connection<Node>(
  edges: Connection<Node>["edges"],
  { start, total }: { start: number; total: number },
): Connection<Node> {
  const pageInfo = {
    hasNextPage: start + edges.length < total,
    hasPreviousPage: start > 0,
    startCursor: edges[0]?.cursor ?? null,
    endCursor: edges.at(-1)?.cursor ?? null,
  };
  return { edges, pageInfo, totalCount: total };
}

function foreignCursor(): Refusal {
  return new Refusal("invalid_request", "The cursor is not one of ours, or of another list.");
}
