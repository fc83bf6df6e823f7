/**
 * What operators look at, as a table: five dashboards, each panel one question to Prometheus or to Tempo. `npm run generate`
 * makes Grafana's classic JSON of it; a test knows every metric and attribute that a question names.
 */

type Asked =
  | { readonly promql: string; readonly legend?: string }
  /** Spans, newest first. */
  | { readonly traceql: string };
type Panel = Asked & {
  readonly title: string;
  readonly about: string;
  readonly unit?: "s" | "reqps" | "percentunit" | "short";
  readonly as?: "timeseries" | "stat";
};
type Dashboard = { readonly title: string; readonly about: string; readonly panels: readonly Panel[] };

const RATE = "[$__rate_interval]";
const SERVER = "mcp_server_operation_duration_seconds";
const CLIENT = "mcp_client_operation_duration_seconds";
const quantile = (share: number, metric: string, by = ""): string =>
  `histogram_quantile(${share}, sum by (le${by}) (rate(${metric}_bucket${RATE})))`;

export const DASHBOARDS: { readonly [file: string]: Dashboard } = {
  traffic: {
    title: "Portcullis: traffic",
    about: "How many calls, how fast, and how they end.",
    panels: [
      {
        title: "Requests a second, by method",
        about: "All that callers ask, refused requests included.",
        promql: `sum by (mcp_method_name) (rate(${SERVER}_count${RATE}))`,
        legend: "{{mcp_method_name}}",
        unit: "reqps",
      },
      {
        title: "Share that fails, by reason",
        about: "error.type: a code of the refusal table, tool_error, or a server's own JSON-RPC code.",
        promql: `sum by (error_type) (rate(${SERVER}_count{error_type!=""}${RATE})) / ignoring (error_type) group_left () sum (rate(${SERVER}_count${RATE}))`,
        legend: "{{error_type}}",
        unit: "percentunit",
      },
      {
        title: "Duration, 99 %",
        about: "From arrival to answer, what the server took included.",
        promql: quantile(0.99, SERVER),
        unit: "s",
      },
      { title: "Duration, median", about: "The same, of the middle call.", promql: quantile(0.5, SERVER), unit: "s" },
      {
        title: "In flight",
        about: "Calls and lists under way at each gateway.",
        promql: "portcullis_in_flight",
        legend: "{{instance}}",
      },
      {
        title: "Shed as overloaded",
        about: "Refused before any work, because the process had more than it can do.",
        promql: `rate(portcullis_shed_total${RATE})`,
        legend: "{{instance}}",
        unit: "reqps",
      },
      {
        title: "Event loop lateness",
        about: "Above a second those who ask for most are refused.",
        promql: "portcullis_event_loop_delay_seconds",
        legend: "{{instance}}",
        unit: "s",
      },
      {
        title: "Where the time goes, 99 %",
        about: "By stage of a call; forward is the server's.",
        promql: quantile(0.99, "portcullis_stage_duration_seconds", ", portcullis_stage"),
        legend: "{{portcullis_stage}}",
        unit: "s",
      },
      {
        title: "Slow calls",
        about: "Calls of more than two seconds; open one to see where the time went.",
        traceql: '{ span.mcp.method.name = "tools/call" && kind = server && duration > 2s }',
      },
    ],
  },
  policy: {
    title: "Portcullis: policy",
    about: "What policy decides, and about whom.",
    panels: [
      {
        title: "A policy is in force",
        about: "0 is a gateway that refuses every call.",
        promql: "min(portcullis_policy_in_force)",
        as: "stat",
      },
      {
        title: "Refused by policy, a second",
        about: "forbidden, and tools that await approval.",
        promql: `sum by (error_type) (rate(${SERVER}_count{error_type=~"forbidden|tool_quarantined"}${RATE}))`,
        legend: "{{error_type}}",
        unit: "reqps",
      },
      {
        title: "Denied calls",
        about: "Each with the reasons that policy gave.",
        traceql:
          '{ span.portcullis.decision = "deny" && kind = server } | select(span.portcullis.principal.id, span.gen_ai.tool.name, span.portcullis.reasons)',
      },
      {
        title: "Faults of the policy itself",
        about: "Undefined, an error, a trap, out of steps, a wrong shape: a rule to mend.",
        traceql: '{ name = "policy" && span.portcullis.reasons =~ "policy_.*" }',
      },
      {
        title: "Sent to another version",
        about: "By an obligation of policy, a pin or a canary.",
        traceql:
          '{ name = "route" && span.portcullis.route.reason != nil } | select(span.portcullis.server.name, span.portcullis.server.version, span.portcullis.route.reason)',
      },
      {
        title: "Where policy takes long",
        about: "Decisions of more than 20 ms.",
        traceql: '{ name = "policy" && duration > 20ms }',
      },
    ],
  },
  limits: {
    title: "Portcullis: limits",
    about: "Who is held back, by which limit, and whether the limits can count.",
    panels: [
      {
        title: "Charged, by limit",
        about: "Calls that passed it.",
        promql: `sum by (limit) (rate(portcullis_limit_calls_total{outcome="charged"}${RATE}))`,
        legend: "{{limit}}",
        unit: "reqps",
      },
      {
        title: "Refused, by limit",
        about: "Calls that it held back.",
        promql: `sum by (limit) (rate(portcullis_limit_calls_total{outcome="refused"}${RATE}))`,
        legend: "{{limit}}",
        unit: "reqps",
      },
      {
        title: "The shared store is away",
        about: "1: each limit does what its redisDown says.",
        promql: "max(portcullis_limit_store_away)",
        as: "stat",
      },
      {
        title: "Held back lately",
        about: "Whom, and by what.",
        traceql:
          '{ span.error.type = "rate_limited" && kind = server } | select(span.portcullis.principal.id, span.portcullis.tenant, span.portcullis.limit.name)',
      },
      {
        title: "Nearly used up",
        about: "Calls that left less than three of their tightest limit.",
        traceql: '{ name = "limit" && span.portcullis.limit.remaining < 3 }',
      },
    ],
  },
  upstreams: {
    title: "Portcullis: upstream health",
    about: "How the MCP servers do, version by version and instance by instance.",
    panels: [
      {
        title: "Attempts a second, by server",
        about: "What was sent to servers, retries included.",
        promql: `sum by (mcp_server_name) (rate(${CLIENT}_count${RATE}))`,
        legend: "{{mcp_server_name}}",
        unit: "reqps",
      },
      {
        title: "Server time, 99 %",
        about: "From sending to answer, of one attempt.",
        promql: quantile(0.99, CLIENT, ", mcp_server_name"),
        legend: "{{mcp_server_name}}",
        unit: "s",
      },
      {
        title: "Breakers",
        about: "0 closed, 1 half open, 2 open.",
        promql: "portcullis_instance_breaker",
        legend: "{{exported_instance}}",
      },
      {
        title: "Ejections",
        about: "How often an instance was set aside, in an hour.",
        promql: "increase(portcullis_instance_ejections_total[1h])",
        legend: "{{exported_instance}}",
      },
      {
        title: "Slower than usual",
        about: "1 is what is usual for the tools that an instance is asked for.",
        promql: "portcullis_instance_ewma_ratio",
        legend: "{{exported_instance}}",
      },
      {
        title: "Running and waiting",
        about: "Calls on all instances of a version, and those that wait for room.",
        promql: "portcullis_server_running + portcullis_server_waiting",
        legend: "{{server}} {{version}}",
      },
      {
        title: "Retries a second",
        about: "Bounded to a tenth of the calls.",
        promql: `sum by (server) (rate(portcullis_server_retries_total${RATE}))`,
        legend: "{{server}}",
        unit: "reqps",
      },
      {
        title: "Failed attempts",
        about: "One span for each time that a call was sent.",
        traceql:
          "{ kind = client && status = error } | select(span.portcullis.instance, span.error.type, span.gen_ai.tool.name)",
      },
    ],
  },
  audit: {
    title: "Portcullis: audit integrity",
    about: "Is everything written down, and does it reach those who keep copies?",
    panels: [
      {
        title: "Records can be written",
        about: "0: calls are refused as audit_unavailable.",
        promql: "min(portcullis_audit_writable)",
        as: "stat",
      },
      {
        title: "Records a second",
        about: "Two of a call that was let through, one of a refusal.",
        promql: `rate(portcullis_audit_records_total${RATE})`,
        legend: "{{instance}}",
        unit: "reqps",
      },
      {
        title: "Writes that failed",
        about: "In an hour. Each ended a file; the chain goes on in the next.",
        promql: "increase(portcullis_audit_failures_total[1h])",
        legend: "{{instance}}",
      },
      {
        title: "Waiting for the disk",
        about: "Records of callers who are not answered yet.",
        promql: "portcullis_audit_queued",
        legend: "{{instance}}",
      },
      {
        title: "Until a record is durable, 99 %",
        about: "What callers wait for the disk, or for Redis.",
        promql: quantile(0.99, "portcullis_audit_write_duration_seconds"),
        unit: "s",
      },
      {
        title: "Behind, by collector",
        about: "Records that are on disk and not delivered yet. Nothing is lost, however many.",
        promql: "portcullis_audit_export_lag",
        legend: "{{target}}",
      },
      {
        title: "Delivered a second",
        about: "To each collector.",
        promql: `rate(portcullis_audit_exported_total${RATE})`,
        legend: "{{target}}",
        unit: "reqps",
      },
      {
        title: "Not wanted by a collector",
        about: "Spans that it took and said it had dropped.",
        promql: "increase(portcullis_audit_export_rejected_total[1h])",
        legend: "{{target}}",
      },
      {
        title: "Sidecars by state",
        about: "One that is away keeps its records, and its last snapshot.",
        promql: "portcullis_sidecars",
        legend: "{{state}}",
      },
      {
        title: "Refused because nothing could be written",
        about: "Seen here only if the disk came back.",
        traceql: '{ span.error.type = "audit_unavailable" }',
      },
      {
        title: "Administrative changes",
        about: "What was and what is, in portcullis.change.",
        traceql:
          "{ span.portcullis.change != nil && kind = server } | select(span.portcullis.principal.id, span.portcullis.operation)",
      },
    ],
  },
};

const PROMETHEUS = { type: "prometheus", uid: "${prometheus}" };
const TEMPO = { type: "tempo", uid: "${tempo}" };

/** As every Grafana since 9 imports it. */
export function classicDashboard(file: string, { title, about, panels }: Dashboard): object {
  const source = (name: string, label: string): object => ({
    name,
    label,
    type: "datasource",
    query: name,
    refresh: 1,
    hide: 0,
    current: {},
  });
  return {
    uid: `portcullis-${file}`,
    title,
    description: about,
    tags: ["portcullis", "mcp"],
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: "30s",
    time: { from: "now-1h", to: "now" },
    timezone: "browser",
    annotations: { list: [] },
    links: [],
    templating: { list: [source("prometheus", "Metrics"), source("tempo", "Traces")] },
    panels: panels.map((panel, at) => classicPanel(panel, at)),
  };
}

function classicPanel(panel: Panel, at: number): object {
  const { title, about, unit = "short", as = "timeseries" } = panel;
  const common = {
    id: at + 1,
    title,
    description: about,
    gridPos: { h: 8, w: 12, x: 12 * (at % 2), y: 8 * Math.floor(at / 2) },
  };
  if ("traceql" in panel)
    return {
      ...common,
      type: "table",
      datasource: TEMPO,
      targets: [
        { refId: "A", datasource: TEMPO, queryType: "traceql", query: panel.traceql, limit: 50, tableType: "spans" },
      ],
      fieldConfig: { defaults: {}, overrides: [] },
      options: {},
    };
  return {
    ...common,
    type: as,
    datasource: PROMETHEUS,
    targets: [{ refId: "A", datasource: PROMETHEUS, expr: panel.promql, legendFormat: panel.legend ?? "__auto" }],
    fieldConfig: { defaults: { unit, min: 0 }, overrides: [] },
    options: as === "stat" ? { reduceOptions: { calcs: ["lastNotNull"] } } : { legend: { displayMode: "list" } },
  };
}
