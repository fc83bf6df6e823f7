/**
 * Which sidecars follow any of the control planes? Each tells of its own; whoever is asked shows all. What surprises: of a
 * control plane that tells nothing any more, the sidecars are shown as not connected, until another one tells of them.
 */
import { isObject, parseOwnJson } from "../json.ts";
import type { Clock } from "../ports.ts";
import type { RedisClient } from "../redis.ts";
import type { Follower } from "./follower.ts";

export type SharedSidecars = {
  /** At most every two seconds. Rejects with whatever keeps Redis from answering. */
  readonly sync: (own: readonly Follower[]) => Promise<void>;
  readonly others: () => readonly Follower[];
};
type Told = { readonly atMs: number; readonly by: string; readonly follower: Follower };

const SIDECARS = "portcullis:{state}:sidecars";
const EACH_MS = 2_000;
const SILENT_MS = 10_000;
const FORGOTTEN_MS = 7 * 86_400_000;

export function sharedSidecars(
  client: RedisClient,
  { plane, clock, nowMs }: { readonly plane: string; readonly clock: Clock; readonly nowMs: () => number },
): SharedSidecars {
  let told = new Map<string, Told>();
  let doneMs = Number.NEGATIVE_INFINITY;
  return {
    sync: async (own) => {
      if (clock.monotonicMs() < doneMs + EACH_MS) return;
      doneMs = clock.monotonicMs();
      const connected = own.filter((one) => one.connected);
      const entries = connected.map((follower) => [
        follower.name,
        JSON.stringify({ atMs: nowMs(), by: plane, follower }),
      ]);
      if (entries.length > 0) await client.hset(SIDECARS, Object.fromEntries(entries) as { [name: string]: string });
      const all = Object.entries(await client.hgetall(SIDECARS)).flatMap(([name, text]) => {
        const one = toldBy(text);
        return one === null ? [] : [[name, one] as const];
      });
      const forgotten = all.filter(([, { atMs }]) => atMs < nowMs() - FORGOTTEN_MS).map(([name]) => name);
      if (forgotten.length > 0) await client.hdel(SIDECARS, ...forgotten);
      told = new Map(all.filter(([name]) => !forgotten.includes(name)));
    },
    others: () =>
      [...told.values()]
        .filter(({ by }) => by !== plane)
        .map(({ atMs, follower }) => ({
          ...follower,
          connected: follower.connected && atMs > nowMs() - SILENT_MS,
        })),
  };
}

/** Null where nobody can say what it means: a list for people must not keep changes from being made. */
function toldBy(text: string): Told | null {
  try {
    const told = parseOwnJson(text);
    const known = isObject(told) && typeof told["atMs"] === "number" && isObject(told["follower"]);
    return known ? (told as unknown as Told) : null;
  } catch {
    return null;
  }
}
