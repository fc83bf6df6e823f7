/** The other sections of the bench. Each starts what it measures, ends it, and answers with its figures or throws. */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { checkBytes, checkRequest } from "../support/ext-authz.ts";
import { freePort } from "../support/parts.ts";
import { key, portcullis, temporaryFolder } from "../support/portcullis.ts";
import type { Portcullis } from "../support/portcullis.ts";
import type { Part } from "../support/parts.ts";
import { startGateway } from "./gateways.ts";
import type { Bench } from "./gateways.ts";
import { middle, sample, warm } from "./measure.ts";
import type { Target } from "./measure.ts";
import { residentMb, startLoad } from "./process.ts";
import { allOn, callerKey, checkCall, checked, echoCall, mcpRequest, scaled } from "./targets.ts";
import type { Scale } from "./targets.ts";

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
    for (let round = 0; round < effort.rounds; round++) {
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
      // round by round: a slow minute of the machine would otherwise land on one of the two
      ratio: middle(costs[1].map((micros, round) => micros / (costs[0][round] ?? Number.NaN))),
      startMs: { small: small.startMs, large: large.startMs },
    };
  } finally {
    await large.stop();
    await small.stop();
  }
}

/** What a full check of Envoy's costs, over HTTP and over gRPC: key, policy, schema, three limits, one record. */
export async function extAuthz({ load, upstream, effort }: Bench) {
  const port = await freePort();
  const config = { ...allOn(upstream.port, "write", null), extAuthz: { http: true, grpc: `127.0.0.1:${port}` } };
  const gateway = await startGateway(config);
  const grpcLoad = startLoad("load-grpc.ts");
  try {
    const message = checkBytes(checkRequest({ key: callerKey.text, ...checked("echo") })).toString("base64");
    const marker = "x-portcullis-principal";
    const of = { pid: gateway.pid, marker };
    const request = checkCall("/ext_authz/bench/mcp", "echo", callerKey.text);
    const http = { ...of, name: "ext_authz HTTP", port: gateway.port, requests: [request] };
    const grpc = { ...of, name: "ext_authz gRPC", port, requests: [message] };
    await warm(load, http, effort.warm);
    await warm(grpcLoad, grpc, effort.warm);
    const costs: { readonly http: number[]; readonly grpc: number[] } = { http: [], grpc: [] };
    const span = { connections: 64, durationMs: effort.manyMs };
    for (let round = 0; round < effort.rounds; round++) {
      costs.http.push((await sample(load, http, span)).cpuMicrosPerCall);
      costs.grpc.push((await sample(grpcLoad, grpc, span)).cpuMicrosPerCall);
    }
    return { httpMicros: middle(costs.http), grpcMicros: middle(costs.grpc) };
  } finally {
    grpcLoad.stop();
    await gateway.stop();
  }
}

/** RSS after half of the calls and after all of them: flat, or does it climb? */
export async function memory({ load, upstream, effort }: Bench) {
  const gateway = await startGateway(allOn(upstream.port, "write", null));
  try {
    const requests = [echoCall("/mcp/bench", "echo", callerKey.text)];
    const target = { name: "memory", port: gateway.port, pid: gateway.pid, requests };
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
  const shipped = readFileSync(join(import.meta.dirname, "../../portcullis.yaml"), "utf8");
  const config = shipped.replaceAll(/^(listen|admin|data):.*$/gm, "");
  const starts: { readonly first: Started[]; readonly cached: Started[] } = { first: [], cached: [] };
  for (let round = 0; round < Math.min(effort.rounds, 2); round++) {
    const folder = temporaryFolder();
    try {
      for (const kept of [starts.first, starts.cached]) {
        const gateway = await portcullis({ config, folder });
        kept.push({ ms: gateway.startMs, mb: residentMb(gateway.pid) });
        await gateway.stop();
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  const of = (kept: readonly Started[]) => ({
    ms: middle(kept.map(({ ms }) => ms)),
    mb: middle(kept.map(({ mb }) => mb)),
  });
  return { first: of(starts.first), cached: of(starts.cached) };
}
type Started = { readonly ms: number; readonly mb: number };

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
