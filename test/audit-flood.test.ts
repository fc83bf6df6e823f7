/** A flood of wrong keys: strangers write next to nothing, and those who are known are served. */
import { readdirSync, statSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { faultyDisk, auditing, callOnce, refuse, unauthenticated } from "./audit-parts.ts";
import { DOORS } from "./support/ask.ts";
import { discovered, fixtureServer, KEYS, startGateway } from "./support/gateway.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const FLOOD_MS = process.env["FULL"] === "1" ? 120_000 : 2_000;
const FOLD_MS = 10_000;
const FLOODING = 32;
/** Wrong keys, and those that are sent away before anybody looks at them. */
const KINDS = 2;

function wrong(port: number, at: number, agent: Agent): Promise<number> {
  const headers = { "content-type": "application/json", "x-api-key": `pc_stranger${at}_${"0".repeat(64)}` };
  return new Promise((settle) => {
    const options = { host: "127.0.0.1", port, path: "/tools/fixture__echo/call", method: "POST", headers, agent };
    const asked = request(options, (answer) => {
      answer.resume().on("end", () => settle(answer.statusCode ?? 0));
    });
    asked.on("error", () => settle(0)).end(JSON.stringify({ arguments: { text: "x".repeat(1_000) } }));
  });
}

test(`wrong keys for ${FLOOD_MS / 1000} s`, async () => {
  const fixture = await startFixture();
  const gateway = await startGateway({ servers: [fixtureServer(fixture)] });
  const audit = join(gateway.folder, "data/audit");
  const size = (): number =>
    readdirSync(audit, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .reduce((sum, { name }) => sum + statSync(join(audit, name)).size, 0);
  const agent = new Agent({ keepAlive: true, maxSockets: FLOODING });
  try {
    await discovered(gateway, "fixture");
    const before = size();
    const port = Number(new URL(gateway.url).port);
    const end = performance.now() + FLOOD_MS;
    const statuses = new Map<number, number>();
    const flood = Array.from({ length: FLOODING }, async (_, worker) => {
      for (let turn = 0; performance.now() < end; turn++) {
        const status = await wrong(port, worker * 1_000_000 + turn, agent);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    });
    const served: string[] = [];
    while (performance.now() < end) {
      served.push((await DOORS["rest"]!(gateway, { key: KEYS.alice, tool: "echo" })).code);
      await sleep(50);
    }
    await Promise.all(flood);
    expect(new Set(served)).toEqual(new Set(["ok"]));
    expect(served.length).toBeGreaterThan(0);
    expect([...statuses.keys()].toSorted()).toEqual([401, 429]);
    const asked = [...statuses.values()].reduce((sum, count) => sum + count, 0);
    expect(asked).toBeGreaterThan(FLOODING * 2);
    const grown = size() - before;
    await gateway.stop();
    const records = await gateway.records();
    const strangers = records.filter((one) => one["portcullis.principal.id"] === undefined);
    expect(strangers.length).toBeLessThanOrEqual(KINDS * (2 + FLOOD_MS / FOLD_MS));
    expect(strangers.reduce((sum, one) => sum + Number(one["portcullis.count"]), 0)).toBe(asked);
    // what is known costs two records a call, what is unknown nothing that counts
    expect(grown).toBeLessThan((2 * served.length + strangers.length) * 4_096);
  } finally {
    agent.destroy();
    await gateway.close();
    await fixture.close();
  }
});

test("where little of the disk is left, it belongs to those who are known", async () => {
  const { disk, faults } = faultyDisk();
  const room = await auditing({ disk, freeBytesMin: 1_000, reserveBytes: 10_000 });
  faults.free = 5_000;
  expect((await callOnce(room)).ok).toBe(true);
  expect(await refuse(room, unauthenticated())).toMatchObject({ refusal: { code: "audit_unavailable" } });
  expect((await callOnce(room)).ok).toBe(true);
});
