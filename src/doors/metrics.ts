/** `GET /metrics` at the admin listener, as Prometheus reads it (text format 0.0.4), for whoever holds `metrics:read`. */
import type { Gateway, Metric } from "../gateway.ts";
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

function textOf({ name, help, type, samples }: Metric): string {
  const lines = samples.map(({ labels, value }) => `${name}${labelsOf(labels)} ${value}`);
  return [`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`, ...lines, ""].join("\n");
}

function labelsOf(labels: Metric["samples"][number]["labels"]): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}="${escaped(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
