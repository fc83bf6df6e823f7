/**
 * Is there room for one more? What is asked for beyond what this process can do is shed before any work, and of those who
 * ask, whoever has most of it first: a tenant under its share is taken in while another one is not. What surprises: the
 * bound on what is in flight is soft, since those under their share pass it, up to twice as much. There it is hard: shares
 * that were filled one after the other add up to more.
 */
import type { Call } from "../model.ts";
import type { Clock } from "../ports.ts";
import { Refusal } from "../refusal.ts";

export type Load = {
  /** Returns what ends its stay, to be called once. @throws Refusal overloaded */
  readonly enter: (tenant: string) => () => void;
  readonly status: () => LoadStatus;
  readonly close: () => void;
};
export type LoadStatus = {
  readonly inFlight: number;
  /** How late the event loop is, in milliseconds. */
  readonly delayMs: number;
  readonly late: boolean;
  /** Since the start. */
  readonly shed: number;
};
export type LoadOptions = {
  readonly inFlightMax: number;
  /** An event loop that is later than this is late for everybody. */
  readonly delayMsMax: number;
};
type Tenant = {
  inFlight: number;
  /** What it was given lately, as of `asOfMs`. */
  lately: number;
  asOfMs: number;
};

const LATELY_MS = 1_000;
const SWEEP_MS = 1_000;
const FORGOTTEN = 0.1;
const RETRY_AFTER_MS = 1_000;

/** Not what administers the gateway, nor what reads the audit. @throws Refusal overloaded */
export function enter(load: Load, call: Call): void {
  const { asked, operation, principal } = call;
  if (asked.interface === "trpc" || NEVER_SHED.has(operation) || principal === null) return;
  call.leave = load.enter(principal.tenant);
}

/** Nor what comes over HTTP for those who operate it; who reads the audit in the graph is asked first who it is. */
const NEVER_SHED: ReadonlySet<string> = new Set(["calls/read", "principal/read", "audit/gather", "metrics/read"]);

/** Of a call that never entered, nothing. */
export function leave(call: Call): void {
  call.leave?.();
  call.leave = null;
}

export function createLoad(
  { inFlightMax, delayMsMax }: LoadOptions,
  clock: Clock,
  delay: Delay = watchDelay(clock),
): Load {
  const tenants = new Map<string, Tenant>();
  let inFlight = 0;
  let shed = 0;
  let sweptMs = clock.monotonicMs();
  const sweep = (nowMs: number): void => {
    if (nowMs < sweptMs + SWEEP_MS) return;
    sweptMs = nowMs;
    for (const [name, one] of tenants) if (one.inFlight === 0 && decayed(one, nowMs) < FORGOTTEN) tenants.delete(name);
  };
  const isOver = (tenant: Tenant, nowMs: number): boolean => {
    if (inFlight >= 2 * inFlightMax) return true;
    if (inFlight >= inFlightMax && tenant.inFlight >= inFlightMax / busy(tenants)) return true;
    // a call at a time is no load: what makes the loop late for such a tenant is not its doing
    if (tenant.inFlight === 0 || delay.ms() <= delayMsMax) return false;
    let all = 0;
    for (const one of tenants.values()) all += decayed(one, nowMs);
    // who is alone has all of it; but nobody is shed who was given nothing
    return tenant.lately >= Math.max(all / tenants.size, 1);
  };
  return {
    enter: (name) => {
      const nowMs = clock.monotonicMs();
      sweep(nowMs);
      let tenant = tenants.get(name);
      if (tenant === undefined) tenants.set(name, (tenant = { inFlight: 0, lately: 0, asOfMs: nowMs }));
      decayed(tenant, nowMs);
      if (isOver(tenant, nowMs)) {
        shed++;
        throw new Refusal("overloaded", "The gateway has more to do than it can.", { retryAfterMs: RETRY_AFTER_MS });
      }
      tenant.lately++;
      tenant.inFlight++;
      inFlight++;
      return () => {
        tenant.inFlight--;
        inFlight--;
      };
    },
    status: () => ({ inFlight, delayMs: Math.round(delay.ms()), late: delay.ms() > delayMsMax, shed }),
    close: delay.close,
  };
}

function decayed(tenant: Tenant, nowMs: number): number {
  tenant.lately *= Math.exp((tenant.asOfMs - nowMs) / LATELY_MS);
  tenant.asOfMs = nowMs;
  return tenant.lately;
}

/** Those with something in flight, and the one that asks. */
function busy(tenants: ReadonlyMap<string, Tenant>): number {
  let count = 0;
  for (const one of tenants.values()) if (one.inFlight > 0) count++;
  return Math.max(count, 1);
}

type Delay = { readonly ms: () => number; readonly close: () => void };

const TICK_MS = 20;
/** What was late a moment ago still is, a little: one quiet tick is no recovery. */
const KEPT = 0.8;

function watchDelay(clock: Clock): Delay {
  let dueMs = clock.monotonicMs() + TICK_MS;
  let delayMs = 0;
  const timer = setInterval(() => {
    const nowMs = clock.monotonicMs();
    delayMs = Math.max(nowMs - dueMs, delayMs * KEPT, 0);
    dueMs = nowMs + TICK_MS;
  }, TICK_MS).unref();
  return {
    // also while no tick came at all
    ms: () => Math.max(delayMs, clock.monotonicMs() - dueMs),
    close: () => clearInterval(timer),
  };
}
