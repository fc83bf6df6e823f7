/**
 * The promise: what is too much is refused before any work, and a tenant that asks for ten times its share costs the others
 * nothing that they would notice; health, administration and the audit answer all the while.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DOORS } from "../support/ask.ts";
import { BASE_CONFIG, discovered, fixtureServer, keyEntry, keyOf, KEYS, startGateway } from "../support/gateway.ts";
import type { TestGateway } from "../support/gateway.ts";
import { adminOf } from "../support/planes.ts";
import { startFixture } from "../support/upstreams/fixture.ts";
import type { Fixture } from "../support/upstreams/fixture.ts";

const IN_FLIGHT = 8;
const ROUNDS = process.env["FULL"] === "1" ? 50 : 8;
const SLOW_MS = 200;

let fixture: Fixture;
let gateway: TestGateway;
beforeAll(async () => {
  fixture = await startFixture();
  gateway = await startGateway({
    overload: { inFlight: IN_FLIGHT },
    principals: [...BASE_CONFIG.principals, { id: "paul", roles: ["analyst"], tenant: "polite" }],
    auth: { keys: [...BASE_CONFIG.auth.keys, keyEntry("paul")] },
    servers: [fixtureServer(fixture)],
  });
  await discovered(gateway, "fixture");
});
afterAll(async () => {
  await gateway.close();
  await fixture.close();
});

type Told = { readonly code: string; readonly tookMs: number };

async function slow(key: string): Promise<Told> {
  const begun = performance.now();
  const { code } = await DOORS["rest"]!(gateway, { key, tool: "slow", arguments: { ms: SLOW_MS } });
  return { code, tookMs: performance.now() - begun };
}

/** One after another, as somebody who waits for answers. */
async function politely(): Promise<readonly Told[]> {
  const told: Told[] = [];
  for (let round = 0; round < ROUNDS; round++) told.push(await slow(keyOf("paul")));
  return told;
}

/** Ten times as many at once as there is room for, until told to stop. */
function flood(): { readonly stop: () => Promise<readonly Told[]> } {
  const stop = new AbortController();
  const told: Told[] = [];
  const askers = Array.from({ length: IN_FLIGHT * 10 }, async () => {
    while (!stop.signal.aborted) {
      const one = await slow(KEYS.alice);
      told.push(one);
      // whoever is told to come back later does not ask again at once
      if (one.code !== "ok") await new Promise((later) => setTimeout(later, SLOW_MS * 2));
    }
  });
  return {
    stop: async () => {
      stop.abort();
      await Promise.all(askers);
      return told;
    },
  };
}

const middle = (told: readonly Told[]): number =>
  told.map(({ tookMs }) => tookMs).toSorted((a, b) => a - b)[Math.floor(told.length / 2)] ?? 0;

describe("a tenant that floods", () => {
  test("is shed, and the other tenant is served as before", async () => {
    const alone = await politely();
    const flooding = flood();
    const beside = await politely();
    const flooded = await flooding.stop();
    expect(new Set([...alone, ...beside].map(({ code }) => code))).toEqual(new Set(["ok"]));
    expect(new Set(flooded.map(({ code }) => code))).toEqual(new Set(["ok", "overloaded"]));
    // a tenth is promised; five times that is asserted, since test machines are slow
    expect(middle(beside)).toBeLessThan(middle(alone) * 1.5 + 5);
  });

  test("does not shut out health, administration and the audit", async () => {
    const flooding = flood();
    for (let round = 0; round < 3; round++) {
      expect((await fetch(`${gateway.url}/livez`)).status).toBe(200);
      expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
      const { checks } = await adminOf(gateway).health.check.query();
      expect(checks.find(({ name }) => name === "load")?.detail).toMatch(/^\d+ in flight/);
      const answer = await fetch(`${gateway.url}/graphql`, {
        method: "POST",
        headers: { "content-type": "application/json", "x-api-key": KEYS.ada },
        body: JSON.stringify({
          query: '{ calls(first: 1, filter: {error: "overloaded"}) { edges { node { principal } } } }',
        }),
      });
      expect(answer.status).toBe(200);
    }
    expect(new Set((await flooding.stop()).map(({ code }) => code))).toContain("overloaded");
  });

  test("is told before any work was done: nothing is executed, and each refusal has its record", async () => {
    const flooding = flood();
    await new Promise((later) => setTimeout(later, 500));
    const told = await flooding.stop();
    const records = await gateway.records();
    const shed = records.filter((one) => one["error.type"] === "overloaded");
    expect(shed.length).toBeGreaterThanOrEqual(told.filter(({ code }) => code === "overloaded").length);
    expect(new Set(shed.map((one) => one["portcullis.executed"]))).toEqual(new Set(["no"]));
  });
});
