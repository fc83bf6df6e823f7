/**
 * The same numbers that a scrape shows, sent to a collector again and again, by OpenTelemetry's own reader and exporter.
 * What surprises: no meter of the SDK is used. It is given what `measure` says, so that both ways tell the same under the
 * same names. Loaded only where a target is configured.
 */
import { ValueType } from "@opentelemetry/api";
import type { HrTime } from "@opentelemetry/api";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  AggregationTemporality,
  DataPointType,
  MeterProvider,
  PeriodicExportingMetricReader,
} from "@opentelemetry/sdk-metrics";
import type { MetricData } from "@opentelemetry/sdk-metrics";
import type { Metric } from "./gateway.ts";
import type { Clock } from "./ports.ts";

export type MetricsExportOptions = {
  /** Base address of a collector, to which `/v1/metrics` is added, or that path itself. */
  readonly url: string;
  readonly headers: { readonly [name: string]: string };
  readonly intervalMs: number;
  readonly version: string;
};

const TIMEOUT_MS = 10_000;

/** What could not be sent is not kept: the next numbers hold the last ones. Returns the way to stop, with a last look. */
export function exportMetrics(
  { url, headers, intervalMs, version }: MetricsExportOptions,
  measure: () => readonly Metric[],
  clock: Clock,
): () => Promise<void> {
  const startTime = timeOf(clock.nowMs());
  const resource = resourceFromAttributes({ "service.name": "portcullis", "service.version": version });
  const collect = () => {
    const times = { startTime, endTime: timeOf(clock.nowMs()) };
    const metrics = measure().map((metric) => dataOf(metric, times));
    const scopeMetrics = [{ scope: { name: "portcullis", version }, metrics }];
    return Promise.resolve({ resourceMetrics: { resource, scopeMetrics }, errors: [] });
  };
  const exporter = new OTLPMetricExporter({
    url: metricsUrl(url),
    headers: { ...headers },
    timeoutMillis: Math.min(TIMEOUT_MS, intervalMs),
  });
  const reader = new PeriodicExportingMetricReader({
    exporter,
    exportIntervalMillis: intervalMs,
    exportTimeoutMillis: Math.min(TIMEOUT_MS, intervalMs),
    metricProducers: [{ collect }],
  });
  const provider = new MeterProvider({ resource, readers: [reader] });
  return () => provider.shutdown().catch(() => {});
}

type Times = { readonly startTime: HrTime; readonly endTime: HrTime };

/** Counters lose the `_total` that Prometheus wants: it adds it again. */
function dataOf(metric: Metric, times: Times): MetricData {
  const aggregationTemporality = AggregationTemporality.CUMULATIVE;
  const seconds = metric.type === "histogram" || metric.name.endsWith("_seconds");
  const name = metric.name.replace(/_(total|seconds)$/, "");
  const descriptor = { name, description: metric.help, unit: seconds ? "s" : "", valueType: ValueType.DOUBLE };
  if (metric.type === "histogram") {
    const dataPoints = metric.samples.map(({ labels, counts, sum, count }) => ({
      ...times,
      attributes: labels,
      value: { buckets: { boundaries: [...metric.bounds], counts: [...counts] }, sum, count },
    }));
    return { descriptor, aggregationTemporality, dataPointType: DataPointType.HISTOGRAM, dataPoints };
  }
  const dataPoints = metric.samples.map(({ labels, value }) => ({ ...times, attributes: labels, value }));
  return metric.type === "gauge"
    ? { descriptor, aggregationTemporality, dataPointType: DataPointType.GAUGE, dataPoints }
    : { descriptor, aggregationTemporality, dataPointType: DataPointType.SUM, dataPoints, isMonotonic: true };
}

function timeOf(ms: number): HrTime {
  return [Math.floor(ms / 1000), Math.floor((ms % 1000) * 1e6)];
}

function metricsUrl(url: string): string {
  const at = new URL(url);
  if (!at.pathname.endsWith("/v1/metrics")) at.pathname = `${at.pathname.replace(/\/$/, "")}/v1/metrics`;
  return at.href;
}
