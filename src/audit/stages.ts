/**
 * How long did each stage take, and each attempt? Numbers of the record, of which spans are drawn later: one reading of
 * the clock per stage is all that the call path pays for them.
 */
import { STAGES } from "../model.ts";
import type { Call, Stage, Try } from "../model.ts";
import type { Clock } from "../ports.ts";
import { intsAttribute, listAttribute } from "./attributes.ts";

/** The stage that the call was in ends here. */
export function enterStage(clock: Clock, call: Call, stage: Stage): void {
  call.ends[ORDER[call.stage]] = clock.monotonicMs() - call.beganMs;
  call.stage = stage;
}

const ORDER = Object.fromEntries(STAGES.map((stage, at) => [stage, at])) as { readonly [Name in Stage]: number };

const write = {
  ends: intsAttribute("portcullis.stage.ends"),
  times: intsAttribute("portcullis.attempt.times"),
  instances: listAttribute("portcullis.attempt.instances"),
  errors: listAttribute("portcullis.attempt.errors"),
} as const;

/** Attributes of a call that is over. */
export function timings(call: Call, endedMs: number, errorType: string | null): string {
  // views and changes do not count
  if (call.ends[0] === 0) return "";
  const tookMs = Math.max(endedMs - call.startedMs, 0);
  const ends: number[] = [];
  for (let at = 0; at < ORDER[call.stage]; at++) ends.push(microseconds(call.ends[at] as number));
  ends.push(microseconds(tookMs));
  return write.ends(ends) + (call.tries.length === 0 ? "" : attempts(call.tries, tookMs, errorType));
}

/** One that nobody waits for any more has no end of its own. */
function attempts(tries: readonly Try[], tookMs: number, errorType: string | null): string {
  const times: number[] = [];
  let failed = false;
  for (const { fromMs, toMs, error } of tries) {
    times.push(microseconds(fromMs), microseconds(toMs === 0 ? tookMs : toMs));
    failed ||= toMs === 0 || error !== "";
  }
  const several = tries.length === 1 ? "" : write.instances(tries.map(({ instance }) => instance));
  const errors = tries.map(({ toMs, error }) => (toMs === 0 ? (errorType ?? "") : error));
  return write.times(times) + several + (failed ? write.errors(errors) : "");
}

function microseconds(ms: number): number {
  return Math.round(ms * 1000);
}
