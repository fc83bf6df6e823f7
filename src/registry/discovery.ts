/**
 * Discovery runs in the background, never on a call or a list: one loop per server version that asks, reports and asks
 * again; a failure backs off and reports too, so that the last good list is marked stale. `list_changed` asks at once.
 */
import type { Discovery } from "../model.ts";
import type { Ports } from "../ports.ts";

export type DiscoveryEvents = {
  readonly found: (server: string, version: string, discovery: Discovery) => void;
  readonly failed: (server: string, version: string, cause: unknown) => void;
};
export type Discoverer = {
  /** Starts loops for versions that are new, ends those that are gone. */
  readonly reconcile: (versions: readonly { readonly server: string; readonly version: string }[]) => void;
  /** Asks again soon; several wishes within the debounce are one. */
  readonly refresh: (server: string, version: string) => void;
  /** True once the version's first attempt ended or is older than two seconds: readiness waits for no slow server. */
  readonly settled: () => boolean;
  readonly close: () => void;
};
type Ask = (server: string, version: string, signal: AbortSignal) => Promise<Discovery>;

const TIMEOUT_MS = 30_000;
const REFRESH_MS = 300_000;
const DEBOUNCE_MS = 100;
const BACKOFF_MS = [500, 1_000, 2_000, 5_000, 15_000, 30_000] as const;
const SETTLE_MS = 2_000;

type Loop = {
  readonly server: string;
  readonly version: string;
  readonly bornMs: number;
  stop: AbortController;
  timer: NodeJS.Timeout | null;
  asking: boolean;
  again: boolean;
  failures: number;
  done: boolean;
};

export function createDiscoverer(ask: Ask, events: DiscoveryEvents, { clock, random }: Ports): Discoverer {
  const loops = new Map<string, Loop>();
  const schedule = (loop: Loop, delayMs: number): void => {
    if (loop.timer !== null) clearTimeout(loop.timer);
    loop.timer = setTimeout(() => void run(loop), delayMs);
  };
  const run = async (loop: Loop): Promise<void> => {
    if (loop.asking) {
      loop.again = true;
      return;
    }
    loop.asking = true;
    const deadline = setTimeout(() => loop.stop.abort(), TIMEOUT_MS);
    try {
      const discovery = await ask(loop.server, loop.version, loop.stop.signal);
      if (loops.get(idOf(loop)) === loop) events.found(loop.server, loop.version, discovery);
      loop.failures = 0;
    } catch (cause) {
      if (loops.get(idOf(loop)) === loop) events.failed(loop.server, loop.version, cause);
      loop.failures++;
      loop.stop = new AbortController();
    } finally {
      clearTimeout(deadline);
      loop.asking = false;
      loop.done = true;
      const backoff = BACKOFF_MS[Math.min(loop.failures, BACKOFF_MS.length) - 1] ?? REFRESH_MS;
      if (loops.get(idOf(loop)) === loop) schedule(loop, loop.again ? 0 : backoff * (0.75 + random.fraction() / 2));
      loop.again = false;
    }
  };
  const end = (loop: Loop): void => {
    loops.delete(idOf(loop));
    if (loop.timer !== null) clearTimeout(loop.timer);
    loop.stop.abort();
  };
  return {
    reconcile: (versions) => {
      const wanted = new Set(versions.map(idOf));
      for (const loop of [...loops.values()]) if (!wanted.has(idOf(loop))) end(loop);
      for (const { server, version } of versions) {
        if (loops.has(idOf({ server, version }))) continue;
        const loop: Loop = {
          server,
          version,
          bornMs: clock.monotonicMs(),
          stop: new AbortController(),
          timer: null,
          asking: false,
          again: false,
          failures: 0,
          done: false,
        };
        loops.set(idOf(loop), loop);
        void run(loop);
      }
    },
    refresh: (server, version) => {
      const loop = loops.get(idOf({ server, version }));
      if (loop !== undefined) schedule(loop, DEBOUNCE_MS);
    },
    settled: () => [...loops.values()].every((loop) => loop.done || clock.monotonicMs() - loop.bornMs >= SETTLE_MS),
    close: () => {
      for (const loop of [...loops.values()]) end(loop);
    },
  };
}

function idOf({ server, version }: { readonly server: string; readonly version: string }): string {
  return `${server}@${version}`;
}
