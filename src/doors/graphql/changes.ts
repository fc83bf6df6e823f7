/**
 * When do the tools that somebody may see change? Any new snapshot may be a change for one principal and none for
 * another, so each listener's list is decided anew, by authentication and policy, after each snapshot and every half
 * minute: a stream outlives neither its key nor its permissions.
 */
import type { Asked, Tool } from "../../model.ts";
import { onToolsChanged } from "../../view.ts";
import { look, matches } from "./graph.ts";
import type { Graph, ListFilter } from "./graph.ts";
import type { Streams } from "./streams.ts";

/** Discovery of many servers ends in many snapshots within moments. */
const DEBOUNCE_MS = 200;
const LOOK_AGAIN_MS = 30_000;

export type ToolsChanged = {
  readonly revision: string;
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly string[];
};
/** Name and all that a caller can see of it, by id. */
type Seen = ReadonlyMap<string, { readonly name: string; readonly terms: string }>;

/** A stream per listener, of which there are only so many. */
export type Changes = (graph: Graph, filter: ListFilter) => Promise<AsyncGenerator<ToolsChanged, void>>;

export function createChanges(streams: Streams): Changes {
  return async (graph, filter) => {
    const end = streams(graph.principal.id);
    const alarm = createAlarm(graph);
    const leave = (): void => {
      alarm.stop();
      end();
    };
    // a generator that nobody starts, since the client has gone, never ends
    graph.asked.signal.addEventListener("abort", leave, { once: true });
    if (graph.asked.signal.aborted) leave();
    try {
      const { seen } = await see(graph, filter);
      return follow(graph, filter, { seen, alarm, end });
    } catch (refused) {
      alarm.stop();
      end();
      throw refused;
    }
  };
}

type Following = { readonly seen: Seen; readonly alarm: Alarm; readonly end: () => void };

async function* follow(
  graph: Graph,
  filter: ListFilter,
  { seen, alarm, end }: Following,
): AsyncGenerator<ToolsChanged, void> {
  let before = seen;
  try {
    while (await alarm.rings()) {
      const now = await see(graph, filter);
      const difference = compare(before, now.seen);
      before = now.seen;
      if (difference !== null) yield { revision: now.revision, ...difference };
    }
  } finally {
    alarm.stop();
    end();
  }
}

/** @throws GraphQLError carrying the refusal: the key was revoked, say */
async function see({ gateway, asked }: Graph, filter: ListFilter): Promise<{ seen: Seen; revision: string }> {
  const { version = null, permission = null, tag = null } = filter;
  const { tools, snapshot } = await look(gateway, asked, { version, permission, tag });
  const entries = tools
    .filter((tool) => matches(tool, filter))
    .map((tool) => [tool.id, { name: tool.name, terms: termsOf(tool) }] as const);
  return { seen: new Map(entries), revision: snapshot.revision };
}

function termsOf({ digest, stale, permissions, tags, annotations, limits, namedLimits }: Tool): string {
  return JSON.stringify([digest, stale, permissions, tags, annotations, limits, namedLimits]);
}

function compare(before: Seen, now: Seen): Omit<ToolsChanged, "revision"> | null {
  const names = (seen: Seen, differs: (id: string, terms: string) => boolean): readonly string[] =>
    [...new Set([...seen].filter(([id, { terms }]) => differs(id, terms)).map(([, { name }]) => name))].toSorted();
  const added = names(now, (id) => !before.has(id));
  const removed = names(before, (id) => !now.has(id));
  const changed = names(now, (id, terms) => before.has(id) && before.get(id)?.terms !== terms);
  return added.length + removed.length + changed.length === 0 ? null : { added, removed, changed };
}

type Alarm = { readonly rings: () => Promise<boolean>; readonly stop: () => void };

/** Rings some moments after a change, and every half minute; false once the listener has gone. */
function createAlarm({ gateway, asked }: { readonly gateway: Graph["gateway"]; readonly asked: Asked }): Alarm {
  let timer: NodeJS.Timeout | undefined;
  let due = false;
  let wake: (() => void) | null = null;
  const ring = (): void => {
    due = true;
    wake?.();
  };
  const arm = (ms: number): void => {
    clearTimeout(timer);
    timer = setTimeout(ring, ms);
  };
  let debouncing = false;
  const unsubscribe = onToolsChanged(gateway, () => {
    if (debouncing) return;
    debouncing = true;
    arm(DEBOUNCE_MS);
  });
  asked.signal.addEventListener("abort", ring, { once: true });
  return {
    rings: async () => {
      if (!debouncing && !due) arm(LOOK_AGAIN_MS);
      if (!due && !asked.signal.aborted) await new Promise<void>((resolve) => (wake = resolve));
      due = false;
      debouncing = false;
      return !asked.signal.aborted;
    },
    stop: () => {
      clearTimeout(timer);
      unsubscribe();
      asked.signal.removeEventListener("abort", ring);
    },
  };
}
