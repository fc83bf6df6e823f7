/** The sections of the bench. Each starts what it measures, ends it, and answers with its figures or throws. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { rmSync } from "node:fs";
import { portcullis, key, temporaryFolder } from "../support/portcullis.ts";
import type { Portcullis } from "../support/portcullis.ts";
import { redisServer } from "../support/parts.ts";
import type { Part } from "../support/parts.ts";
import { median, middle, sample, warm } from "./measure.ts";
import type { Sample, Target } from "./measure.ts";
import { pinned, residentMb, startNode } from "./process.ts";
import type { Load } from "./process.ts";
import { allOn, callerKey, echoCall, mcpRequest, nothingOn, scaled } from "./targets.ts";
import type { Scale } from "./targets.ts";

export type Effort = {
  readonly quick: boolean;
  readonly rounds: number;
  readonly warm: { readonly calls: number; readonly ms: number };
  /** One connection, and sixty-four. */
  readonly singleMs: number;
  readonly manyMs: number;
  readonly memoryCalls: number;
};
export type Bench = { readonly load: Load; readonly upstream: Part; readonly effort: Effort };
export type Row = {
  readonly name: string;
  readonly single: Sample;
  readonly many: Sample;
  readonly residentMb: number | null;
};

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
    return samples.map(({ target, single, many }) => ({
      name: target.name,
      single: median(single),
      many: median(many),
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
  const configs: readonly (readonly [name: string, config: object, request: string])[] = [
    ["nothing on", nothingOn(upstream.port), echoCall("/mcp/bench", "plain", null)],
    ["all on, write, memory", allOn(upstream.port, "write", null), call],
    ["all on, fsync, Redis", allOn(upstream.port, "fsync", redis.url), call],
    ["all on, fsync, memory", allOn(upstream.port, "fsync", null), call],
    ["all on, write, Redis", allOn(upstream.port, "write", redis.url), call],
  ];
  const targets: Target[] = [direct, { ...direct, name: "bare proxy", port: bare.port, pid: bare.pid }];
  for (const [name, config, request] of effort.quick ? configs.slice(0, 3) : configs) {
    const gateway = await startGateway(config);
    stops.push(gateway.stop);
    targets.push({ name, port: gateway.port, pid: gateway.pid, requests: [request] });
  }
  return targets;
}

/** `tools/list` of 300 tools from 10 servers: CPU per whole list, and how often an upstream was asked meanwhile. */
export async function lists({ load, upstream, effort }: Bench) {
  const gateway = await startGateway(scaled(upstream.port, { servers: 10, tools: 30, principals: 10, keys: 10 }));
  try {
    const pages = await walk(gateway, key("p0", "p0").text);
    const target = {
      name: "tools/list",
      port: gateway.port,
      pid: gateway.pid,
      requests: pages.requests,
      marker: '"tools":[',
    };
    await sample(load, target, { connections: 1, durationMs: effort.warm.ms, callsMax: 2_000 });
    const asked = await countOf(upstream);
    const { cpuMicrosPerCall, p50Ms } = await sample(load, target, { connections: 1, durationMs: effort.manyMs });
    const count = pages.requests.length;
    const upstreamCalls = (await countOf(upstream)) - asked;
    return {
      tools: pages.tools,
      pages: count,
      cpuMs: (cpuMicrosPerCall * count) / 1000,
      p50Ms: p50Ms * count,
      upstreamCalls,
    };
  } finally {
    await gateway.stop();
  }
}

const SMALL: Scale = { servers: 1, tools: 10, principals: 10, keys: 10 };
/** Not every principal has a key: the file would pass its own size limit. */
const LARGE: Scale = { servers: 50, tools: 20, principals: 10_000, keys: 1_000 };

/** What a call costs where there is much of everything, over what it costs where there is little. */
export async function scale({ load, upstream, effort }: Bench) {
  const small = await startGateway(scaled(upstream.port, SMALL));
  const large = await startGateway(scaled(upstream.port, LARGE), 60_000).catch(async (cause: unknown) => {
    await small.stop();
    throw cause;
  });
  try {
    const targets = [spread(small, SMALL), spread(large, LARGE)] as const;
    for (const target of targets) await warm(load, target, effort.warm);
    const costs: readonly [number[], number[]] = [[], []];
    for (let round = 0; round < effort.rounds * 2; round++) {
      // forth and back, so that neither is always the one measured later
      for (const at of round % 2 === 0 ? ([0, 1] as const) : ([1, 0] as const)) {
        const { cpuMicrosPerCall } = await sample(load, targets[at], { connections: 64, durationMs: effort.manyMs });
        costs[at].push(cpuMicrosPerCall);
      }
    }
    const [smallMicros, largeMicros] = [middle(costs[0]), middle(costs[1])];
    return {
      smallMicros,
      largeMicros,
      ratio: largeMicros / smallMicros,
      startMs: { small: small.startMs, large: large.startMs },
    };
  } finally {
    await large.stop();
    await small.stop();
  }
}

/** RSS after half of the calls and after all of them: flat, or does it climb? */
export async function memory({ load, upstream, effort }: Bench) {
  const gateway = await startGateway(allOn(upstream.port, "write", null));
  try {
    const target = {
      name: "memory",
      port: gateway.port,
      pid: gateway.pid,
      requests: [echoCall("/mcp/bench", "echo", callerKey.text)],
    };
    const half = { connections: 64, durationMs: 120_000, callsMax: effort.memoryCalls / 2 };
    const startMb = residentMb(gateway.pid);
    await sample(load, target, half);
    const halfwayMb = residentMb(gateway.pid);
    await sample(load, target, half);
    return { calls: effort.memoryCalls, startMb, halfwayMb, endMb: residentMb(gateway.pid) };
  } finally {
    await gateway.stop();
  }
}

/** The demo as it is shipped, on an empty data folder and again on the same one. */
export async function startUp({ effort }: Bench) {
  const config = readFileSync(join(import.meta.dirname, "../../portcullis.yaml"), "utf8").replaceAll(
    /^(listen|admin|data):.*$/gm,
    "",
  );
  const first: number[] = [];
  const cached: number[] = [];
  for (let round = 0; round < Math.min(effort.rounds, 2); round++) {
    const folder = temporaryFolder();
    try {
      for (const times of [first, cached]) {
        const gateway = await portcullis({ config, folder });
        times.push(gateway.startMs);
        await gateway.stop();
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return { firstMs: middle(first), cachedMs: middle(cached) };
}

function startGateway(config: object, readyMs = 20_000): Promise<Portcullis> {
  return portcullis({ config, prefix: pinned("measured", []), readyMs });
}

/** Every connection calls another tool of another server as another principal. */
function spread(gateway: Portcullis, size: Scale): Target {
  const requests = Array.from({ length: 64 }, (_, at) => {
    const tool = 1 + (at % (size.tools - 1));
    const id = `p${at % size.keys}`;
    return echoCall(`/mcp/s${at % size.servers}`, tool === 1 ? "echo" : `echo_${tool}`, key(id, id).text);
  });
  return { name: `${size.servers * size.tools} tools`, port: gateway.port, pid: gateway.pid, requests };
}

/** Follows `nextCursor` to the end once; the requests can then be sent again and again. */
async function walk(
  gateway: Portcullis,
  apiKey: string,
): Promise<{ readonly requests: readonly string[]; readonly tools: number }> {
  const requests: string[] = [];
  let tools = 0;
  for (let cursor: string | undefined = ""; cursor !== undefined;) {
    const request = mcpRequest("/mcp", "tools/list", cursor === "" ? {} : { cursor }, apiKey);
    requests.push(request);
    const [head = "", body = ""] = request.split("\r\n\r\n");
    const headers = Object.fromEntries(
      head
        .split("\r\n")
        .slice(1)
        .map((line) => line.split(": ") as [string, string]),
    );
    delete headers["content-length"];
    delete headers["host"];
    const answer = await fetch(`${gateway.url}/mcp`, { method: "POST", headers, body });
    const { result } = (await answer.json()) as { result?: { tools: unknown[]; nextCursor?: string } };
    if (result === undefined) throw new Error(`tools/list answered ${answer.status} without a result`);
    tools += result.tools.length;
    cursor = result.nextCursor;
  }
  return { requests, tools };
}

async function countOf(upstream: Part): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${upstream.port}/count`);
  return Number(await answer.text());
}
