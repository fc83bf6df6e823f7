/**
 * How much is each limit used, for operators? As this gateway saw it since its start, over all that count under the limit: the
 * counts of single principals are Redis's, and nobody's but their own.
 */
import type { Limit, Snapshot, Tool } from "../model.ts";
import { isOf, limitsOf } from "./charge.ts";
import type { Limits } from "./limit.ts";
import { capacityOf } from "./terms.ts";

export type LimitTotal = Pick<Limit, "name" | "kind" | "windowMs"> & {
  /** What may be used at once; of a bucket, its burst. */
  readonly limit: number;
  readonly charged: number;
  readonly refused: number;
  /** Places that calls of this gateway hold now; null where it is no limit of calls at once. */
  readonly held: number | null;
};

/** Those that calls of any of these tools are charged to, besides what policy names. Sorted by name. */
export function totalsOf(limits: Limits, snapshot: Snapshot, tools: readonly Tool[]): readonly LimitTotal[] {
  const always = [...snapshot.limits.values()].filter((limit) => limit.always);
  const all = new Set([...always, ...tools.flatMap((tool) => limitsOf(snapshot, tool))]);
  return [...all].map((limit) => totalOf(limits, limit)).toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function totalOf({ used, places }: Limits, limit: Limit): LimitTotal {
  const { name, kind, windowMs } = limit;
  const { charged, refused } = used.get(name) ?? { charged: 0, refused: 0 };
  const held = kind === "concurrent" ? places.all().filter(({ key }) => isOf(limit, key)).length : null;
  return { name, kind, limit: capacityOf(limit), windowMs, charged, refused, held };
}
