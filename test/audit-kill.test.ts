/** Kill -9 of a whole gateway under load: what a caller was answered is in its trail, which verifies, and it is soon ready again. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { verify } from "../src/audit/verify.ts";
import { checkpointPins } from "../src/snapshot/keyring.ts";
import { BASE_CONFIG, fixtureServer, KEYS, shareCompiled, until } from "./support/gateway.ts";
import { portcullis, temporaryFolder } from "./support/portcullis.ts";
import { startFixture } from "./support/upstreams/fixture.ts";

const ROUNDS = process.env["FULL"] === "1" ? 200 : 10;
const CALLERS = 16;
/** What is promised is 2 s, on a machine of its own. */
const READY_MS_MAX = 10_000;

type Answered = { readonly callId: string; readonly executed: boolean };

/** Calls again and again, some of it refused, until the gateway is gone. */
async function load(port: number, agent: Agent, answered: Answered[]): Promise<void> {
  for (let turn = 0; ; turn++) {
    const path = turn % 4 === 3 ? "/tools/fixture__none/call" : "/tools/fixture__echo/call";
    const got = await ask(port, path, agent);
    if (got === null) return;
    answered.push(got);
  }
}

function ask(port: number, path: string, agent: Agent): Promise<Answered | null> {
  return new Promise((settle) => {
    const headers = { "content-type": "application/json", "x-api-key": KEYS.alice };
    const asked = request({ host: "127.0.0.1", port, path, method: "POST", headers, agent }, (answer) => {
      answer.on("error", () => settle(null)).resume();
      const callId = String(answer.headers["portcullis-call-id"] ?? "");
      // a whole answer: the head alone could have been sent by a process that died a moment later
      answer.on("end", () => settle(answer.complete ? { callId, executed: answer.statusCode === 200 } : null));
      answer.on("close", () => settle(null));
    });
    asked.on("error", () => settle(null)).end(JSON.stringify({ arguments: { text: "x".repeat(50) } }));
  });
}

test(`${ROUNDS} kills under load`, async () => {
  const fixture = await startFixture();
  const folder = temporaryFolder();
  await shareCompiled(folder);
  const { listen: _listen, admin: _admin, ...base } = BASE_CONFIG;
  const checkpoints = { every: 50, interval: "200ms" };
  const config = { ...base, servers: [fixtureServer(fixture)], audit: { checkpoints } };
  const audit = join(folder, "data/audit");
  const starts: number[] = [];
  let answers = 0;
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const gateway = await portcullis({ config, folder, tools: { key: KEYS.alice, ids: ["fixture__echo"] } });
      starts.push(gateway.startMs);
      const agent = new Agent({ keepAlive: true, maxSockets: CALLERS });
      const answered: Answered[] = [];
      const callers = Array.from({ length: CALLERS }, () => load(gateway.port, agent, answered));
      await until(() => answered.length > CALLERS, "callers are answered");
      await sleep((round * 37) % 300);
      process.kill(gateway.pid, "SIGKILL");
      await Promise.all(callers);
      await gateway.stop();
      agent.destroy();
      // each start has a file of its own
      const files = readdirSync(audit).filter((file) => file.endsWith(".jsonl"));
      const newest = files.toSorted().at(-1) ?? "";
      const text = readFileSync(join(audit, newest), "utf8").split("\n").slice(0, -1);
      const ended = text.filter((line) => !line.includes('"stringValue":"intent"')).join("\n");
      expect(answered.filter(({ callId }) => callId === "" || !ended.includes(callId))).toEqual([]);
      answers += answered.length;
      const pins = checkpointPins(readFileSync(join(folder, "data/keyring.json"), "utf8"), "keyring.json");
      expect((await verify(audit, { pins })).firstBad).toBeNull();
    }
    expect(answers).toBeGreaterThan(ROUNDS * CALLERS);
    expect(Math.max(...starts.slice(1))).toBeLessThan(READY_MS_MAX);
  } finally {
    await fixture.close();
    rmSync(folder, { recursive: true, force: true });
  }
}, 1_800_000);

test("the code that a start compiled is kept by a gateway that never ends but by a kill", async () => {
  const cache = mkdtempSync(join(tmpdir(), "compiled-"));
  try {
    const { listen: _listen, admin: _admin, ...config } = BASE_CONFIG;
    const gateway = await portcullis({ config, env: { NODE_COMPILE_CACHE: cache } });
    process.kill(gateway.pid, "SIGKILL");
    await gateway.stop();
    expect(readdirSync(cache, { recursive: true }).length).toBeGreaterThan(100);
  } finally {
    rmSync(cache, { recursive: true, force: true });
  }
});
