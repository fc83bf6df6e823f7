/**
 * Whose turn is it at what only one may use at a time? Of those who wait the tenants come round, each with the one who has
 * waited longest: nobody waits longer because another has much to do, and nobody for ever. Who goes away leaves nothing behind.
 */
export type Turns = {
  /** @throws what `work` throws; `gone` where the signal aborts before the turn comes, `late` where it does not come in time */
  readonly take: <T>(tenant: string, work: () => Promise<T>, away: Away) => Promise<T>;
};
type Away = {
  readonly signal: AbortSignal;
  readonly gone: () => Error;
  readonly waitMs: number;
  readonly late: () => Error;
};
type Go = () => void;

export function createTurns(): Turns {
  /** In the order in which the tenants come next. */
  const waiting = new Map<string, readonly Go[]>();
  let isTaken = false;
  const next = (): void => {
    const [first] = waiting;
    isTaken = first !== undefined;
    if (first === undefined) return;
    const [tenant, [go, ...others]] = first;
    waiting.delete(tenant);
    if (others.length > 0) waiting.set(tenant, others);
    go?.();
  };
  const leave = (tenant: string, go: Go): void => {
    const others = (waiting.get(tenant) ?? []).filter((one) => one !== go);
    if (others.length > 0) waiting.set(tenant, others);
    else waiting.delete(tenant);
  };
  const wait = async (tenant: string, { signal, gone, waitMs, late }: Away): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const giveUp = (why: Error): void => {
      leave(tenant, resolve);
      reject(why);
    };
    const onAbort = (): void => giveUp(gone());
    const timer = setTimeout(() => giveUp(late()), waitMs);
    waiting.set(tenant, [...(waiting.get(tenant) ?? []), resolve]);
    signal.addEventListener("abort", onAbort);
    await promise.finally(() => {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
    });
  };
  return {
    take: async (tenant, work, away) => {
      if (away.signal.aborted) throw away.gone();
      if (isTaken) await wait(tenant, away);
      isTaken = true;
      try {
        return await work();
      } finally {
        next();
      }
    },
  };
}
