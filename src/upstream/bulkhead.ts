/**
 * How many calls may a server have at one moment? So many, and a bounded queue behind them, so that one server that is
 * slow takes up no more than its part of the gateway. What surprises: tenants take turns in the queue, or one that
 * sends a thousand calls would have everybody else wait for all of them; and where the queue is full, the newest call of
 * whoever has most in it gives way, or such a tenant would have it to itself.
 */
import { Refusal } from "../refusal.ts";
import type { Exchange } from "./connection.ts";

export type Bulkhead = {
  readonly running: () => number;
  readonly waiting: () => number;
  /**
   * Undefined where it may run at once; each that may is followed by one `leave`.
   * @throws Refusal upstream_unavailable when the queue is full; `exchange.gaveUp`
   */
  readonly enter: (exchange: Exchange, tenant: string) => Promise<void> | undefined;
  readonly leave: () => void;
  /** The bounds may have been raised. */
  readonly settle: () => void;
};
type Bounds = { readonly concurrency: number; readonly queue: number };
/** One who waits: goes on, or is told why not. */
type Waiter = { readonly enter: () => void; readonly refuse: (refusal: Refusal) => void };

type Queues = {
  /** By tenant; whose turn it is comes first. */
  readonly waiters: Map<string, Set<Waiter>>;
  waiting: number;
};

export function createBulkhead(bounds: () => Bounds): Bulkhead {
  const queues: Queues = { waiters: new Map(), waiting: 0 };
  let running = 0;
  const next = (): boolean => {
    const waiter = takeNext(queues);
    if (waiter === undefined) return false;
    running++;
    waiter.enter();
    return true;
  };
  const settle = (): void => {
    while (running < bounds().concurrency && next());
  };
  return {
    running: () => running,
    waiting: () => queues.waiting,
    enter: (exchange, tenant) => {
      const { concurrency, queue } = bounds();
      if (running < concurrency && queues.waiting === 0) return void running++;
      if (queues.waiting >= queue && !makeRoom(queues, tenant)) throw full();
      return wait(queues, exchange, tenant);
    },
    leave: () => {
      running--;
      settle();
    },
    settle,
  };
}

function wait(queues: Queues, exchange: Exchange, tenant: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const own = queues.waiters.get(tenant) ?? new Set();
    const waiter: Waiter = {
      enter: () => {
        exchange.stop = null;
        resolve();
      },
      refuse: (refusal) => {
        exchange.stop = null;
        queues.waiting--;
        own.delete(waiter);
        if (own.size === 0) queues.waiters.delete(tenant);
        reject(refusal);
      },
    };
    queues.waiters.set(tenant, own.add(waiter));
    queues.waiting++;
    exchange.stop = () => waiter.refuse(exchange.gaveUp ?? new Refusal("cancelled", "The call was cancelled."));
  });
}

/** Its tenant is the last in turn now. */
function takeNext(queues: Queues): Waiter | undefined {
  const [[tenant, own] = []] = queues.waiters;
  const [waiter] = own ?? [];
  if (tenant === undefined || own === undefined || waiter === undefined) return undefined;
  own.delete(waiter);
  queues.waiters.delete(tenant);
  if (own.size > 0) queues.waiters.set(tenant, own);
  queues.waiting--;
  return waiter;
}

/** False where nobody has more waiting than this tenant would have then. */
function makeRoom({ waiters }: Queues, tenant: string): boolean {
  let most = waiters.get(tenant) ?? new Set<Waiter>();
  const fair = most.size + 1;
  for (const own of waiters.values()) if (own.size > most.size) most = own;
  const newest = most.size > fair ? [...most].at(-1) : undefined;
  newest?.refuse(full());
  return newest !== undefined;
}

/** Not `overloaded`: the gateway has room, only this server has none. */
function full(): Refusal {
  return new Refusal("upstream_unavailable", "Too many calls wait for this server.", { retryAfterMs: 1000 });
}
