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

export function createBulkhead(bounds: () => Bounds): Bulkhead {
  /** Whose turn it is comes first. */
  const queues = new Map<string, Set<Waiter>>();
  let running = 0;
  let waiting = 0;
  const wait = (exchange: Exchange, tenant: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const queue = queues.get(tenant) ?? new Set();
      queues.set(tenant, queue);
      const waiter: Waiter = {
        enter: () => {
          exchange.stop = null;
          resolve();
        },
        refuse: (refusal) => {
          exchange.stop = null;
          waiting--;
          queue.delete(waiter);
          if (queue.size === 0) queues.delete(tenant);
          reject(refusal);
        },
      };
      queue.add(waiter);
      waiting++;
      exchange.stop = () => waiter.refuse(exchange.gaveUp ?? new Refusal("cancelled", "The call was cancelled."));
    });
  /** False where nobody has more than this tenant would have then. */
  const makeRoom = (tenant: string): boolean => {
    const most = [...queues.values()].reduce((one, other) => (other.size > one.size ? other : one), new Set<Waiter>());
    const newest = most.size > (queues.get(tenant)?.size ?? 0) + 1 ? [...most].at(-1) : undefined;
    newest?.refuse(full());
    return newest !== undefined;
  };
  const next = (): boolean => {
    const [[tenant, queue] = []] = queues;
    const [waiter] = queue ?? [];
    if (tenant === undefined || queue === undefined || waiter === undefined) return false;
    queue.delete(waiter);
    queues.delete(tenant);
    if (queue.size > 0) queues.set(tenant, queue);
    waiting--;
    running++;
    waiter.enter();
    return true;
  };
  const settle = (): void => {
    while (running < bounds().concurrency && next());
  };
  return {
    running: () => running,
    waiting: () => waiting,
    enter: (exchange, tenant) => {
      const { concurrency, queue } = bounds();
      if (running < concurrency && waiting === 0) return void running++;
      if (waiting >= queue && !makeRoom(tenant)) throw full();
      return wait(exchange, tenant);
    },
    leave: () => {
      running--;
      settle();
    },
    settle,
  };
}

/** Not `overloaded`: the gateway has room, only this server has none. */
function full(): Refusal {
  return new Refusal("upstream_unavailable", "Too many calls wait for this server.", { retryAfterMs: 1000 });
}
