/** What operators look at exists: every metric and attribute that a dashboard or an alert names, the product has. */
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { DASHBOARDS } from "../schema/dashboards.ts";
import { ATTRIBUTES } from "../src/audit/attributes.ts";
import { discovered, fixtureServer, KEYS, startGateway } from "./support/gateway.ts";
import { DOORS } from "./support/ask.ts";
import { lacks, requirePart, run } from "./support/parts.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const otel = resolve(import.meta.dirname, "../otel");
const panels = Object.values(DASHBOARDS).flatMap((dashboard) => dashboard.panels);
const promql = panels.flatMap((panel) => ("promql" in panel ? [panel.promql] : []));
const traceql = panels.flatMap((panel) => ("traceql" in panel ? [panel.traceql] : []));
type Rule = { alert: string; expr: string; annotations: { summary: string; runbook: string } };
const alerts = (parse(await readFile(join(otel, "alerts.yaml"), "utf8")) as { groups: { rules: Rule[] }[] }).groups;
const rules = alerts.flatMap((group) => group.rules);

/** Metrics that an expression names, without what Prometheus makes of a histogram. */
function metricsIn(expression: string): readonly string[] {
  const plain = expression.replaceAll(/\{[^}]*\}|\[[^\]]*\]|\b(?:by|ignoring|on|group_left) \([^)]*\)/g, " ");
  return [...plain.matchAll(/\b(?:portcullis|mcp|gen_ai)_[a-z_]+/g)].map(([name]) =>
    name.replace(/_(bucket|sum|count)$/, ""),
  );
}
/** Labels that an expression groups by or filters. */
function labelsIn(expression: string): readonly string[] {
  const grouped = [...expression.matchAll(/\b(?:by|ignoring|on) \(([^)]*)\)/g)].flatMap(([, names = ""]) =>
    names.split(", "),
  );
  const filtered = [...expression.matchAll(/\{([^}]*)\}/g)].flatMap(([, filters = ""]) =>
    [...filters.matchAll(/([a-z_]+)(?==|!)/g)].map(([name]) => name),
  );
  return [...grouped, ...filtered].filter((name) => name !== "");
}

test("each names only metrics and labels that /metrics has", async () => {
  const fixture = await startFixture();
  const gateway = await startGateway({
    servers: [fixtureServer(fixture)],
    limits: [{ name: "per-user", always: true, key: ["principal"], limit: 30, window: "60s" }],
    audit: { export: [{ otlp: "http://127.0.0.1:1" }] },
  });
  await discovered(gateway, "fixture");
  for (const key of [KEYS.alice, KEYS.ada]) await DOORS["rest"]!(gateway, { key, tool: "echo" });
  const answer = await fetch(`http://${gateway.admin}/metrics`, { headers: { "x-api-key": KEYS.root } });
  const text = await answer.text();
  const known = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
  const labels = new Set([...text.matchAll(/[{,]([a-z_]+)="/g)].map(([, name]) => name));
  await gateway.close();
  await fixture.close();
  const named = new Set([...promql, ...rules.map(({ expr }) => expr)].flatMap(metricsIn));
  expect(named.size).toBeGreaterThan(15);
  expect([...named].filter((name) => !known.has(name))).toEqual([]);
  const asked = new Set([...promql, ...rules.map(({ expr }) => expr)].flatMap(labelsIn));
  expect(asked.size).toBeGreaterThan(5);
  expect([...asked].filter((name) => !labels.has(name))).toEqual([]);
});

test("each names only attributes of the registry", () => {
  const named = new Set(
    traceql.flatMap((query) => [...query.matchAll(/span\.([a-z_.]+)/g)].map(([, name]) => name ?? "")),
  );
  expect(named.size).toBeGreaterThan(10);
  expect([...named].filter((name) => !Object.hasOwn(ATTRIBUTES, name))).toEqual([]);
});

test("each span that a query names by its name is drawn", () => {
  const names = traceql.flatMap((query) => [...query.matchAll(/\bname = "(\w+)"/g)].map(([, name]) => name));
  expect(names.filter((name) => !["route", "policy", "limit", "intent"].includes(name ?? ""))).toEqual([]);
});

test("each dashboard leaves the choice of its sources to who imports it, and has every panel once", async () => {
  const files = (await readdir(join(otel, "dashboards"))).toSorted();
  expect(files).toEqual(
    Object.keys(DASHBOARDS)
      .map((name) => `${name}.json`)
      .toSorted(),
  );
  for (const file of files) {
    const text = await readFile(join(otel, "dashboards", file), "utf8");
    const dashboard = JSON.parse(text) as {
      uid: string;
      templating: { list: { type: string; query: string }[] };
      panels: { id: number; title: string; datasource: { uid: string } }[];
    };
    expect(dashboard.templating.list.map(({ type, query }) => `${type} ${query}`)).toEqual([
      "datasource prometheus",
      "datasource tempo",
    ]);
    for (const { datasource } of dashboard.panels) expect(["${prometheus}", "${tempo}"]).toContain(datasource.uid);
    for (const field of ["id", "title"] as const)
      expect(new Set(dashboard.panels.map((panel) => panel[field])).size).toBe(dashboard.panels.length);
  }
});

test("each alert says what to do", () => {
  expect(rules.length).toBeGreaterThan(12);
  for (const { alert, annotations } of rules) {
    expect(alert).toMatch(/^Portcullis[A-Z]/);
    expect(annotations.runbook.length).toBeGreaterThan(40);
  }
});

describe.skipIf(lacks("promtool"))("promtool", () => {
  test("takes the alerts, and their tests pass", async () => {
    const promtool = requirePart("promtool");
    for (const args of [
      ["check", "rules", "alerts.yaml"],
      ["test", "rules", "alerts_test.yaml"],
    ]) {
      const { code, stdout, stderr } = await run(promtool, args, { cwd: otel });
      expect([args, code, `${stdout}${stderr}`]).toEqual([args, 0, expect.stringContaining("SUCCESS")]);
    }
  });

  test("takes every question of the dashboards", async () => {
    const folder = await mkdtemp(join(tmpdir(), "promql-"));
    const asked = promql.map((expr, at) => ({
      record: `panel:${at}`,
      expr: expr.replaceAll("$__rate_interval", "5m"),
    }));
    const file = join(folder, "rules.json");
    await writeFile(file, JSON.stringify({ groups: [{ name: "panels", rules: asked }] }));
    const { code, stdout, stderr } = await run(requirePart("promtool"), ["check", "rules", file]);
    await rm(folder, { recursive: true });
    expect([code, `${stdout}${stderr}`]).toEqual([0, expect.stringContaining(`${asked.length} rules found`)]);
  });
});
