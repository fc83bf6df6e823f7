/** `GET /metrics` at the admin listener, as Prometheus reads it (text format 0.0.4), for whoever holds `metrics:read`. */
import type { Gateway, Metric } from "../gateway.ts";
import type { Histogram, Labels } from "../histogram.ts";
import { readMetrics } from "../view.ts";
import { askedOf } from "./exchange.ts";
import type { Exchange, Route } from "./exchange.ts";
import { callHeaders, malformedProblem, replyProblem } from "./render.ts";

const malformed = malformedProblem("rest");
export const metricsRoutes: readonly Route[] = [{ prefix: "/metrics", methods: ["GET"], door, malformed }];

async function door(gateway: Gateway, exchange: Exchange): Promise<void> {
  const outcome = await readMetrics(gateway, askedOf(exchange, { interface: "rest" }));
  if (!outcome.ok) return replyProblem(exchange, outcome);
  const headers = { ...callHeaders(outcome.call), "content-type": "text/plain; version=0.0.4; charset=utf-8" };
  exchange.reply(200, headers, outcome.value.map(textOf).join(""));
}

function textOf(metric: Metric): string {
  const { help, type } = metric;
  const name = metric.type === "histogram" ? `${metric.name.replaceAll(".", "_")}_seconds` : metric.name;
  const lines =
    metric.type === "histogram"
      ? metric.samples.flatMap((one) => histogramLines(name, metric.bounds, one))
      : metric.samples.map(({ labels, value }) => `${name}${labelsOf(labels)} ${value}`);
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines, ""].join("\n");
}

type Sample = Histogram["samples"][number];

/** Buckets add up: each holds those below it too. */
function histogramLines(
  name: string,
  bounds: readonly number[],
  { labels, counts, sum, count }: Sample,
): readonly string[] {
  let below = 0;
  const buckets = counts.map((one, at) => {
    below += one;
    return `${name}_bucket${labelsOf({ ...labels, le: String(bounds[at] ?? "+Inf") })} ${below}`;
  });
  return [...buckets, `${name}_sum${labelsOf(labels)} ${sum}`, `${name}_count${labelsOf(labels)} ${count}`];
}

function labelsOf(labels: Labels): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key.replaceAll(".", "_")}="${escaped(String(value))}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
