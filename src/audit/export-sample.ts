/**
 * Which records does a dashboard get, where it does not want all? Those of a share of the traces, chosen by trace id, so
 * that a trace is whole or not there, whoever samples; and whatever failed or was refused. The audit is never sampled.
 */
import type { RecordedSpan } from "./span.ts";

/** By the last seven bytes of the id, the random ones, as OpenTelemetry's samplers do: what 10 % shows, 20 % shows too. */
export function isSampled({ traceId, status }: RecordedSpan, share: number): boolean {
  if (share >= 1 || status === "error") return true;
  return Number.parseInt(traceId.slice(-14), 16) < share * 2 ** 56;
}
