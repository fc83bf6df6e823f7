/**
 * How many calls may a server have at one moment? So many, and a bounded queue behind them, so that one server that is
 * slow takes up no more than its part of the gateway. What surprises: tenants take turns in the queue, or one that
 * sends a thousand calls would have everybody else wait for all of them.
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
};
type Bounds = { readonly concurrency: number; readonly queue: number };
/** Lets one who waits go on. */
type Waiter = () => void;

export function createBulkhead(bounds: () => Bounds): Bulkhead {
  /** Whose turn it is comes first. */
  const queues = new Map<string, Set<Waiter>>();
  let running = 0;
  let waiting = 0;
  const wait = (exchange: Exchange, tenant: string): Promise<void> =>
    new Promise((resolve, reject) => {
      const queue = queues.get(tenant) ?? new Set();
      queues.set(tenant, queue);
      const enter = (): void => {
        exchange.stop = null;
        resolve();
      };
      queue.add(enter);
      waiting++;
      exchange.stop = () => {
        exchange.stop = null;
        waiting--;
        queue.delete(enter);
        if (queue.size === 0) queues.delete(tenant);
        reject(exchange.gaveUp ?? new Refusal("cancelled", "The call was cancelled."));
      };
    });
  const next = (): boolean => {
    const [[tenant, queue] = []] = queues;
    const [enter] = queue ?? [];
    if (tenant === undefined || queue === undefined || enter === undefined) return false;
    queue.delete(enter);
    queues.delete(tenant);
    if (queue.size > 0) queues.set(tenant, queue);
    waiting--;
    running++;
    enter();
    return true;
  };
  return {
    running: () => running,
    waiting: () => waiting,
    enter: (exchange, tenant) => {
      const { concurrency, queue } = bounds();
      if (running < concurrency && waiting === 0) return void running++;
      if (waiting >= queue) throw full();
      return wait(exchange, tenant);
    },
    leave: () => {
      running--;
      // more than one where the bound was raised
      while (running < bounds().concurrency && next());
    },
  };
}

/** Not `overloaded`: the gateway has room, only this server has none. */
function full(): Refusal {
  return new Refusal("upstream_unavailable", "Too many calls wait for this server.", { retryAfterMs: 1000 });
}
