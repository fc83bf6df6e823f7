/**
 * May a call be sent again? Out of a budget: a tenth of the calls of the last seconds, and a few more so that a server
 * that is seldom called has one. When everything fails, that is all that is added to the load.
 */
export type Budget = {
  /** A call was sent. */
  readonly deposit: () => void;
  /** True if it may be sent again. */
  readonly withdraw: () => boolean;
};

const SHARE = 0.1;
const RETRIES_PER_S = 5;
/** After so long what was not used is forgotten, but for a third. */
const DECAY_MS = 10_000;

export function createBudget(nowMs: () => number): Budget {
  /** What it comes to without calls: refill and decay in balance. */
  const rest = (RETRIES_PER_S * DECAY_MS) / 1000;
  let tokens = rest;
  let atMs = nowMs();
  const settle = (): void => {
    const now = nowMs();
    tokens = rest + (tokens - rest) * Math.exp((atMs - now) / DECAY_MS);
    atMs = now;
  };
  return {
    deposit: () => {
      settle();
      tokens += SHARE;
    },
    withdraw: () => {
      settle();
      if (tokens < 1) return false;
      tokens--;
      return true;
    },
  };
}
