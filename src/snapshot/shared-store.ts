/**
 * What several gateways share, over what each has on its own disk: the log of changes, the discoveries, whose turn it is to
 * discover. What surprises: nothing waits for Redis but a change. What is in force goes on without it, and what was
 * discovered meanwhile is told afterwards; the definition that anybody saw first stays the accepted one.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { holdLease } from "../lease.ts";
import type { JsonObject } from "../model.ts";
import type { Clock, Ports } from "../ports.ts";
import { Refusal } from "../refusal.ts";
import { dangersOf, dialRedis } from "../redis.ts";
import { sharedDiscoveries } from "./shared-discoveries.ts";
import type { Agreed, SharedDiscoveries } from "./shared-discoveries.ts";
import { createSharedLog } from "./shared-log.ts";
import type { SharedLog } from "./shared-log.ts";
import { faultOf, FAULTS, watchFaults, watchHeard } from "./shared-fault.ts";
import type { Faults, Heard } from "./shared-fault.ts";
import { sharedRegistrations } from "./shared-registrations.ts";
import type { SharedRegistrations } from "./shared-registrations.ts";
import { sharedSidecars } from "./shared-sidecars.ts";
import type { SharedSidecars } from "./shared-sidecars.ts";
import { StoreFault } from "./store.ts";
import type { Local, Peers, Store } from "./store.ts";

export type SharedOptions = {
  /** May hold a password: it is never logged. */
  readonly url: string;
  readonly agreed: Agreed;
  /** Whether it is a change that this version knows. */
  readonly understood: (change: JsonObject) => boolean;
  readonly commandMs?: number;
  readonly pollMs?: number;
};

const COMMAND_MS = 1_000;
/** A change made elsewhere is in force here within a second. */
const POLL_MS = 250;
/** A gateway that knows nothing yet cannot begin without the others. */
const FIRST_MS_MAX = 10_000;
const START_MS_MAX = 1_000;

/** @throws StoreFault where Redis holds another history, or what is not understood or no answer, and nothing is known here */
export async function shareStore(
  local: Local,
  options: SharedOptions,
  ports: Pick<Ports, "clock" | "log" | "random">,
): Promise<Store> {
  const { url, agreed, understood, commandMs = COMMAND_MS, pollMs = POLL_MS } = options;
  const { clock, log: say } = ports;
  const client = dialRedis(url, commandMs, clock);
  const told = createTold();
  const log = createSharedLog(
    client,
    { local, commandMs, understood, heard: told.heard, changed: told.changed },
    ports,
  );
  const found = sharedDiscoveries(client, { local, agreed, found: told.found });
  const lease = holdLease(client, { job: "discover" }, ports);
  const inLine = createLine();
  const heard = watchHeard(local, clock);
  const faults = watchFaults(say);
  const sidecars = sharedSidecars(client, { clock, nowMs: () => log.redisMs(clock.nowMs()) });
  const registrations = sharedRegistrations(client, { local, syncAll: () => catchUp() }, ports);
  const { sync, catchUp } = syncing({ log, found, told, sidecars, registrations, heard, faults }, inLine);
  const stop = async (): Promise<void> => {
    await lease.close();
    client.disconnect();
    local.close();
  };
  const known = local.changes().length > 0 || !heard.never();
  await begun(sync, { waitMs: known ? START_MS_MAX : FIRST_MS_MAX, clock });
  const wrong = faults.now();
  if (wrong === "diverged" || (wrong !== null && !known)) {
    await stop();
    throw new StoreFault(wrong === "away" ? NOTHING_KNOWN : FAULTS[wrong]);
  }
  const poll = startPolling(sync, pollMs);
  return {
    ...local,
    append: (entry, expected) => inLine(() => log.append(entry, expected)),
    catchUp,
    follow: told.follow,
    sidecars: sidecars.others,
    saveDiscovery: found.save,
    registrations,
    hasTurn: lease.held,
    stamp: (nowMs) => local.stamp(log.redisMs(nowMs)),
    silentMs: heard.silentMs,
    fault: () => {
      const fault = faults.now();
      return local.fault() ?? (fault === null ? null : FAULTS[fault]);
    },
    // a Redis that does not say how it is set up may be well all the same
    dangers: () => dangersOf(client, "changes").catch(() => []),
    close: async () => {
      poll.stop();
      await inLine(() => Promise.resolve());
      await stop();
    },
  };
}

type Synced = {
  readonly log: Pick<SharedLog, "sync">;
  readonly found: Pick<SharedDiscoveries, "sync">;
  readonly told: Pick<Peers, "sidecars">;
  readonly sidecars: SharedSidecars;
  readonly registrations: Pick<SharedRegistrations, "sync">;
  readonly heard: Heard;
  readonly faults: Faults;
};

function syncing(
  { log, found, told, sidecars, registrations, heard, faults }: Synced,
  inLine: Line,
): Pick<Store, "catchUp"> & { sync: Store["catchUp"] } {
  const look = async (): Promise<void> => {
    try {
      await log.sync();
      await found.sync();
      await registrations.sync();
      await sidecars.sync(told.sidecars());
      heard.now();
      faults.none();
    } catch (cause) {
      faults.found(cause);
      throw cause;
    }
  };
  const sync = (): Promise<void> => inLine(look);
  const refusalOf = (cause: unknown): Refusal =>
    faults.now() === "away"
      ? new Refusal("upstream_unavailable", "The shared store does not answer: nothing can be changed now.", { cause })
      : new Refusal("conflict", "The shared store holds other changes than this gateway: `doctor` says more.", {
          cause,
        });
  let next: Promise<void> | null = null;
  return {
    sync,
    // however many wait for the line, one look serves them all
    catchUp: () => {
      next ??= inLine(() => {
        next = null;
        return look();
      });
      return next.catch((cause: unknown) => {
        throw refusalOf(cause);
      });
    },
  };
}

const NOTHING_KNOWN = "the shared store does not answer, and nothing of it is known here: is Redis running?";

/** Until Redis answers, or for so long. */
async function begun(
  sync: () => Promise<void>,
  { waitMs, clock }: { readonly waitMs: number; readonly clock: Clock },
): Promise<void> {
  for (const endMs = clock.monotonicMs() + waitMs; ; await sleep(POLL_MS)) {
    const fault = await sync().then(
      () => null,
      (cause: unknown) => cause,
    );
    if (fault === null || faultOf(fault) !== "away" || clock.monotonicMs() > endMs) return;
  }
}

/** What came before anybody listened is told first. */
function createTold(): Peers & { readonly follow: Store["follow"] } {
  const early: ((peers: Peers) => void)[] = [];
  let peers: Peers | null = null;
  const tell = (say: (peers: Peers) => void): void => void (peers === null ? early.push(say) : say(peers));
  return {
    heard: (entries) => tell((one) => one.heard(entries)),
    changed: (entries) => tell((one) => one.changed(entries)),
    found: (id, discovered) => tell((one) => one.found(id, discovered)),
    sidecars: () => peers?.sidecars() ?? [],
    follow: (listener) => {
      peers = listener;
      for (const say of early.splice(0)) say(listener);
    },
  };
}

type Line = <Value>(task: () => Promise<Value>) => Promise<Value>;

/** One after another: a poll must not meet an append half done. */
function createLine(): Line {
  let last: Promise<unknown> = Promise.resolve();
  return (task) => {
    const done = last.then(task, task);
    last = done.catch(() => undefined);
    return done;
  };
}

function startPolling(sync: () => Promise<void>, pollMs: number): { readonly stop: () => void } {
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  const poll = async (): Promise<void> => {
    // whoever reads the fault says what is wrong
    await sync().catch(() => undefined);
    if (!stopped) timer = setTimeout(() => void poll(), pollMs);
  };
  void poll();
  return {
    stop: () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
