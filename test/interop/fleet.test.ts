/**
 * The promise: of three gateways behind an Envoy one may be killed, and all may be restarted one after another, under
 * load. No call of a tool that may run twice fails, none of another runs twice, and every record arrives at the control
 * plane, each chain whole.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { verify } from "../../src/audit/verify.ts";
import { discovered, fixtureServer, KEYS, until } from "../support/gateway.ts";
import type { TestGateway } from "../support/gateway.ts";
import { envoyProxy, freePort, lacks } from "../support/parts.ts";
import type { Part } from "../support/parts.ts";
import { adminOf, keyFileOf, startControl } from "../support/planes.ts";
import { portcullis } from "../support/portcullis.ts";
import type { Portcullis } from "../support/portcullis.ts";
import { startFixture } from "../support/upstreams/fixture.ts";
import type { Fixture } from "../support/upstreams/fixture.ts";

const FULL = process.env["FULL"] === "1";
const KILLS = FULL ? 10 : 2;
const ROUNDS = FULL ? 3 : 1;
const CALLERS = 12;
const EXAMPLE = readFileSync(join(import.meta.dirname, "../examples/envoy-fleet.yaml"), "utf8");
const PORTS = [8484, 8486, 8488];

type Gateway = {
  readonly folder: string;
  readonly port: number;
  readonly words: readonly string[];
  running: Portcullis;
};

/** The example's ports, as they are here. */
const META = {
  "io.modelcontextprotocol/protocolVersion": "2026-07-28",
  "io.modelcontextprotocol/clientCapabilities": {},
  "io.modelcontextprotocol/clientInfo": { name: "fleet", version: "1" },
};

type Told = {
  readonly tool: string;
  readonly id: string;
  readonly ok: boolean;
  readonly callId: string | null;
  readonly said: string;
};

async function call(url: string, tool: string, id: string): Promise<Told> {
  const body = {
    jsonrpc: "2.0",
    id: 1,
    method: "tools/call",
    params: { name: tool, arguments: { text: id, ms: 20 }, _meta: META },
  };
  try {
    const response = await fetch(`${url}/mcp/fixture`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        accept: "application/json, text/event-stream",
        "x-api-key": KEYS.alice,
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": "tools/call",
        "mcp-name": tool,
      },
      body: JSON.stringify(body),
    });
    const text = await response.text();
    const ok = response.ok && text.includes('"result"') && !text.includes('"isError":true');
    return {
      tool,
      id,
      ok,
      callId: response.headers.get("portcullis-call-id"),
      said: `${response.status} ${text.slice(0, 300)}`,
    };
  } catch (cause) {
    return { tool, id, ok: false, callId: null, said: String(cause) };
  }
}

describe.skipIf(lacks("envoy"))("three gateways behind an Envoy", () => {
  let fixture: Fixture;
  let control: TestGateway;
  let envoy: Part & { readonly url: string; readonly admin: string };
  const gateways: Gateway[] = [];

  beforeAll(async () => {
    fixture = await startFixture({ era: "both", sessions: false });
    const server = fixtureServer(fixture, { audit: { arguments: "full" }, tools: { slow: { idempotent: false } } });
    control = await startControl({ servers: [server] });
    await discovered(control, "fixture");
    for (const [at, port] of [await freePort(), await freePort(), await freePort()].entries()) {
      const { file } = await keyFileOf(control, `edge-${at}`);
      const folder = mkdtempSync(join(tmpdir(), "portcullis-fleet-"));
      writeFileSync(join(folder, "own.yaml"), "");
      const words = ["sidecar", "--control", `http://${control.admin}`, "--key-file", file];
      gateways.push({ folder, port, words, running: await start({ folder, port, words }) });
    }
    envoy = await envoyProxy(EXAMPLE, Object.fromEntries(PORTS.map((port, at) => [port, gateways[at]?.port ?? 0])));
    await until(async () => (await call(envoy.url, "echo", "warm")).ok, "a call passes");
    for (let warm = 0; warm < 30; warm++) await call(envoy.url, warm % 2 === 0 ? "echo" : "slow", "warm");
  }, 120_000);

  afterAll(async () => {
    await envoy.stop();
    for (const { running, folder } of gateways) {
      await running.stop();
      rmSync(folder, { recursive: true, force: true });
    }
    await control.close();
    await fixture.close();
  });

  /** Both tools, without end until told. */
  function load(): () => Promise<readonly Told[]> {
    const stopping = new AbortController();
    const told: Told[] = [];
    const caller = async (seed: number): Promise<void> => {
      for (let index = 0; !stopping.signal.aborted; index++)
        told.push(
          await call(envoy.url, (seed + index) % 2 === 0 ? "echo" : "slow", `${seed}-${index}-${Math.random()}`),
        );
    };
    const callers = Array.from({ length: CALLERS }, (_, seed) => caller(seed));
    return async () => {
      stopping.abort();
      await Promise.all(callers);
      return told;
    };
  }

  const runsOf = () => Map.groupBy(fixture.state.arrivals, (one) => String(one.arguments["text"]));

  /** As Envoy sees it. */
  const ready = async (): Promise<number> =>
    (await (await fetch(`${envoy.admin}/clusters`)).text()).match(/health_flags::healthy$/gm)?.length ?? 0;

  test("Envoy sees that all are ready, and that one which is draining is not", async () => {
    await until(async () => (await ready()) === 3, "all are ready");
    const [first] = gateways as [Gateway];
    await first.running.stop();
    await until(async () => (await ready()) === 2, "one is not");
    first.running = await start(first);
    await until(async () => (await ready()) === 3, "all are ready again");
  });

  test(
    "one is killed: no echo fails, nothing else runs twice, and who is not answered is told",
    async () => {
      for (let kill = 0; kill < KILLS; kill++) {
        const stop = load();
        const victim = gateways[kill % 3] as Gateway;
        await sleep(1_000);
        process.kill(victim.running.pid, "SIGKILL");
        await sleep(1_500);
        const told = await stop();
        const failed = told.filter(({ ok }) => !ok);
        expect(failed.filter(({ tool }) => tool === "echo").map(({ said }) => said)).toEqual([]);
        const runs = runsOf();
        for (const { id, tool } of told)
          if (tool === "slow") expect(runs.get(id)?.length ?? 0, id).toBeLessThanOrEqual(1);
        expect(told.length).toBeGreaterThan(100);
        await victim.running.stop();
        victim.running = await start(victim);
        await sleep(700);
      }
    },
    60_000 + KILLS * 20_000,
  );

  test(
    "all are restarted, one after another: no call fails",
    async () => {
      for (let round = 0; round < ROUNDS; round++) {
        const stop = load();
        for (const gateway of gateways) {
          await sleep(700);
          expect(await gateway.running.stop()).toBe(0);
          gateway.running = await start(gateway);
          // with none left that is ready, a call has nowhere to go
          await until(async () => (await ready()) === 3, "Envoy has seen it");
        }
        const told = await stop();
        expect(told.filter(({ ok }) => !ok).map(({ said }) => said)).toEqual([]);
        const runs = runsOf();
        for (const { id } of told) expect(runs.get(id)?.length, id).toBe(1);
        expect(told.length).toBeGreaterThan(300);
      }
    },
    60_000 + ROUNDS * 60_000,
  );

  test("no record is lost: each run and each answer is at the control plane, each chain whole", async () => {
    const stop = load();
    await sleep(500);
    const told = await stop();
    const known = new Map<string, string>();
    const read = async (): Promise<void> => {
      for (let after: string | null = null, more = true; more;) {
        const page: {
          rows: readonly { callId: string; arguments: string | null }[];
          endCursor: string | null;
          hasNextPage: boolean;
        } = await adminOf(control).audit.calls.query({ first: 1000, after, filter: { operation: "tools/call" } });
        for (const { callId, arguments: args } of page.rows) known.set(callId, args ?? "");
        ({ endCursor: after, hasNextPage: more } = page);
      }
    };
    const unrecorded = (): readonly string[] => {
      const texts = new Set(
        [...known.values()].map((args) => (JSON.parse(args || "{}") as { text?: string }).text ?? ""),
      );
      return [...runsOf().keys()].filter((text) => !texts.has(text));
    };
    // also what ran for callers who never heard of it
    await until(
      async () => {
        await read();
        return told.every(({ callId }) => known.has(callId ?? "")) && unrecorded().length === 0;
      },
      "all answers and all runs have records",
      60_000,
    );
    for (let at = 0; at < gateways.length; at++)
      expect(await verify(join(control.folder, "data/audit/gathered", `edge-${at}`))).toMatchObject({ ok: true });
  }, 90_000);
});

function start({ folder, port, words }: Pick<Gateway, "folder" | "port" | "words">): Promise<Portcullis> {
  return portcullis({ command: words, config: "drain: 10s\n", folder, listen: `127.0.0.1:${port}` });
}
