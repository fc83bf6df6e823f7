/**
 * Does a tool answer? A breaker for each and each tenant: one that fails or runs into its deadline again and again, on
 * instances that otherwise answer, is not called for a while, so that it does not use up its server. What surprises: here
 * a caller's call is the probe, for nothing else can try a tool; so no tenant can shut a tool for another by what it asks.
 */
import { Refusal } from "../refusal.ts";
import { admit, newBreaker, open, report } from "./breaker.ts";
import type { Breaker, Pass, Verdict } from "./breaker.ts";

export type Tools = {
  /** @throws Refusal upstream_unavailable while the tool is not called */
  readonly admit: (tool: string, tenant: string) => Use;
  /** The same before it waits for a turn: takes nothing. @throws as `admit` */
  readonly look: (tool: string, tenant: string) => void;
  /** `pauseMs`: how long the server wants to be left alone with it. */
  readonly report: (use: Use, verdict: Verdict, failure?: { readonly pauseMs: number | null }) => void;
  /** Those that are not called, for one tenant or more. */
  readonly open: () => readonly string[];
};
/** One call's use of a tool. */
export type Use = { readonly tool: ToolState; readonly turn: Turn; readonly pass: Pass };
/** What an answer takes, over all instances; null before the first. */
type ToolState = { usualMs: number | null };
type Turn = { readonly name: string; readonly breaker: Breaker; pauses: number; failedMs: number };

/** Each try takes its whole time. */
const PAUSE_FIRST_MS = 5000;
/** Of one that fails at once, and may be well as soon as its server is. */
const PAUSE_FAILED_MS = 500;
const PAUSE_MAX_MS = 60_000;
/** Failures within so long are one: an instance that dies takes all with it that are under way there. */
const BURST_MS = 200;
/** A server that names its tools anew each hour must not fill the memory. */
const TOOLS_MAX = 10_000;

export function createTools(failuresMax: () => number, nowMs: () => number): Tools {
  const tools = new Map<string, ToolState>();
  const turns = new Map<string, Turn>();
  return {
    admit: (name, tenant) => {
      const tool = kept(tools, name, newTool);
      const turn = kept(turns, `${tenant}\n${name}`, () => ({ ...NEW_TURN, name, breaker: newBreaker() }));
      const pass = admit(turn.breaker, nowMs());
      if (pass === null) throw unanswering(turn.breaker.untilMs - nowMs());
      return { tool, turn, pass };
    },
    look: (name, tenant) => {
      const breaker = turns.get(`${tenant}\n${name}`)?.breaker;
      if (breaker === undefined || breaker.state === "closed") return;
      if (breaker.state === "half_open" || nowMs() < breaker.untilMs) throw unanswering(breaker.untilMs - nowMs());
    },
    report: ({ turn, pass }, verdict, failure) => {
      if (verdict === "worked") turn.pauses = 0;
      const wantedMs = failure?.pauseMs ?? 0;
      const isBurst = failure !== undefined && wantedMs === 0 && nowMs() - turn.failedMs < BURST_MS;
      if (failure !== undefined && !isBurst) turn.failedMs = nowMs();
      if (isBurst && pass === "call") return;
      if (!report(turn.breaker, pass, verdict, wantedMs > 0 ? 1 : failuresMax())) return;
      const firstMs = failure === undefined ? PAUSE_FIRST_MS : PAUSE_FAILED_MS;
      open(turn.breaker, nowMs() + Math.max(wantedMs, Math.min(firstMs * 2 ** turn.pauses++, PAUSE_MAX_MS)));
    },
    open: () => {
      const shut = [...turns.values()].filter(({ breaker }) => breaker.state !== "closed");
      return [...new Set(shut.map(({ name }) => name))];
    },
  };
}

const NEW_TURN = { pauses: 0, failedMs: Number.NEGATIVE_INFINITY };

function newTool(): ToolState {
  return { usualMs: null };
}

function kept<Value>(all: Map<string, Value>, key: string, make: () => Value): Value {
  const known = all.get(key);
  if (known !== undefined) return known;
  if (all.size >= TOOLS_MAX) all.clear();
  const value = make();
  all.set(key, value);
  return value;
}

function unanswering(leftMs: number): Refusal {
  const message = "The tool fails or does not answer in time, again and again.";
  return new Refusal("upstream_unavailable", message, { retryAfterMs: Math.max(leftMs, 1000) });
}
