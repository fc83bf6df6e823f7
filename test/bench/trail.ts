/**
 * The audit trail's index: how fast it is built, and how long a page, a count and statistics take over a million calls. The
 * trail is written by the product's own lines and chain, with many principals and tools; the thread is the product's own.
 */
import { rmSync } from "node:fs";
import { openChain } from "../../src/audit/chain.ts";
import { realDisk } from "../../src/audit/disk.ts";
import { createLines } from "../../src/audit/line.ts";
import { createProjection } from "../../src/audit/projection.ts";
import type { Projection } from "../../src/audit/projection.ts";
import type { CallFilter } from "../../src/audit/row.ts";
import { STAGES } from "../../src/model.ts";
import type { Call, Principal, Tool } from "../../src/model.ts";
import { realPorts, silent } from "../../src/ports.ts";
import { temporaryFolder } from "../support/portcullis.ts";
import type { Bench } from "./gateways.ts";
import { middle } from "./measure.ts";

const CALLS = { whole: 1_000_000, quick: 100_000 } as const;
const PRINCIPALS = 1_000;
const TOOLS = 200;
const BATCH = 500;
const ports = realPorts(silent);
const { clock, random } = ports;

/** Each of these is asked for its first page, one from its midst, and its number. */
const FILTERS: { readonly [name: string]: CallFilter } = {
  everything: {},
  "one principal": { principal: "p7" },
  "one tenant's refusals": { tenant: "t1", outcome: "refused" },
  "one principal and tool": { principal: "p7", tool: "s7__t7" },
};

export async function trail({ effort }: Bench) {
  const calls = effort.quick ? CALLS.quick : CALLS.whole;
  const directory = temporaryFolder();
  const projection = createProjection({ directory, records: () => 0 }, { clock });
  try {
    writeTrail(directory, calls);
    const begunMs = clock.monotonicMs();
    for (let left = await projection.rebuild(); left > 0;) ({ behindBytes: left } = await first(projection, {}));
    const callsPerSecond = (calls / (clock.monotonicMs() - begunMs)) * 1000;
    const pages: { [name: string]: number } = {};
    for (const [name, filter] of Object.entries(FILTERS)) pages[name] = await pageMs(projection, filter);
    const countMs = await timed(() => projection.count({ filter: FILTERS["one principal"] ?? {}, scope: {} }));
    const statsMs = await timed(() =>
      projection.stats({ filter: {}, scope: {}, by: ["tool"], bucketMs: 3_600_000, first: 100 }),
    );
    return { calls, callsPerSecond, pages, pageMs: Math.max(...Object.values(pages)), countMs, statsMs };
  } finally {
    await projection.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

function first(projection: Projection, filter: CallFilter, after: string | null = null) {
  return projection.page({ filter, scope: {}, first: 50, after, order: "newest" });
}

/** The slower of the first page and of one after twenty. */
async function pageMs(projection: Projection, filter: CallFilter): Promise<number> {
  let after: string | null = null;
  for (let turn = 0; turn < 20; turn++) ({ endCursor: after } = await first(projection, filter, after));
  return Math.max(await timed(() => first(projection, filter)), await timed(() => first(projection, filter, after)));
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const taken: number[] = [];
  for (let turn = 0; turn < 7; turn++) {
    const begunMs = clock.monotonicMs();
    await work();
    taken.push(clock.monotonicMs() - begunMs);
  }
  return middle(taken);
}

export function writeTrail(directory: string, calls: number): void {
  const lines = createLines(Buffer.alloc(32, 7), "0.0.0");
  const chain = openChain(
    {
      directory,
      writer: "gateway",
      segmentBytes: 64 * 1024 * 1024,
      segmentMs: Infinity,
      synced: false,
      freeBytesMin: 0,
      disk: realDisk,
    },
    ports,
  );
  const startMs = clock.nowMs() - calls * 10;
  for (let from = 0; from < calls; from += BATCH) {
    const texts = Array.from({ length: BATCH }, (_, at) =>
      textsOf(lines, from + at, startMs + (from + at) * 10),
    ).flat();
    chain.confirm(chain.put(texts));
  }
  chain.close();
}

/** Eight in nine succeed; the rest are refused. */
function textsOf(lines: ReturnType<typeof createLines>, at: number, startedMs: number): readonly string[] {
  const call = callOf(at, startedMs);
  const ended = startedMs + 5 + (at % 97);
  const how = { errorType: null, message: null, refusal: null, count: null, result: null };
  if (at % 9 === 0)
    return [lines.ending("refusal", call, ended, { ...how, outcome: "refused", errorType: "forbidden" })];
  return [lines.intent(call, random.hex(8)), lines.ending("outcome", call, ended, { ...how, outcome: "success" })];
}

const principals = Array.from({ length: PRINCIPALS }, (_, at) => principalOf(at));
const tools = Array.from({ length: TOOLS }, (_, at) => toolOf(at));

function principalOf(at: number): Principal {
  return {
    id: `p${at}`,
    kind: "user",
    roles: [],
    permissions: [],
    tenant: `t${at % 10}`,
    onBehalfOf: null,
    claims: {},
  };
}

function toolOf(at: number): Tool {
  const [server, name] = [`s${at % 20}`, `s${at % 20}__t${at}`];
  return {
    ...({} as Tool),
    id: name,
    name,
    server,
    version: "1.0.0",
    digest: "sha256:00",
    auditArguments: "masked",
    definition: {},
  };
}

function callOf(at: number, startedMs: number): Call {
  const allow = at % 9 !== 0;
  const asked = { interface: "mcp", protocol: "2026-07-28", path: "/mcp", ip: "192.0.2.1" };
  const obligations = {
    redact: [],
    mask_audit: [],
    limits: [],
    cost: null,
    max_result_bytes: null,
    rows: null,
    route: null,
  };
  const made = {
    id: random.uuid(startedMs),
    traceId: random.hex(16),
    spanId: random.hex(8),
    parentSpanId: null,
    startedMs,
    asked,
    operation: "tools/call",
    snapshot: { revision: "sha256:00", policy: { revision: "sha256:01" } },
    principal: principals[at % PRINCIPALS] ?? null,
    target: null,
    tool: tools[(at * 7) % TOOLS] ?? null,
    choice: null,
    arguments: { path: `/data/${at}.txt`, limit: 20 },
    decision: { allow, reasons: [allow ? "holds files:read" : "lacks files:read"], obligations },
    limit: null,
    executed: allow ? "yes" : "no",
    attempts: 1,
    instance: null,
    facts: null,
    change: null,
    recorded: true,
    shadows: [],
    ends: STAGES.map(() => 0),
    tries: [],
  };
  return made as unknown as Call;
}
