/**
 * Who holds a place under a limit of calls at once, among the calls of this gateway? Known here whoever granted it: what a
 * store forgets, or never knew because it was away, can be told to it again.
 */
export type Places = {
  readonly take: (id: string, keys: readonly string[]) => void;
  /** The keys under which the call held a place. */
  readonly release: (id: string) => readonly string[];
  readonly held: (key: string) => number;
  readonly all: () => readonly Place[];
};
export type Place = { readonly id: string; readonly key: string };

export function createPlaces(): Places {
  const byCall = new Map<string, readonly string[]>();
  const counts = new Map<string, number>();
  const count = (key: string, more: number): void => {
    const now = (counts.get(key) ?? 0) + more;
    if (now === 0) counts.delete(key);
    else counts.set(key, now);
  };
  return {
    take: (id, keys) => {
      if (keys.length === 0) return;
      byCall.set(id, keys);
      for (const key of keys) count(key, 1);
    },
    release: (id) => {
      const keys = byCall.get(id);
      if (keys === undefined) return NONE;
      byCall.delete(id);
      for (const key of keys) count(key, -1);
      return keys;
    },
    held: (key) => counts.get(key) ?? 0,
    all: () => [...byCall].flatMap(([id, keys]) => keys.map((key) => ({ id, key }))),
  };
}

const NONE: readonly string[] = [];
