/**
 * Discovery runs in the background, never on a call or a list: one loop per server version that asks, reports and asks
 * again; a failure backs off and reports too, so that the last good list is marked stale. `list_changed` asks at once.
 * Of gateways that share a store each asks when it starts and when it is told to; asking again from time to time is one's.
 */
import type { Discovery, InstanceSpec } from "../model.ts";
import type { Ports } from "../ports.ts";

export type DiscoveryEvents = {
  readonly found: (server: string, version: string, discovery: Discovery) => void;
  readonly failed: (server: string, version: string, cause: unknown) => void;
};
export type Discoverer = {
  /** Starts loops for versions that are new or stand elsewhere, ends those that are gone. Returns those that stand elsewhere. */
  readonly reconcile: (versions: readonly Versioned[]) => readonly Versioned[];
  /** Asks again soon; several wishes within the debounce are one. */
  readonly refresh: (server: string, version: string) => void;
  /** True once the version's first attempt ended or is older than two seconds: readiness waits for no slow server. */
  readonly settled: () => boolean;
  readonly close: () => void;
};
type Asking = {
  readonly ask: (server: string, version: string, signal: AbortSignal) => Promise<Discovery>;
  /** Whether to ask from time to time is this gateway's turn. */
  readonly hasTurn: () => boolean;
};
type Versioned = {
  readonly server: string;
  readonly version: string;
  /** Its instances: what they said when they stood elsewhere is no longer what they say. */
  readonly specs?: readonly InstanceSpec[];
};

const TIMEOUT_MS = 30_000;
const REFRESH_MS = 300_000;
const DEBOUNCE_MS = 100;
/** Between one answer and the next question: a server that cries change all the time is not heard all the time. */
const WISH_PAUSE_MS = 1_000;
const BACKOFF_MS = [500, 1_000, 2_000, 5_000, 15_000, 30_000] as const;
const SETTLE_MS = 2_000;

export function createDiscoverer(asking: Asking, events: DiscoveryEvents, ports: Ports): Discoverer {
  const loops = new Map<string, Loop>();
  const places = new Map<string, string>();
  const end = (id: string): void => {
    loops.get(id)?.end();
    loops.delete(id);
    places.delete(id);
  };
  return {
    reconcile: (versions) => {
      const wanted = new Map(versions.map((one) => [idOf(one), one]));
      const moved = [...wanted.values()].filter((one) => (places.get(idOf(one)) ?? placeOf(one)) !== placeOf(one));
      for (const id of [...loops.keys()]) if (!wanted.has(id)) end(id);
      for (const one of moved) end(idOf(one));
      for (const [id, one] of wanted) {
        places.set(id, placeOf(one));
        if (!loops.has(id)) loops.set(id, startLoop(one, { ...asking, events }, ports));
      }
      return moved;
    },
    refresh: (server, version) => loops.get(idOf({ server, version }))?.refresh(),
    settled: () => [...loops.values()].every((loop) => loop.settled()),
    close: () => {
      for (const id of [...loops.keys()]) end(id);
    },
  };
}

function placeOf({ specs = [] }: Versioned): string {
  return JSON.stringify(specs);
}

function idOf({ server, version }: Versioned): string {
  return `${server}@${version}`;
}

type Loop = { readonly refresh: () => void; readonly settled: () => boolean; readonly end: () => void };

function startLoop(
  { server, version }: Versioned,
  { ask, hasTurn, events }: Asking & { readonly events: DiscoveryEvents },
  { clock, random }: Ports,
): Loop {
  const bornMs = clock.monotonicMs();
  let timer: NodeJS.Timeout | undefined;
  let asking: AbortController | null = null;
  let wished = false;
  let failures = 0;
  let tried = false;
  let ended = false;
  let answeredMs = Number.NEGATIVE_INFINITY;

  const schedule = (delayMs: number): void => {
    clearTimeout(timer);
    timer = setTimeout(() => void run(), delayMs);
  };
  const run = async (): Promise<void> => {
    if (tried && failures === 0 && !wished && !hasTurn()) return schedule(REFRESH_MS);
    wished = false;
    asking = new AbortController();
    try {
      const discovery = await inTime(asking, (signal) => ask(server, version, signal));
      // an answer that comes after the version is gone would put it back in force
      if (!ended) events.found(server, version, discovery);
      failures = 0;
    } catch (cause) {
      if (!ended) events.failed(server, version, cause);
      failures++;
    }
    asking = null;
    tried = true;
    answeredMs = clock.monotonicMs();
    if (ended) return;
    const pause = BACKOFF_MS[Math.min(failures, BACKOFF_MS.length) - 1] ?? REFRESH_MS;
    schedule(wished ? WISH_PAUSE_MS : pause * (0.75 + random.fraction() / 2));
  };
  void run();
  return {
    // a wish while an answer is awaited may mean what that answer no longer tells: it is kept, and asked after it
    refresh: () => {
      if (!wished && asking === null) schedule(Math.max(DEBOUNCE_MS, answeredMs + WISH_PAUSE_MS - clock.monotonicMs()));
      wished = true;
    },
    settled: () => tried || clock.monotonicMs() - bornMs >= SETTLE_MS,
    end: () => {
      ended = true;
      clearTimeout(timer);
      asking?.abort();
    },
  };
}

async function inTime<Value>(stop: AbortController, task: (signal: AbortSignal) => Promise<Value>): Promise<Value> {
  const deadline = setTimeout(() => stop.abort(), TIMEOUT_MS);
  try {
    return await task(stop.signal);
  } finally {
    clearTimeout(deadline);
  }
}
