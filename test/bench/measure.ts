/** One measurement of one target: so many connections for so long; what it cost the process that was measured. */
import { cpuMicros } from "./process.ts";
import type { Load } from "./process.ts";
import { MARKER } from "./targets.ts";

export type Target = {
  readonly name: string;
  readonly port: number;
  /** Of the process that stands between; null where nothing does. */
  readonly pid: number | null;
  readonly requests: readonly string[];
  readonly marker?: string;
};
export type Sample = {
  readonly cpuMicrosPerCall: number;
  readonly callsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly calls: number;
};
export type Span = { readonly connections: number; readonly durationMs: number; readonly callsMax?: number };

/** @throws Error if a single call failed: a figure over failures means nothing */
export async function sample(load: Load, target: Target, span: Span): Promise<Sample> {
  const before = target.pid === null ? 0 : cpuMicros(target.pid);
  const { port, requests, marker = MARKER } = target;
  const { connections, durationMs, callsMax = Number.MAX_SAFE_INTEGER } = span;
  const result = await load.run({ port, requests, marker, connections, durationMs, callsMax });
  const used = target.pid === null ? 0 : cpuMicros(target.pid) - before;
  const { calls, failures, firstFailure } = result;
  if (failures > 0 || calls === 0) {
    throw new Error(`${target.name}: ${failures} of ${calls} calls failed, the first with: ${firstFailure}`);
  }
  const { p50Ms, p99Ms } = result;
  return { cpuMicrosPerCall: used / calls, callsPerSecond: calls / result.seconds, p50Ms, p99Ms, calls };
}

/** Until the compiler has seen enough of it: the first calls cost three times the later ones. */
export async function warm(
  load: Load,
  target: Target,
  size: { readonly calls: number; readonly ms: number },
): Promise<void> {
  await sample(load, target, { connections: 64, durationMs: size.ms, callsMax: size.calls });
}

/** The middle one of the samples, each figure by itself. */
export function median(samples: readonly Sample[]): Sample {
  const of = (figure: keyof Sample) => middle(samples.map((one) => one[figure]));
  return {
    cpuMicrosPerCall: of("cpuMicrosPerCall"),
    callsPerSecond: of("callsPerSecond"),
    p50Ms: of("p50Ms"),
    p99Ms: of("p99Ms"),
    calls: of("calls"),
  };
}

export function middle(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[half - 1] ?? Number.NaN)) / 2;
}
