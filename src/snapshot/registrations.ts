/**
 * Which instances registered themselves? Each says so again and again; who does not for as long as its term is forgotten.
 * What surprises: what is known outlives a restart and a store that is away, since an instance that is gone is soon set
 * aside, and one that was forgotten is missed; after either, everyone has a whole term to be heard again.
 */
import { isObject, parseOwnJson } from "../json.ts";
import type { Registration } from "../config-instance.ts";
import type { Clock } from "../ports.ts";
import type { Local } from "./store.ts";

export type Registrations = {
  readonly all: () => readonly Registration[];
  /** In force here once it is told; resolves when others know too, or the store is away. A heartbeat waits for nobody. */
  readonly put: (registration: Registration) => Promise<void>;
  /** As `put`. */
  readonly remove: (registration: Registration) => Promise<void>;
  readonly follow: (follower: Follower) => void;
};
type Follower = {
  readonly moved: (all: readonly Registration[]) => void;
  /** It was not heard again in time: told at one gateway of all. */
  readonly ended: (registration: Registration) => void;
};

/** What is known here, whoever said so. */
export type Known = Pick<Registrations, "all" | "follow"> & {
  readonly get: (id: string) => Registration | undefined;
  /** True where that is news. */
  readonly put: (registration: Registration) => boolean;
  readonly remove: (id: string) => boolean;
  /** All of this at once. */
  readonly settle: (put: readonly Registration[], gone: readonly string[], ended: readonly Registration[]) => void;
};

export function idOf({ server, version, instance }: Omit<Registration, "url" | "weight" | "ttlMs">): string {
  return `${server}@${version}#${instance}`;
}

export function knownRegistrations(local: Pick<Local, "registrations" | "saveRegistrations">): Known {
  const known = new Map(readAll(local.registrations()).map((one) => [idOf(one), one]));
  let follower: Follower | null = null;
  const moved = (): void => {
    local.saveRegistrations(JSON.stringify([...known.values()]));
    follower?.moved([...known.values()]);
  };
  const set = (one: Registration): boolean => {
    if (same(known.get(idOf(one)), one)) return false;
    known.set(idOf(one), one);
    return true;
  };
  return {
    all: () => [...known.values()],
    get: (id) => known.get(id),
    put: (one) => {
      const news = set(one);
      if (news) moved();
      return news;
    },
    remove: (id) => {
      const news = known.delete(id);
      if (news) moved();
      return news;
    },
    settle: (put, gone, ended) => {
      const news = put.filter(set).length + gone.filter((id) => known.delete(id)).length;
      if (news > 0) moved();
      for (const one of ended) follower?.ended(one);
    },
    follow: (listener) => {
      follower = listener;
      if (known.size > 0) listener.moved([...known.values()]);
    },
  };
}

const LOOK_MS = 250;

/** Of a gateway by itself. */
export function registrationsAlone(
  local: Pick<Local, "registrations" | "saveRegistrations">,
  { monotonicMs }: Pick<Clock, "monotonicMs">,
): Registrations & { readonly close: () => void } {
  const known = knownRegistrations(local);
  const heard = new Map(known.all().map((one) => [idOf(one), monotonicMs()]));
  const look = (): void => {
    const silent = known.all().filter((one) => (heard.get(idOf(one)) ?? 0) + one.ttlMs < monotonicMs());
    known.settle([], silent.map(idOf), silent);
    for (const one of silent) heard.delete(idOf(one));
  };
  const timer = setInterval(look, LOOK_MS).unref();
  return {
    all: known.all,
    follow: known.follow,
    put: (one) => {
      heard.set(idOf(one), monotonicMs());
      known.put(one);
      return Promise.resolve();
    },
    remove: (one) => {
      heard.delete(idOf(one));
      known.remove(idOf(one));
      return Promise.resolve();
    },
    close: () => clearInterval(timer),
  };
}

function readAll(text: string): readonly Registration[] {
  const all = parseOwnJson(text);
  return Array.isArray(all) ? all.flatMap((one) => readRegistration(JSON.stringify(one)) ?? []) : [];
}

/** Null for what is none: whatever stands in a store, it must not end a start. */
export function readRegistration(text: string): Registration | null {
  try {
    const one = parseOwnJson(text);
    if (!isObject(one)) return null;
    const { server, version, instance, url, weight, ttlMs } = one;
    const words = [server, version, instance, url].every((word) => typeof word === "string" && word.length <= 2048);
    if (!words || typeof weight !== "number" || typeof ttlMs !== "number" || !URL.canParse(String(url))) return null;
    return { server, version, instance, url, weight, ttlMs } as Registration;
  } catch {
    return null;
  }
}

export function same(one: Registration | undefined, other: Registration): boolean {
  return one?.url === other.url && one.weight === other.weight && one.ttlMs === other.ttlMs;
}
