/** From the sections' figures to what people read: ratios, goals and the README's tables. */
import type { Row, callPath } from "./call-path.ts";
import type { planes } from "./planes.ts";
import type { policy } from "./policy.ts";
import type { extAuthz, lists, memory, scale, startUp } from "./sections.ts";
import type { records } from "./records.ts";
import type { traffic } from "./traffic.ts";
import type { trail } from "./trail.ts";

/** What was measured; a section that failed is missing. */
export type Sections = {
  callPath?: Awaited<ReturnType<typeof callPath>>;
  lists?: Awaited<ReturnType<typeof lists>>;
  scale?: Awaited<ReturnType<typeof scale>>;
  extAuthz?: Awaited<ReturnType<typeof extAuthz>>;
  memory?: Awaited<ReturnType<typeof memory>>;
  startUp?: Awaited<ReturnType<typeof startUp>>;
  planes?: Awaited<ReturnType<typeof planes>>;
  traffic?: Awaited<ReturnType<typeof traffic>>;
  records?: Awaited<ReturnType<typeof records>>;
  trail?: Awaited<ReturnType<typeof trail>>;
  policy?: Awaited<ReturnType<typeof policy>>;
};
type Goal = { readonly name: string; readonly measured: number; readonly atMost: number; readonly unit: string };

export function figures(sections: Sections) {
  const rows = sections.callPath ?? [];
  const ratios = {
    allOnToBareProxyCpu: ratio(rows, "all on, write, memory"),
    allOnFsyncRedisToBareProxyCpu: ratio(rows, "all on, fsync, Redis"),
    nothingOnToBareProxyCpu: ratio(rows, "nothing on"),
    largeToSmallCpu: rounded(sections.scale?.ratio),
  };
  const addedP50Ms = added(rows, "all on, write, memory");
  const goals: readonly Goal[] = [
    {
      name: "all on (write, memory) over the bare proxy, CPU",
      measured: ratios.allOnToBareProxyCpu,
      atMost: 2,
      unit: "×",
    },
    {
      name: "all on (fsync, Redis) over the bare proxy, CPU",
      measured: ratios.allOnFsyncRedisToBareProxyCpu,
      atMost: 2.6,
      unit: "×",
    },
    { name: "added p50 at one connection, all on (write)", measured: addedP50Ms, atMost: 0.5, unit: "ms" },
    {
      name: "`tools/list` of 300 tools from 10 servers, CPU",
      measured: rounded(sections.lists?.cpuMs),
      atMost: 4,
      unit: "ms",
    },
    {
      name: "upstream requests during those lists",
      measured: rounded(sections.lists?.upstreamCalls),
      atMost: 0,
      unit: "",
    },
    {
      name: "a call among 1,000 tools and 10,000 principals over 10 and 10, CPU",
      measured: ratios.largeToSmallCpu,
      atMost: 1.05,
      unit: "×",
    },
    {
      name: "a check of Envoy's over HTTP, CPU",
      measured: rounded(sections.extAuthz?.httpMicros),
      atMost: 110,
      unit: "µs",
    },
    {
      name: "a check of Envoy's over gRPC, CPU",
      measured: rounded(sections.extAuthz?.grpcMicros),
      atMost: 230,
      unit: "µs",
    },
    {
      name: `RSS after ${sections.memory?.calls ?? 0} calls`,
      measured: rounded(sections.memory?.endMb),
      atMost: 200,
      unit: "MB",
    },
    {
      name: "start of the demo, nothing cached",
      measured: rounded(sections.startUp?.first.ms),
      atMost: 5_000,
      unit: "ms",
    },
    {
      name: "start of the demo, policy cached",
      measured: rounded(sections.startUp?.cached.ms),
      atMost: 3_000,
      unit: "ms",
    },
    {
      name: `a change until all of ${sections.planes?.followers ?? 0} followers have said so, p99`,
      measured: rounded(sections.planes?.changeToAllAckedP99Ms),
      atMost: 250,
      unit: "ms",
    },
    {
      name: "longest wait while 10,000 principals and 1,000 tools change, sidecar",
      measured: rounded(sections.planes?.stallMs),
      atMost: 50,
      unit: "ms",
    },
    {
      name: "start of a sidecar of 300 tools from disk",
      measured: rounded(sections.planes?.sidecarStartMs),
      atMost: 2_000,
      unit: "ms",
    },
    { name: "three limits on Redis, CPU", measured: rounded(sections.traffic?.limitsMicros), atMost: 20, unit: "µs" },
    {
      name: "balance, breakers and bulkhead of three instances, CPU",
      measured: rounded(sections.traffic?.balanceMicros),
      atMost: 5,
      unit: "µs",
    },
    {
      name: "both records of a call, their chain and spool (write), CPU",
      measured: rounded(sections.records?.writeMicros),
      atMost: 30,
      unit: "µs",
    },
    { name: "the same (fsync), CPU", measured: rounded(sections.records?.fsyncMicros), atMost: 45, unit: "µs" },
    {
      name: "`audit verify` of 100,000 records",
      measured: rounded(sections.records?.verifyMs),
      atMost: 3_000,
      unit: "ms",
    },
    ...policyGoals(sections.policy),
    { name: "RSS of that sidecar", measured: rounded(sections.planes?.sidecarMb), atMost: 180, unit: "MB" },
    {
      name: `a page of \`calls\` over ${sections.trail?.calls ?? 0} calls, the slowest of four filters`,
      measured: rounded(sections.trail?.pageMs),
      atMost: 20,
      unit: "ms",
    },
    {
      name: "the index of 5,000 calls, which is a second's",
      measured: rounded(sections.trail && 5_000_000 / sections.trail.callsPerSecond),
      atMost: 1_000,
      unit: "ms",
    },
  ];
  return { ratios, addedP50Ms, goals: goals.filter(({ measured }) => !Number.isNaN(measured)), ...sections };
}

function policyGoals(measured: Sections["policy"]): readonly Goal[] {
  if (measured === undefined) return [];
  const { overStock, overNative, shippedMicros, listMs, editMs, testedMs, largeMs, compilerMb } = measured;
  const goal = (name: string, value: number | null, atMost: number, unit: string): Goal => ({
    name,
    measured: rounded(value ?? undefined),
    atMost,
    unit,
  });
  return [
    goal("a decision of 131 lines of policy over stock opa-wasm, p50", overStock, 1.25, "×"),
    goal("the same over native OPA's REST, p50", overNative, 0.08, "×"),
    goal("a decision of the shipped policy, p50", shippedMicros, 15, "µs"),
    goal("policy's part of a list of 300 tools", listMs, 4, "ms"),
    goal("a policy's edit until it is in force, without tests", editMs, 400, "ms"),
    goal("the same with its tests", testedMs, 1_500, "ms"),
    goal("2,000 rules in 200 files until they are in force", largeMs, 2_500, "ms"),
    goal("the compiler's worker at its largest", compilerMb, 300, "MB"),
  ];
}

export function tables(sections: Sections, { goals }: { readonly goals: readonly Goal[] }): string {
  const parts: string[] = [];
  if (sections.callPath !== undefined) parts.push(callTable(sections.callPath));
  const rows = goals.map((goal) => {
    const met = goal.measured <= goal.atMost ? "yes" : "no";
    return `| ${goal.name} | ${goal.measured} ${goal.unit} | ${goal.atMost} ${goal.unit} | ${met} |`;
  });
  parts.push(["| figure | measured | at most | met |", "|---|---|---|---|", ...rows].join("\n"));
  return `${parts.join("\n\n")}\n`;
}

function callTable(rows: readonly Row[]): string {
  const lines = rows.map(({ name, single, many, residentMb }) => {
    const between = residentMb !== null;
    return [
      name,
      between ? many.cpuMicrosPerCall.toFixed(0) : "–",
      many.callsPerSecond.toFixed(0),
      many.p50Ms.toFixed(2),
      many.p99Ms.toFixed(2),
      single.p50Ms.toFixed(3),
      single.p99Ms.toFixed(3),
      between ? added(rows, name).toFixed(3) : "–",
      between ? addedP99(rows, name).toFixed(3) : "–",
      residentMb?.toFixed(0) ?? "–",
    ];
  });
  const columns = [
    "target",
    "CPU µs/call, c64",
    "calls/s, c64",
    "p50 ms, c64",
    "p99 ms, c64",
    "p50 ms, c1",
    "p99 ms, c1",
    "added p50 ms, c1",
    "added p99 ms, c1",
    "RSS MB",
  ];
  return [columns, columns.map(() => "---"), ...lines].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

function ratio(rows: readonly Row[], name: string): number {
  return rounded(row(rows, name)?.cpuOverBare);
}

function added(rows: readonly Row[], name: string): number {
  const [of, direct] = [row(rows, name), row(rows, "direct")];
  return rounded(of === undefined || direct === undefined ? undefined : of.single.p50Ms - direct.single.p50Ms);
}

function addedP99(rows: readonly Row[], name: string): number {
  const [of, direct] = [row(rows, name), row(rows, "direct")];
  return rounded(of === undefined || direct === undefined ? undefined : of.single.p99Ms - direct.single.p99Ms);
}

function row(rows: readonly Row[], name: string): Row | undefined {
  return rows.find((one) => one.name === name);
}

function rounded(value: number | undefined): number {
  return value === undefined ? Number.NaN : Math.round(value * 1000) / 1000;
}
