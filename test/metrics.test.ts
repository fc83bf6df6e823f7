/** The promise: whoever holds `metrics:read` can scrape how every room does, at the admin listener and nowhere else. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DOORS } from "./support/ask.ts";
import { BASE_CONFIG, discovered, fixtureServer, KEYS, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";
import type { Fixture } from "./support/upstreams/fixture.ts";

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
    const named = [...text.matchAll(/^# TYPE (\S+) (gauge|counter)$/gm)].map(([, name]) => name);
    expect(new Set(named).size).toBe(named.length);
    for (const [, name] of text.matchAll(/^(\w+)(?:\{[^}]*\})? -?\d+(?:\.\d+)?$/gm)) expect(named).toContain(name);
    expect(text).not.toContain("such");
    expect(text).not.toContain("127.0.0.1");
    expect(text).not.toMatch(/NaN|Infinity|undefined/);
  });

  test("are for whoever may read them, and not at the traffic listener", async () => {
    expect((await scrape(KEYS.alice)).status).toBe(403);
    expect((await scrape("pc_none_00")).status).toBe(401);
    expect((await scrape(KEYS.ada, gateway.traffic)).status).toBe(404);
  });
});
