/** The promise: whoever holds `metrics:read` can scrape how every room does, at the admin listener and nowhere else. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createMeters } from "../src/audit/meters.ts";
import type { Call } from "../src/model.ts";
import { createRequestMeter } from "../src/request-meter.ts";
import { DOORS } from "./support/ask.ts";
import { BASE_CONFIG, discovered, fixtureServer, KEYS, startGateway, until } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import { stands } from "./support/stand.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

const { stand } = stands();
let fixture: Fixture;
let gateway: TestGateway;
beforeAll(async () => {
  fixture = await startFixture();
  gateway = await startGateway({
    roles: { ...BASE_CONFIG.roles, auditor: ["metrics:read"] },
    limits: [{ name: "two", always: true, key: ["principal"], limit: 2, window: "1h" }],
    servers: [fixtureServer(fixture)],
  });
  await discovered(gateway, "fixture");
});
afterAll(async () => {
  await gateway.close();
  await fixture.close();
});

const scrape = (key: string, at = gateway.admin) => fetch(`http://${at}/metrics`, { headers: { "x-api-key": key } });

async function series(): Promise<ReadonlyMap<string, number>> {
  const lines = (await (await scrape(KEYS.ada)).text())
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(" ")), Number(line.slice(line.lastIndexOf(" ")))]),
  );
}

describe("metrics", () => {
  test("say how each room does, in Prometheus's text", async () => {
    for (let call = 0; call < 3; call++)
      await DOORS["rest"]!(gateway, { key: KEYS.alice, tool: "echo", arguments: { text: "x" } });
    const answer = await scrape(KEYS.ada);
    expect(answer.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    const found = await series();
    expect(found.get('portcullis_limit_calls_total{limit="two",outcome="charged"}')).toBe(2);
    expect(found.get('portcullis_limit_calls_total{limit="two",outcome="refused"}')).toBe(1);
    const instance = `server="fixture",version="1.0.0",instance="fixture@1.0.0#${new URL(fixture.url).host}"`;
    expect(found.get(`portcullis_instance_breaker{${instance}}`)).toBe(0);
    expect(found.get("portcullis_audit_writable")).toBe(1);
    expect(found.get("portcullis_audit_records_total")).toBeGreaterThanOrEqual(5);
    expect(found.get("portcullis_policy_in_force")).toBe(1);
    expect(found.get("portcullis_shed_total")).toBe(0);
  });

  test("have a help and a type before each series, and nothing that a caller said", async () => {
    await DOORS["rest"]!(gateway, { key: KEYS.alice, tool: 'no"such\ntool', arguments: {} });
    const text = await (await scrape(KEYS.ada)).text();
    const named = [...text.matchAll(/^# TYPE (\S+) (gauge|counter|histogram)$/gm)].map(([, name]) => name);
    expect(new Set(named).size).toBe(named.length);
    const values = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
    for (const line of values) {
      const [, name = ""] = /^(\w+)(?:\{[^}]*\})? -?\d+(?:\.\d+)?(?:e-\d+)?$/.exec(line) ?? [];
      expect(named, line).toContain(name.replace(/_(bucket|sum|count)$/, ""));
    }
    expect(text).not.toContain("such");
    // but for instances, which are named by their address
    expect(text.replaceAll(/,instance="[^"]*"/g, "")).not.toContain("127.0.0.1");
    expect(text).not.toMatch(/NaN|Infinity|"undefined"| undefined$/m);
  });

  test("say how long calls took, here, at their server and in each stage, in buckets that add up", async () => {
    await DOORS["rest"]!(gateway, { key: KEYS.oscar, tool: "echo", arguments: { text: "x" } });
    const found = await series();
    const of = 'mcp_method_name="tools/call",gen_ai_tool_name="fixture__echo",mcp_server_name="fixture"';
    const count = found.get(`mcp_server_operation_duration_seconds_count{${of}}`) ?? 0;
    expect(count).toBeGreaterThanOrEqual(1);
    expect(found.get(`mcp_client_operation_duration_seconds_count{${of}}`)).toBe(count);
    expect(found.get(`mcp_server_operation_duration_seconds_bucket{${of},le="+Inf"}`)).toBe(count);
    const buckets = [...found].filter(([name]) =>
      name.startsWith(`mcp_server_operation_duration_seconds_bucket{${of},le=`),
    );
    expect(buckets).toHaveLength(15);
    expect(buckets.map(([, value]) => value)).toEqual(buckets.map(([, value]) => value).toSorted((a, b) => a - b));
    expect(found.get(`mcp_server_operation_duration_seconds_sum{${of}}`)).toBeGreaterThan(0);
    for (const stage of ["authenticate", "authorize", "limit", "record", "forward"])
      expect(found.get(`portcullis_stage_duration_seconds_count{portcullis_stage="${stage}"}`), stage).toBeGreaterThan(
        0,
      );
    expect(found.get("portcullis_audit_write_duration_seconds_count")).toBeGreaterThan(0);
    // refused by the limit of the first test, and so never sent
    const refused = `${of},error_type="rate_limited"`;
    expect(found.get(`mcp_server_operation_duration_seconds_count{${refused}}`)).toBeGreaterThanOrEqual(1);
    expect(found.has(`mcp_client_operation_duration_seconds_count{${refused}}`)).toBe(false);
  });

  test("say how often policy gave no value and why, what was undefined in it, and what its mask did not say", async () => {
    const { gateway: faulty, admin, call } = await stand();
    const modules = {
      "p.rego": `package portcullis

default decision := {"allow": false}

decision := {"allow": true} if input.request.time != ""

decision := {"allow": false, "reasons": ["another"]} if input.arguments.text == "two"

decision := {"allow": true} if {
	input.arguments.text == "endless"
	count([1 | some x in numbers.range(1, 3000); some y in numbers.range(1, 3000); x == y]) > 0
}

decision := {"allow": true} if semver.compare(input.arguments.text, "1.0.0") == 0
`,
      "system/log.rego": `package system.log\n\nmask := [] if input.input.arguments.text != "unsaid"\n`,
    };
    await admin.policies.put.mutate({ value: { modules } });
    const told = () => {
      const named = (name: string) => faulty.gateway.control.metrics().find((one) => one.name === name)?.samples ?? [];
      const counts = (name: string) => named(name).map((one) => ("value" in one ? one.value : null));
      const reasons = named("portcullis_policy_faults_total").map(({ labels }) => labels["reason"]);
      return {
        faults: Object.fromEntries(counts("portcullis_policy_faults_total").map((count, at) => [reasons[at], count])),
        undefined: counts("portcullis_policy_undefined_calls_total"),
        mask: counts("portcullis_policy_mask_faults_total"),
      };
    };
    const none = { policy_undefined: 0, policy_error: 0, policy_trap: 0, policy_budget: 0 };
    const before = told();
    expect(before).toMatchObject({ faults: none, undefined: [0] });
    const codes = [];
    for (const text of ["1.0.0", "1.0.0", "two", "endless", "words", "unsaid"]) codes.push((await call(text)).code);
    expect(codes).toEqual(["ok", "ok", "forbidden", "forbidden", "ok", "ok"]);
    const after = told();
    expect(after.faults).toEqual({ ...none, policy_error: 1, policy_budget: 1 });
    expect(Number(after.undefined[0])).toBeGreaterThanOrEqual(2);
    expect(Number(after.mask[0]) - Number(before.mask[0])).toBe(1);
  });

  test("say how long HTTP requests took, by method, route and status, and name no path that somebody sent", async () => {
    const of = (labels: string) => `http_server_request_duration_seconds_count{${labels}}`;
    const listed = of(
      'http_request_method="GET",url_scheme="http",http_route="/tools",http_response_status_code="200",portcullis_listener="traffic"',
    );
    const before = (await series()).get(listed) ?? 0;
    await fetch(`${gateway.url}/tools`, { headers: { "x-api-key": KEYS.oscar } });
    await fetch(`${gateway.url}/nowhere/s3cret`, { method: "PROPFIND" });
    // whoever goes away before the answer: the tool sleeps
    const slow = { method: "POST", headers: { "content-type": "application/json", "x-api-key": KEYS.oscar } };
    const body = JSON.stringify({ arguments: { ms: 60_000 } });
    const signal = AbortSignal.timeout(200);
    await fetch(`${gateway.url}/tools/fixture__slow/call`, { ...slow, body, signal }).catch(() => {});
    const route = 'url_scheme="http",http_route="/tools/*"';
    const gone = of(`http_request_method="POST",${route},error_type="cancelled",portcullis_listener="traffic"`);
    await until(async () => (await series()).get(gone) === 1, "the one that left is counted");
    const found = await series();
    expect(found.get(listed)).toBe(before + 1);
    const other = `http_request_method="_OTHER",url_scheme="http",http_response_status_code="401"`;
    expect(found.get(of(`${other},portcullis_listener="traffic"`))).toBe(1);
    expect([...found.keys()].join("\n")).not.toMatch(/s3cret|PROPFIND|slow\/call/);
    const own = `http_request_method="GET",url_scheme="http",http_route="/metrics",http_response_status_code="200"`;
    expect(found.get(of(`${own},portcullis_listener="admin"`))).toBeGreaterThan(0);
    const buckets = [...found.keys()].filter((name) => name.startsWith("http_server_request_duration_seconds_bucket{"));
    expect(new Set(buckets.map((name) => /le="([^"]+)"/.exec(name)?.[1]))).toEqual(
      new Set("0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10 +Inf".split(" ")),
    );
  });

  test("count what failed here as failed, and nothing that was refused", () => {
    const meter = createRequestMeter();
    const asked = { listener: "traffic", scheme: "https", method: "GET", route: "/mcp" } as const;
    for (const status of [200, 404, 429, 500, 503]) meter.ended({ ...asked, status }, 7);
    const errors = meter.read().samples.map(({ labels }) => labels["error.type"]);
    expect(errors).toEqual([undefined, undefined, undefined, "500", "503"]);
    expect(meter.read().samples[0]).toMatchObject({ counts: [0, 1, ...Array.from({ length: 13 }, () => 0)] });
  });

  test("have a series for what the catalogue names, and one for all that others made up", () => {
    const meters = createMeters();
    const call = (name: string | null, error: string | null) => {
      const named = name === null ? null : { name, server: "fixture" };
      meters.ended(
        { operation: "tools/call", tool: named, startedMs: 0, tries: [], ends: [] } as unknown as Call,
        1,
        error,
      );
    };
    for (let code = 1; code <= 500; code++) call("fixture__echo", String(-code));
    call(null, "tool_not_found");
    const seen = () => meters.read().find(({ name }) => name === "mcp.server.operation.duration")?.samples ?? [];
    expect(seen().map(({ labels, count }) => [labels["error.type"], count])).toEqual([
      ["_OTHER", 500],
      ["tool_not_found", 1],
    ]);
    for (let at = 0; at < 5_000; at++) call(`fixture__${at}`, null);
    expect(seen().length).toBeLessThan(2_010);
    const others = seen().find(({ labels }) => labels["gen_ai.tool.name"] === "other");
    expect(others?.count).toBeGreaterThan(3_000);
    expect(seen().reduce((sum, { count }) => sum + count, 0)).toBe(5_501);
  });

  test("are sent to a collector as well, the same numbers under the same names, and once more at the end", async () => {
    const received: Buffer[] = [];
    const paths = new Set<string>();
    const collector = createServer((request, response) => {
      paths.add(`${request.url} ${String(request.headers["x-token"])}`);
      request.on("data", (chunk: Buffer) => received.push(chunk));
      request.on("end", () => response.writeHead(200, { "content-type": "application/x-protobuf" }).end());
    });
    await new Promise<void>((resolve) => collector.listen(0, "127.0.0.1", resolve));
    const otlp = `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
    const metrics = { otlp, interval: "1s", headers: { "x-token": "t0ken" } };
    const sending = await startGateway({ servers: [fixtureServer(fixture)], metrics });
    await discovered(sending, "fixture");
    const bytes = () => Buffer.concat(received).toString("latin1");
    await until(() => bytes().includes("portcullis_audit_records"), "the numbers");
    expect(bytes()).not.toContain("fixture__echo");
    await DOORS["rest"]!(sending, { key: KEYS.alice, tool: "echo", arguments: { text: "x" } });
    await sending.close();
    for (const name of [
      "mcp.server.operation.duration",
      "mcp.client.operation.duration",
      "http.server.request.duration",
    ])
      expect(bytes()).toContain(name);
    expect(bytes()).toContain("fixture__echo");
    expect(bytes()).not.toContain("_total");
    expect([...paths]).toEqual(["/v1/metrics t0ken"]);
    await new Promise((resolve) => collector.close(resolve));
  });

  test("are for whoever may read them, and not at the traffic listener", async () => {
    expect((await scrape(KEYS.alice)).status).toBe(403);
    expect((await scrape("pc_none_00")).status).toBe(401);
    expect((await scrape(KEYS.ada, gateway.traffic)).status).toBe(404);
  });
});
