/**
 * Which of the instances that are fit takes the next call? Pure choice over their figures. What surprises: how slow an
 * instance is, is measured against what the same tool takes elsewhere, since tools of one server differ a thousandfold,
 * and whoever happened to get the slow one would be shunned for it.
 */
import type { Traffic } from "../config-traffic.ts";

/** What is known of one instance; changes with each call, in place. */
export type Load = {
  /** What it can take, against the others. */
  weight: number;
  inFlight: number;
  /** Peak EWMA of how long answers take, 1 being what is usual for the tool. */
  slowness: number;
  /** When that was last observed. */
  atMs: number;
  /** Calls in a row that got no answer. */
  missed: number;
  /** Round robin's account. */
  credit: number;
};
type Loaded = { readonly load: Load };
type Chance = { readonly nowMs: number; readonly fraction: () => number };

/** After so long an observation counts a third. */
const DECAY_MS = 10_000;
/** Differences of less are chance: a pause of the collector's, the scheduler's. */
const SLACK_MS = 5;
/** What a call that failed counts as: an instance that fails at once must not look fast. */
const FAILED = 20;
const FORGIVEN = 0.01;

export function newLoad(weight: number, nowMs: number): Load {
  return { weight, inFlight: 0, slowness: 1, atMs: nowMs, missed: 0, credit: 0 };
}

/** One of `fit`; null if that is empty. Of equals, whichever chance has it. */
export function choose<One extends Loaded>(balance: Traffic["balance"], fit: readonly One[], by: Chance): One | null {
  if (fit.length <= 1) return fit[0] ?? null;
  if (balance === "ewma") return betterOfTwo(fit, by);
  const taking = answering(fit, by.nowMs);
  return balance === "least" ? leastBusy(taking, by) : nextInTurn(taking);
}

/** An answer came after `tookMs`; `usualMs` is what the tool takes. A peak counts at once, what is better by and by. */
export function observe(load: Load, tookMs: number, usualMs: number, nowMs: number): void {
  load.missed = 0;
  seen(load, (tookMs + SLACK_MS) / (usualMs + SLACK_MS), nowMs);
}

export function observeFailure(load: Load, nowMs: number): void {
  load.missed++;
  seen(load, FAILED, nowMs);
}

function seen(load: Load, slowness: number, nowMs: number): void {
  const kept = Math.exp((load.atMs - nowMs) / DECAY_MS);
  load.slowness = slowness >= load.slowness ? slowness : load.slowness * kept + slowness * (1 - kept);
  load.atMs = nowMs;
}

/** An instance that is not asked is forgiven by and by, or it would never be asked again. */
export function slownessAt({ slowness, atMs }: Load, nowMs: number): number {
  const left = (slowness - 1) * Math.exp((atMs - nowMs) / DECAY_MS);
  // its last trace would decide for ever between two that idle
  return Math.abs(left) < FORGIVEN ? 1 : 1 + left;
}

const MISSED_MAX = 3;

/**
 * Without those that let call after call run out, though they answer a probe: neither in flight nor in turn would that
 * be seen. Each is tried again after some seconds; where all are like that, none is passed over.
 */
function answering<One extends Loaded>(fit: readonly One[], nowMs: number): readonly One[] {
  const isMute = ({ load }: One): boolean => load.missed >= MISSED_MAX && slownessAt(load, nowMs) > FAILED / 2;
  if (!fit.some(isMute)) return fit;
  const rest = fit.filter((one) => !isMute(one));
  return rest.length === 0 ? fit : rest;
}

function costOf(load: Load, nowMs: number): number {
  return ((load.inFlight + 1) * slownessAt(load, nowMs)) / load.weight;
}

/** Two are enough not to run after whoever was the best a moment ago, together with every other gateway. */
function betterOfTwo<One extends Loaded>(fit: readonly One[], { nowMs, fraction }: Chance): One {
  const first = Math.floor(fraction() * fit.length);
  const skipping = Math.floor(fraction() * (fit.length - 1));
  const one = fit[first] as One;
  const other = fit[skipping >= first ? skipping + 1 : skipping] as One;
  return costOf(other.load, nowMs) < costOf(one.load, nowMs) ? other : one;
}

function leastBusy<One extends Loaded>(fit: readonly One[], { fraction }: Chance): One {
  let best = fit[0] as One;
  let ties = 0;
  for (const one of fit) {
    const ahead = one.load.inFlight / one.load.weight - best.load.inFlight / best.load.weight;
    if (ahead > 0) continue;
    ties = ahead === 0 ? ties + 1 : 1;
    if (ahead < 0 || fraction() < 1 / ties) best = one;
  }
  return best;
}

/** Smooth: of weights 2 and 1, one, other, one; never one, one, other. */
function nextInTurn<One extends Loaded>(fit: readonly One[]): One {
  let next = fit[0] as One;
  let weights = 0;
  for (const one of fit) {
    weights += one.load.weight;
    one.load.credit += one.load.weight;
    if (one.load.credit > next.load.credit) next = one;
  }
  next.load.credit -= weights;
  return next;
}
