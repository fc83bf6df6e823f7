/**
 * Does a tool answer in time? A breaker for each: one that runs into its deadline again and again, on instances that
 * otherwise answer, is not called for a while, so that it does not use up its server. What surprises: here a caller's
 * call is the probe, for nothing else can try a tool.
 */
import { Refusal } from "../refusal.ts";
import { admit, newBreaker, open, report } from "./breaker.ts";
import type { Breaker, Pass, Verdict } from "./breaker.ts";

export type Tools = {
  /** @throws Refusal upstream_unavailable while the tool is not called */
  readonly admit: (tool: string) => Use;
  readonly report: (use: Use, verdict: Verdict) => void;
  /** Those that are not called. */
  readonly open: () => readonly string[];
};
/** One call's use of a tool. */
export type Use = { readonly tool: ToolState; readonly pass: Pass };
type ToolState = {
  readonly breaker: Breaker;
  pauses: number;
  /** What an answer takes, over all instances; null before the first. */
  usualMs: number | null;
};

const PAUSE_FIRST_MS = 5000;
const PAUSE_MAX_MS = 60_000;
/** A server that names its tools anew each hour must not fill the memory. */
const TOOLS_MAX = 10_000;

export function createTools(failuresMax: () => number, nowMs: () => number): Tools {
  const tools = new Map<string, ToolState>();
  return {
    admit: (name) => {
      const tool = stateOf(tools, name);
      const pass = admit(tool.breaker, nowMs());
      if (pass === null) throw unanswering(tool.breaker.untilMs - nowMs());
      return { tool, pass };
    },
    report: ({ tool, pass }, verdict) => {
      if (verdict === "worked") tool.pauses = 0;
      if (!report(tool.breaker, pass, verdict, failuresMax())) return;
      open(tool.breaker, nowMs() + Math.min(PAUSE_FIRST_MS * 2 ** tool.pauses++, PAUSE_MAX_MS));
    },
    open: () => [...tools].filter(([, { breaker }]) => breaker.state !== "closed").map(([name]) => name),
  };
}

function stateOf(tools: Map<string, ToolState>, name: string): ToolState {
  const known = tools.get(name);
  if (known !== undefined) return known;
  if (tools.size >= TOOLS_MAX) tools.clear();
  const tool: ToolState = { breaker: newBreaker(), pauses: 0, usualMs: null };
  tools.set(name, tool);
  return tool;
}

function unanswering(leftMs: number): Refusal {
  const message = "The tool does not answer in time, again and again.";
  return new Refusal("upstream_unavailable", message, { retryAfterMs: Math.max(leftMs, 1000) });
}
