/** What a call costs, from a direct one to one with everything on. */
import { redisServer } from "../support/parts.ts";
import type { Part } from "../support/parts.ts";
import { startGateway } from "./gateways.ts";
import type { Bench, Effort } from "./gateways.ts";
import { median, middle, sample, warm } from "./measure.ts";
import type { Sample, Target } from "./measure.ts";
import { residentMb, startNode } from "./process.ts";
import { allOn, callerKey, echoCall, nothingOn } from "./targets.ts";
import type { Configured } from "./targets.ts";

export type Row = {
  readonly name: string;
  readonly single: Sample;
  readonly many: Sample;
  /** CPU per call over the bare proxy's in the same round, the middle one of all rounds; 64 connections. */
  readonly cpuOverBare: number;
  readonly residentMb: number | null;
};

const BARE = "bare proxy";

/** Every target started and warm, then one at a time in rounds: a slow minute of the machine hits all of them. */
export async function callPath({ load, upstream, effort }: Bench): Promise<readonly Row[]> {
  const stops: (() => Promise<unknown>)[] = [];
  try {
    const targets = await startTargets(upstream, effort, stops);
    for (const target of targets) await warm(load, target, effort.warm);
    const samples = targets.map((target) => ({ target, single: [] as Sample[], many: [] as Sample[] }));
    for (let round = 0; round < effort.rounds; round++) {
      for (const { target, single, many } of samples) {
        many.push(await sample(load, target, { connections: 64, durationMs: effort.manyMs }));
        single.push(await sample(load, target, { connections: 1, durationMs: effort.singleMs }));
      }
    }
    const bare = samples.find(({ target }) => target.name === BARE)?.many ?? [];
    return samples.map(({ target, single, many }) => ({
      name: target.name,
      single: median(single),
      many: median(many),
      cpuOverBare: middle(many.map((one, at) => one.cpuMicrosPerCall / (bare[at]?.cpuMicrosPerCall ?? Number.NaN))),
      residentMb: target.pid === null ? null : residentMb(target.pid),
    }));
  } finally {
    for (const stop of stops.toReversed()) await stop();
  }
}

async function startTargets(
  upstream: Part,
  effort: Effort,
  stops: (() => Promise<unknown>)[],
): Promise<readonly Target[]> {
  const direct = {
    name: "direct",
    port: upstream.port,
    pid: null,
    requests: [echoCall("/tools/10/bench", "echo", null)],
  };
  const bare = await startNode("measured", "bare-proxy.ts", [`http://127.0.0.1:${upstream.port}`]);
  stops.push(bare.stop);
  const redis = await redisServer();
  stops.push(redis.stop);
  const call = echoCall("/mcp/bench", "echo", callerKey.text);
  const configs: readonly (readonly [name: string, config: Configured, request: string])[] = [
    ["nothing on", nothingOn(upstream.port), echoCall("/mcp/bench", "plain", null)],
    ["all on, write, memory", allOn(upstream.port, "write", null), call],
    ["all on, fsync, Redis", allOn(upstream.port, "fsync", redis.url), call],
    ["all on, fsync, memory", allOn(upstream.port, "fsync", null), call],
    ["all on, write, Redis", allOn(upstream.port, "write", redis.url), call],
  ];
  const targets: Target[] = [direct, { ...direct, name: BARE, port: bare.port, pid: bare.pid }];
  for (const [name, config, request] of effort.quick ? configs.slice(0, 3) : configs) {
    const gateway = await startGateway(config);
    stops.push(gateway.stop);
    targets.push({ name, port: gateway.port, pid: gateway.pid, requests: [request] });
  }
  return targets;
}
