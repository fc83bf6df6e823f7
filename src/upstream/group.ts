/**
 * The instances of one server version as callers see them: one of them, or none. Holds what belongs to all of them
 * together: who is fit, how many calls run, what may be sent again, and which tools no longer answer. It lives through
 * reloads, whatever happens to its instances.
 */
import type { Traffic } from "../config-traffic.ts";
import type { Ports } from "../ports.ts";
import { Refusal } from "../refusal.ts";
import { choose } from "./balance.ts";
import { createBudget } from "./budget.ts";
import type { Budget } from "./budget.ts";
import { createBulkhead } from "./bulkhead.ts";
import type { Bulkhead } from "./bulkhead.ts";
import type { Instance } from "./instance.ts";
import { createTools } from "./tools.ts";
import type { Tools } from "./tools.ts";

export type Group = {
  readonly bulkhead: Bulkhead;
  readonly budget: Budget;
  readonly tools: Tools;
  /** Milliseconds that never jump. */
  readonly nowMs: () => number;
  readonly terms: () => Traffic;
  readonly instances: () => readonly Instance[];
  readonly adopt: (instances: readonly Instance[], terms: Traffic) => void;
  /** None of `tried`; null where no other is fit. */
  readonly pick: (tried: readonly Instance[]) => Instance | null;
  /** Why there is none to pick, and when one may be fit again. */
  readonly none: () => Refusal;
  /** Whether one that is fit no more may stay away long: enough others are fit, and not too many away already. */
  readonly mayEject: () => boolean;
  /** Whether enough others are fit to do without one. */
  readonly maySpare: () => boolean;
  /** One became fit, or unfit. */
  readonly turned: () => void;
  /** Calls that were sent again, since the start. */
  retries: number;
};

export function createGroup(first: Traffic, { clock, random }: Pick<Ports, "clock" | "random">): Group {
  let terms = first;
  let instances: readonly Instance[] = [];
  /** Those that are not drained. */
  let taking: readonly Instance[] = [];
  let fit: readonly Instance[] = [];
  const nowMs = clock.monotonicMs;
  const outliers = (): Traffic["outlierDetection"] => terms.outlierDetection;
  const sort = (): boolean => {
    fit = taking.filter(({ fitness }) => fitness.state() !== "set_aside");
    return fit.length * 100 >= outliers().panicThreshold * taking.length;
  };
  const bulkhead = createBulkhead(() => terms);
  const probeIdle = probing(() => fit, nowMs);
  const watch = watching(() => fit);
  const turned = (): void => {
    if (!sort()) for (const { fitness } of taking) fitness.hurry();
  };
  return {
    bulkhead,
    budget: createBudget(nowMs),
    tools: createTools(() => outliers().consecutiveErrors, nowMs),
    nowMs,
    terms: () => terms,
    instances: () => instances,
    adopt: (next, settings) => {
      instances = next;
      taking = next.filter(({ load }) => load.weight > 0);
      terms = settings;
      turned();
      bulkhead.settle();
      probeIdle(taking.length > 0 ? terms.probe : undefined);
      watch(taking.length > 1);
    },
    pick: (tried) => {
      const open = tried.length === 0 ? fit : fit.filter((one) => !tried.includes(one));
      return choose(terms.balance, open, { nowMs: nowMs(), fraction: random.fraction });
    },
    none: () => {
      const pauses = taking.map(({ fitness }) => fitness.pauseLeftMs());
      const detail = pauses.length === 0 ? {} : { retryAfterMs: Math.max(1000, Math.min(...pauses)) };
      return new Refusal("upstream_unavailable", "No healthy instance of the server.", detail);
    },
    mayEject: () => {
      const away = taking.filter(({ fitness }) => fitness.ejected()).length;
      const awayMax = Math.max(1, Math.floor((taking.length * outliers().maxEjectionPercent) / 100));
      return sort() && away < awayMax;
    },
    maySpare: () => fit.length > 1 && (fit.length - 1) * 100 >= outliers().panicThreshold * taking.length,
    turned,
    retries: 0,
  };
}

/** Asks those that nobody called for so long whether they answer. */
function probing(fit: () => readonly Instance[], nowMs: () => number): (everyMs: number | undefined) => void {
  let timer: NodeJS.Timeout | undefined;
  let lastMs: number | undefined;
  return (everyMs) => {
    // begun anew at each reload, it would never come to an end where those are many
    if (everyMs === lastMs) return;
    lastMs = everyMs;
    clearInterval(timer);
    if (everyMs === undefined) return;
    const probe = (): void => {
      for (const { load, look } of fit()) if (load.inFlight === 0 && load.atMs + everyMs <= nowMs()) look();
    };
    timer = setInterval(probe, everyMs).unref();
  };
}

const WATCH_MS = 500;

/**
 * Looks after those that are called and say nothing, where another can take their calls: until a deadline of theirs says so, a
 * minute may pass. One that is alone is left in peace: a server that does one thing at a time cannot answer meanwhile.
 */
function watching(fit: () => readonly Instance[]): (several: boolean) => void {
  let timer: NodeJS.Timeout | undefined;
  return (several) => {
    if (several === (timer !== undefined)) return;
    clearInterval(timer);
    timer = several ? setInterval(() => watchAll(fit()), WATCH_MS).unref() : undefined;
  };
}

function watchAll(fit: readonly Instance[]): void {
  if (fit.length > 1) for (const { watch } of fit) watch();
}
