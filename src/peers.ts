/**
 * What did other gateways change? What they log is put in force here, in its order, each time with the policy that it needs.
 * What surprises: a revoked key does not wait for that policy; and where it cannot be had, what is in force stays, changes
 * are refused, and `doctor` says so.
 */
import type { Registration } from "./config-instance.ts";
import type { InForce } from "./inforce.ts";
import type { Operation } from "./operate.ts";
import type { Ports } from "./ports.ts";
import type { Discovered } from "./registry/catalogue.ts";
import type { Change } from "./registry/changes.ts";
import type { Follower } from "./snapshot/follower.ts";
import type { Logged, Store } from "./snapshot/store.ts";

export type Peers = {
  /** What others changed by now is in force. @throws Refusal upstream_unavailable, conflict */
  readonly caughtUp: () => Promise<void>;
  /** Null, or why what they changed is not in force here. */
  readonly fault: () => string | null;
  readonly close: () => void;
};
/** Those that registered themselves, wherever they did, are in force here; `ended`: of one that was not heard any more. */
export function followRegistrations(
  { inForce, store, operation }: Pick<Parts, "inForce" | "store" | "operation">,
  ended: (one: Registration) => void,
): void {
  store.registrations.follow({
    moved: (all) => {
      inForce.register(all);
      operation.reconcile();
    },
    ended,
  });
}

type Parts = {
  readonly inForce: InForce;
  readonly store: Store;
  readonly operation: Pick<Operation, "exclusive" | "policyAfter" | "reconcile">;
  /** Who follows this one. */
  readonly sidecars: () => readonly Follower[];
  /** Without a word of the others for so long, every call is refused. */
  readonly maxSilentMs: number;
};

const AGAIN_MS = 1_000;

export function followPeers(
  { inForce, store, operation, sidecars, maxSilentMs }: Parts,
  { log }: Pick<Ports, "log">,
): Peers {
  const waiting: Logged[] = [];
  let fault: string | null = null;
  let taking: Promise<void> = Promise.resolve();
  let halted = false;
  const take = async (): Promise<void> => {
    const entries = [...waiting];
    if (entries.length === 0) return;
    const policy = await operation.policyAfter(entries.map(({ change }) => change as unknown as Change));
    await inForce.take(entries, policy);
    waiting.splice(0, entries.length);
    operation.reconcile();
    fault = null;
  };
  const takeAll = (): void => {
    // a reload meanwhile would decide on another file than the policy was made for
    taking = taking
      .then(() => operation.exclusive(take))
      .catch((cause: unknown) => {
        if (fault === null) log.error({ err: cause }, "what another gateway changed cannot be put in force");
        fault = "what another gateway changed cannot be put in force here: the log says why";
      });
  };
  store.follow({
    changed: (entries) => {
      // those that came before anybody followed are in force since the start
      const fresh = entries.filter(({ revision }) => revision > inForce.changeRevision());
      waiting.push(...fresh);
      takeAll();
    },
    heard: inForce.takeKeys,
    sidecars,
    found: (id, discovered) => inForce.told(id, discovered as unknown as Discovered),
  });
  const watch = (): void => {
    const silent = store.silentMs() > maxSilentMs;
    if (silent === halted) return;
    halted = silent;
    if (silent) log.error({}, "the shared store was not heard for too long: every call is refused");
    inForce.halt(silent);
  };
  // before the first call: what was known when the process ended may be too old by now
  watch();
  const timer = setInterval(() => {
    if (waiting.length > 0) takeAll();
    watch();
  }, AGAIN_MS).unref();
  return {
    caughtUp: async () => {
      await store.catchUp();
      await taking;
    },
    fault: () => fault,
    close: () => clearInterval(timer),
  };
}
