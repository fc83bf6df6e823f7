/**
 * Do the audit's spans reach a collector, with the names that dashboards look for, and does a collector that is away
 * cost anything but time? A real one (rotel) prints what it received.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { checkpointPins } from "../../src/snapshot/keyring.ts";
import { freePort, lacks, rotel } from "../support/parts.ts";
import { portcullis as portcullisCommand } from "../cli-io.ts";
import { key, portcullis, temporaryFolder } from "../support/portcullis.ts";
import type { Portcullis } from "../support/portcullis.ts";

const alice = key("alice", "alice");
const CALLS = 8;
const POLL = { timeout: 45_000, interval: 100 };
const TRACE = "0af7651916cd43dd8448eb211c80319c";
const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop();
});

describe.skipIf(lacks("rotel"))("the export of the audit", () => {
  test("brings each record to the collector as a span of the caller's trace", async () => {
    const collector = await rotel();
    stops.push(collector.stop);
    const gateway = await started(collector.url);
    await call(gateway, "everything__echo", { traceparent: `00-${TRACE}-b7ad6b7169203331-01` });
    await call(gateway, "everything__get-env");
    await expect.poll(() => recordsIn(collector.output()).size, POLL).toBe(3);
    const [intent, outcome, refusal] = ["intent", "outcome", "refusal"].map((record) =>
      spansIn(collector.output()).find((span) => span.attributes["portcullis.record"] === record),
    );
    expect(intent).toMatchObject({ traceId: TRACE, attributes: { "portcullis.decision": "allow" } });
    expect(outcome).toMatchObject({ traceId: TRACE, parentId: "b7ad6b7169203331", kind: "SPAN_KIND_SERVER" });
    expect(outcome?.attributes).toMatchObject({
      "gen_ai.operation.name": "execute_tool",
      "gen_ai.tool.name": "everything__echo",
      "mcp.method.name": "tools/call",
      "portcullis.principal.id": "alice",
      "portcullis.interface": "rest",
      "portcullis.server.name": "everything",
      "portcullis.executed": "yes",
      "portcullis.outcome": "success",
    });
    expect(refusal?.attributes).toMatchObject({
      "gen_ai.tool.name": "everything__get-env",
      "portcullis.decision": "deny",
      "portcullis.executed": "no",
      "error.type": "forbidden",
    });
    expect(collector.output()).not.toContain(alice.text);
    expectChildren(collector.output());
  });

  test("brings them over gRPC too", async () => {
    const collector = await rotel();
    stops.push(collector.stop);
    const gateway = await started(collector.grpcUrl, { protocol: "grpc" });
    await call(gateway, "everything__echo");
    await call(gateway, "everything__get-env");
    await expect.poll(() => recordsIn(collector.output()).size, POLL).toBe(3);
    expectChildren(collector.output());
  });

  test("as `audit export` prints it is OTLP/JSON that a collector takes as it is", async () => {
    const collector = await rotel();
    stops.push(collector.stop);
    const gateway = await started(null);
    await call(gateway, "everything__echo");
    await call(gateway, "everything__get-env");
    const { stdout } = await portcullisCommand(["audit", "export", join(gateway.folder, "data/audit")]);
    const headers = { "content-type": "application/json" };
    for (const body of stdout.trimEnd().split("\n"))
      expect((await fetch(`${collector.url}/v1/traces`, { method: "POST", headers, body })).status).toBe(200);
    await expect.poll(() => recordsIn(collector.output()).size, POLL).toBe(3);
    expectChildren(collector.output());
  });

  test("loses nothing while the collector is away", async () => {
    const port = await freePort();
    const gateway = await started(`http://127.0.0.1:${port}`);
    for (let count = 0; count < CALLS; count++) await call(gateway, "everything__echo");
    const collector = await rotel({ port });
    stops.push(collector.stop);
    for (let count = 0; count < CALLS; count++) await call(gateway, "everything__echo");
    // two records a call: one before the server heard, one before the caller did
    await expect.poll(() => recordsIn(collector.output()).size, POLL).toBe(CALLS * 4);
    const numbers = spansIn(collector.output(), "").flatMap(({ attributes }) =>
      attributes["audit.sequence.number"] === undefined ? [] : Number(attributes["audit.sequence.number"]),
    );
    const distinct = [...new Set(numbers)].toSorted((one, other) => one - other);
    expect(distinct).toEqual(Array.from({ length: Math.max(...numbers) }, (_, at) => at + 1));
  });

  test("loses nothing when the collector goes away amid calls and comes back", async () => {
    const first = await rotel();
    stops.push(first.stop);
    const gateway = await started(first.url);
    for (let count = 0; count < CALLS; count++) await call(gateway, "everything__echo");
    await expect.poll(() => recordsIn(first.output()).size, POLL).toBe(CALLS * 2);
    await first.stop();
    for (let count = 0; count < CALLS; count++) await call(gateway, "everything__echo");
    const second = await rotel({ port: first.port });
    stops.push(second.stop);
    const both = () => new Set([...recordsIn(first.output()), ...recordsIn(second.output())]).size;
    await expect.poll(both, POLL).toBe(CALLS * 4);
  });

  test("goes on where it was after a restart of the gateway", async () => {
    const port = await freePort();
    const folder = temporaryFolder();
    stops.push(async () => rmSync(folder, { recursive: true, force: true }));
    const before = await started(`http://127.0.0.1:${port}`, { folder });
    for (let count = 0; count < CALLS; count++) await call(before, "everything__echo");
    await before.stop();
    const collector = await rotel({ port });
    stops.push(collector.stop);
    await started(collector.url, { folder });
    await expect.poll(() => recordsIn(collector.output()).size, POLL).toBe(CALLS * 2);
  });
});

test.skipIf(lacks("rotel"))(
  "a collector that was away has the checkpoints of the trail as logs, and the trail verifies against them",
  async () => {
    const port = await freePort();
    const gateway = await started(null, { checkpoints: { every: 2, to: [{ otlp: `http://127.0.0.1:${port}` }] } });
    for (let count = 0; count < CALLS; count++) await call(gateway, "everything__echo");
    const collector = await rotel({ port, shows: "logs" });
    stops.push(collector.stop);
    const notes = () =>
      [...collector.output().matchAll(/Body: Str\((portcullis\/[^)]*\n)\)/g)].map(([, note = ""]) => note);
    await expect.poll(() => notes().at(-1)?.split("\n")[1], POLL).toBe(String(CALLS * 2));
    expect(collector.output()).toMatch(/EventName: portcullis\.checkpoint/);
    expect(collector.output()).toMatch(/ObservedTimestamp: [1-9]/);
    const file = join(gateway.folder, "kept");
    writeFileSync(file, notes().at(-1) ?? "");
    const verify = (trail: string) =>
      portcullisCommand(["audit", "verify", trail, "--checkpoints", file, "--key", keyOf(gateway)]);
    expect(await verify(join(gateway.folder, "data/audit"))).toMatchObject({ code: 0 });
    expect(await verify(mkdtempSync(join(gateway.folder, "empty-")))).toMatchObject({ code: 1 });
  },
);

/** What its checkpoints are signed with. */
function keyOf({ folder }: Portcullis): string {
  const [pin = ""] = checkpointPins(readFileSync(join(folder, "data/keyring.json"), "utf8"), "keyring.json");
  return pin;
}

/** One server span for each call, and what it consists of, as the collector says it came. */
function expectChildren(output: string): void {
  const kinds = Map.groupBy(spansIn(output, ""), ({ kind, name }) => `${name}, ${kind}`);
  const counts = Object.fromEntries([...kinds].map(([what, spans]) => [what, spans.length]));
  expect(counts).toMatchObject({
    "tools/call everything__echo, SPAN_KIND_SERVER": 1,
    "tools/call everything__echo, SPAN_KIND_CLIENT": 1,
    "tools/call everything__get-env, SPAN_KIND_SERVER": 1,
    "intent, SPAN_KIND_INTERNAL": expect.any(Number) as number,
    "policy, SPAN_KIND_INTERNAL": 2,
    "route, SPAN_KIND_INTERNAL": 2,
  });
  expect(counts).not.toHaveProperty("tools/call everything__get-env, SPAN_KIND_CLIENT");
}

async function started(
  otlp: string | null,
  { folder, protocol, checkpoints = {} }: { folder?: string; protocol?: string; checkpoints?: object } = {},
): Promise<Portcullis> {
  const args = ["node_modules/@modelcontextprotocol/server-everything/dist/index.js", "stdio"];
  const config = {
    roles: { analyst: ["demo:use"] },
    principals: [{ id: "alice", roles: ["analyst"] }],
    auth: { keys: [alice.entry] },
    audit: { export: otlp === null ? [] : [{ otlp, ...(protocol === undefined ? {} : { protocol }) }], checkpoints },
    servers: [
      {
        name: "everything",
        permissions: ["demo:use"],
        instances: [{ stdio: { command: process.execPath, args } }],
        tools: { "get-env": { permissions: ["env:read"] } },
      },
    ],
  };
  const tools = { key: alice.text, ids: ["everything__echo"] };
  const gateway = await portcullis({ config, tools, ...(folder === undefined ? {} : { folder }) });
  stops.push(gateway.stop);
  return gateway;
}

async function call(gateway: Portcullis, tool: string, headers: Record<string, string> = {}): Promise<void> {
  const answer = await fetch(`${gateway.url}/tools/${tool}/call`, {
    method: "POST",
    headers: { "content-type": "application/json", "x-api-key": alice.text, ...headers },
    body: JSON.stringify({ arguments: tool.endsWith("echo") ? { message: "hello" } : {} }),
  });
  expect(answer.status).toBe(tool.endsWith("echo") ? 200 : 403);
}

type Span = {
  readonly traceId: string;
  readonly parentId: string;
  readonly name: string;
  readonly kind: string;
  readonly attributes: { readonly [name: string]: string };
};

/** The collector's detailed log, read back: spans on tools of the given server, or all of them. */
function spansIn(log: string, toolPrefix = "everything__"): readonly Span[] {
  const spans = log
    .split(/^Span #\d+$/m)
    .slice(1)
    .map((text) => ({
      traceId: field(text, "Trace ID"),
      parentId: field(text, "Parent ID"),
      name: field(text, "Name"),
      kind: field(text, "Kind"),
      attributes: Object.fromEntries(
        [...text.matchAll(/^ +-> ([\w.]+): \w+\((.*)\)$/gm)].map(([, name = "", value = ""]) => [name, value]),
      ),
    }));
  return spans.filter(({ attributes }) => (attributes["gen_ai.tool.name"] ?? "").startsWith(toolPrefix));
}

function field(text: string, name: string): string {
  return new RegExp(`^ +${name} *: (.*)$`, "m").exec(text)?.[1] ?? "";
}

/** A record sent twice is one record: delivery is at least once. */
function recordsIn(log: string): ReadonlySet<string> {
  // a child has the call's id, and is no record
  const own = spansIn(log).filter(({ attributes }) => attributes["portcullis.record"] !== undefined);
  return new Set(own.map(({ attributes }) => `${attributes["portcullis.call.id"]} ${attributes["portcullis.record"]}`));
}
