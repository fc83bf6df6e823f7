/**
 * How does it go? What a scrape of `/metrics` shows: the state of every room in numbers. What surprises: labels name only
 * what the configuration names (servers, versions, instances, limits), so that no caller can make a series.
 */
import type { Exports } from "./audit/export.ts";
import type { Gateway, Metric } from "./gateway.ts";

export function measure(gateway: Gateway, exports: Exports): readonly Metric[] {
  return [
    ...ofInstances(gateway),
    ...ofServers(gateway),
    ...ofLimits(gateway),
    ...ofAudit(gateway),
    ...gateway.audit.durations(),
    gateway.requests.read(),
    ...ofExports(exports),
    ...ofPolicy(gateway),
    ...ofShadows(gateway),
    ...ofProcess(gateway),
    ...ofSidecars(gateway),
  ];
}

const BREAKER = ["closed", "half_open", "open"] as const;

function ofInstances({ upstreams }: Gateway): readonly Metric[] {
  const all = upstreams
    .status()
    .map((one) => ({ one, labels: { server: one.server, version: one.version, instance: one.id } }));
  const of = (value: (one: (typeof all)[number]["one"]) => number) =>
    all.map(({ one, labels }) => ({ labels, value: value(one) }));
  return [
    gauge(
      "portcullis_instance_in_flight",
      "Calls under way.",
      of(({ inFlight }) => inFlight),
    ),
    gauge(
      "portcullis_instance_breaker",
      "0 closed, 1 half open, 2 open.",
      of(({ breaker }) => BREAKER.indexOf(breaker)),
    ),
    gauge(
      "portcullis_instance_weight",
      "Share of calls; 0 takes no new one.",
      of(({ weight }) => weight),
    ),
    gauge(
      "portcullis_instance_ewma_ratio",
      "How long answers take, 1 being usual for the tool.",
      of(({ ewma }) => ewma),
    ),
    counter(
      "portcullis_instance_ejections_total",
      "How often it was set aside.",
      of(({ ejections }) => ejections),
    ),
  ];
}

function ofServers({ upstreams }: Gateway): readonly Metric[] {
  const all = upstreams.traffic().map((one) => ({ one, labels: { server: one.server, version: one.version } }));
  const of = (value: (one: (typeof all)[number]["one"]) => number) =>
    all.map(({ one, labels }) => ({ labels, value: value(one) }));
  return [
    gauge(
      "portcullis_server_running",
      "Calls under way, on all instances.",
      of(({ running }) => running),
    ),
    gauge(
      "portcullis_server_waiting",
      "Calls that wait for room.",
      of(({ waiting }) => waiting),
    ),
    counter(
      "portcullis_server_retries_total",
      "Calls that were sent again.",
      of(({ retries }) => retries),
    ),
    gauge(
      "portcullis_server_open_tools",
      "Tools that are not called for a while.",
      of(({ openTools }) => openTools.length),
    ),
  ];
}

function ofLimits({ limits }: Gateway): readonly Metric[] {
  const used = [...limits.used].flatMap(([limit, { charged, refused }]) => [
    { labels: { limit, outcome: "charged" }, value: charged },
    { labels: { limit, outcome: "refused" }, value: refused },
  ]);
  return [
    counter("portcullis_limit_calls_total", "Calls that a limit was asked about.", used),
    gauge("portcullis_limit_store_away", "1 while the shared store does not answer.", [
      plain(Number(limits.status().away)),
    ]),
  ];
}

function ofAudit({ audit }: Gateway): readonly Metric[] {
  const { writable, records, failures, queued } = audit.stats();
  const signed = audit.checkpoints();
  return [
    gauge("portcullis_audit_writable", "0 while records cannot be written, and calls are refused.", [
      plain(Number(writable)),
    ]),
    counter("portcullis_audit_records_total", "Records written.", [plain(records)]),
    counter("portcullis_audit_failures_total", "Writes that failed.", [plain(failures)]),
    gauge("portcullis_audit_queued", "Records that wait for the disk.", [plain(queued)]),
    gauge("portcullis_audit_index_behind_bytes", "What of the trail was not indexed when it was last read.", [
      plain(audit.projection.behindBytes()),
    ]),
    gauge("portcullis_audit_unsigned", "Records that no checkpoint covers yet.", [
      plain(signed.records - signed.covered),
    ]),
    gauge("portcullis_audit_unanchored_places", "Places that did not take the newest checkpoint.", [
      plain(signed.anchors.filter(({ lastError }) => lastError !== null).length),
    ]),
    gauge(
      "portcullis_audit_anchor_waiting_seconds",
      "How long a checkpoint has waited while its place took none; 0 where none waits.",
      signed.anchors.map(({ target, waitingMs }) => ({ labels: { target }, value: waitingMs / 1000 })),
    ),
    gauge(
      "portcullis_audit_anchored_timestamp_seconds",
      "Of when the newest checkpoint is that the place took, in Unix time; 0 before the first.",
      signed.anchors.map(({ target, time }) => ({ labels: { target }, value: Date.parse(time ?? EPOCH) / 1000 })),
    ),
  ];
}

const FAULTS = ["policy_undefined", "policy_error", "policy_trap", "policy_budget"] as const;

function ofPolicy({ snapshot }: Gateway): readonly Metric[] {
  const { policy } = snapshot();
  const { faults = {}, undefinedCalls = 0, maskFaults = 0 } = policy?.evaluated() ?? {};
  return [
    gauge("portcullis_policy_in_force", "0 without a policy: every call is refused.", [plain(Number(policy !== null))]),
    counter(
      "portcullis_policy_faults_total",
      "Evaluations without a value since the policy was loaded: each denies, or has a list ask again about fewer tools.",
      FAULTS.map((reason) => ({ labels: { reason }, value: faults[reason] ?? 0 })),
    ),
    counter(
      "portcullis_policy_undefined_calls_total",
      "Calls of built-ins by the policy, since it was loaded, that were undefined because their operands did not fit.",
      [plain(undefinedCalls)],
    ),
    counter(
      "portcullis_policy_mask_faults_total",
      "Decisions of which system.log.mask did not say what to mask: their records hold no arguments.",
      [plain(maskFaults)],
    ),
  ];
}

const EPOCH = "1970-01-01T00:00:00Z";

function ofShadows({ control }: Gateway): readonly Metric[] {
  const all = control.shadows();
  const flips = all.flatMap(({ bundle, flips: counts }) =>
    Object.entries(counts).map(([direction, value]) => ({ labels: { bundle, direction }, value })),
  );
  return [
    counter("portcullis_shadow_flips_total", "Decisions that a bundle in shadow would have changed.", flips),
    counter(
      "portcullis_shadow_decisions_total",
      "Decisions that a bundle in shadow was asked for.",
      all.map(({ bundle, decisions }) => ({ labels: { bundle }, value: decisions })),
    ),
    counter(
      "portcullis_shadow_faults_total",
      "Of these, the ones that ended in a fault.",
      all.map(({ bundle, faults }) => ({ labels: { bundle }, value: faults })),
    ),
  ];
}

/** Targets are named by their origin, which the configuration names. */
function ofExports(exports: Exports): readonly Metric[] {
  const all = exports.status();
  const of = (value: (one: (typeof all)[number]) => number) =>
    all.map((one) => ({ labels: { target: one.target }, value: value(one) }));
  return [
    gauge(
      "portcullis_audit_export_lag",
      "Records not yet delivered, as of the last attempt.",
      of(({ lag }) => lag),
    ),
    gauge(
      "portcullis_audit_export_failing",
      "1 while deliveries fail: they are tried again without end.",
      of(({ lastError }) => Number(lastError !== null)),
    ),
    counter(
      "portcullis_audit_exported_total",
      "Records delivered.",
      of(({ exported }) => exported),
    ),
    counter(
      "portcullis_audit_export_rejected_total",
      "Spans that a collector took and did not want.",
      of(({ rejected }) => rejected),
    ),
  ];
}

function ofProcess({ load }: Gateway): readonly Metric[] {
  const { inFlight, delayMs, shed } = load.status();
  return [
    gauge("portcullis_in_flight", "Calls and lists under way.", [plain(inFlight)]),
    gauge("portcullis_event_loop_delay_seconds", "How late the event loop is.", [plain(delayMs / 1000)]),
    counter("portcullis_shed_total", "Calls and lists refused as overloaded.", [plain(shed)]),
  ];
}

function ofSidecars({ control }: Gateway): readonly Metric[] {
  const all = control.sidecars();
  const count = (state: string, value: number) => ({ labels: { state }, value });
  return [
    gauge("portcullis_sidecars", "Sidecars by state.", [
      count("current", all.filter((one) => one.connected && one.current).length),
      count("behind", all.filter((one) => one.connected && !one.current).length),
      count("away", all.filter((one) => !one.connected).length),
    ]),
  ];
}

type Samples = (Metric & { readonly type: "gauge" | "counter" })["samples"];

function gauge(name: string, help: string, samples: Samples): Metric {
  return { name, help, type: "gauge", samples };
}

function counter(name: string, help: string, samples: Samples): Metric {
  return { name, help, type: "counter", samples };
}

function plain(value: number): Samples[number] {
  return { labels: {}, value };
}
