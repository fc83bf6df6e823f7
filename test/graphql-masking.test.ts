/** What does a caller hear of a fault of the gateway's own? A constant, a call id, and nothing of the fault. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createEngine } from "../src/doors/graphql/engine.ts";
import type { Executed } from "../src/doors/graphql/engine.ts";
import { createGraph } from "../src/doors/graphql/graph.ts";
import type { Graph } from "../src/doors/graphql/graph.ts";
import { identify } from "../src/view.ts";
import { KEYS, startGateway } from "./support/gateway.ts";
import type { TestGateway } from "./support/gateway.ts";

const engine = createEngine(readFileSync(new URL("../schema/gateway.graphql", import.meta.url), "utf8"));
let running: TestGateway;
const logged: unknown[] = [];
beforeAll(async () => {
  const log = { info: () => {}, warn: () => {}, error: (fields: object) => void logged.push(fields) };
  running = await startGateway({}, { log });
});
afterAll(() => running.close());

/** One operation whose lists fail as given; all else is the real gateway. */
async function execute(query: string, list: Graph["list"]): Promise<Executed> {
  const { gateway } = running;
  const credential = { kind: "secret", value: KEYS.alice } as const;
  const asked = {
    interface: "graphql",
    protocol: "",
    path: "/graphql",
    ip: "127.0.0.1",
    credential,
    traceparent: null,
    tracestate: null,
    signal: new AbortController().signal,
  } as const;
  const who = await identify(gateway, asked);
  if (!who.ok) throw who.refusal;
  const graph = { ...createGraph(gateway, asked, who.value), list };
  return engine({
    graph,
    parameters: { query },
    accepted: { json: "application/json", stream: false },
    method: "POST",
  });
}

test("a fault is `internal` with a call id; its cause is in the log and in no answer", async () => {
  const fault = new TypeError("cannot reach db.internal:5432 as admin");
  const executed = await execute("{me {id} tools {totalCount}}", () => Promise.reject(fault));
  if (executed.kind !== "answer") throw new Error("An answer was expected.");
  expect(executed.status).toBe(200);
  expect(executed.body).not.toMatch(/db\.internal|TypeError|stack|\.ts/);
  const { errors } = JSON.parse(executed.body) as { errors: { message: string; extensions: { callId: string } }[] };
  expect(errors).toMatchObject([
    { message: "The gateway failed.", path: ["tools"], extensions: { code: "internal", retryable: false } },
  ]);
  expect(logged).toContainEqual(expect.objectContaining({ callId: errors[0]?.extensions.callId, err: fault }));
  const records = await running.records();
  expect(records.filter((record) => record["portcullis.call.id"] === errors[0]?.extensions.callId)).toHaveLength(1);
});

test("a fault that strikes many fields is recorded once", async () => {
  const before = (await running.records()).length;
  const query = `{${Array.from({ length: 30 }, (_, index) => `t${index}: tool(name: "x") {id}`).join(" ")}}`;
  const executed = await execute(query, () => Promise.reject(new Error("again")));
  expect(executed.kind === "answer" && (JSON.parse(executed.body) as { errors: unknown[] }).errors).toHaveLength(30);
  expect((await running.records()).length).toBe(before + 1);
});

test("a value that does not fit its type is a fault of ours, and is not shown", async () => {
  const { gateway } = running;
  const tool = { id: "a@1/b", name: { secret: "upstream text" }, version: "1", server: "a" };
  const listing = { tools: [tool], snapshot: gateway.snapshot(), principal: {}, urls: null };
  const executed = await execute("{tools {edges {node {name}}}}", () => Promise.resolve(listing as never));
  if (executed.kind !== "answer") throw new Error("An answer was expected.");
  expect(executed.body).toContain('"internal"');
  expect(executed.body).not.toContain("upstream text");
});
